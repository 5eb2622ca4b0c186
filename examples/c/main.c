// SPDX-License-Identifier: Apache-2.0
// Reads one window of 16-bit samples from standard input and prints the class with the highest
// score, and its score from -128 to 127. Silence follows a shorter sound.

#include <stdio.h>

#include "m3net.h"

static m3net_recognizer recognizer;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static int16_t sound[M3NET_WINDOW_SAMPLES];

int main(void) {
  if (fread(sound, sizeof(sound[0]), M3NET_WINDOW_SAMPLES, stdin) == 0) return 1;
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) {
    m3net_recognizer_hear(&recognizer, sound, M3NET_WINDOW_SAMPLES);
    m3net_recognizer_load_window(&recognizer);
    status = m3net_recognizer_run(&recognizer);
  }
  if (status != M3NET_OK) {
    fprintf(stderr, "%s\n", m3net_status_name(status));
    return 1;
  }
  const uint32_t label = m3net_recognizer_label(&recognizer);
  printf("%s %d\n", m3net_model_labels[label], m3net_model_output(recognizer.model)[label]);
  return 0;
}
