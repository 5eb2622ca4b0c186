// SPDX-License-Identifier: Apache-2.0
// Scores features and a clip of samples with an exported library; prints a line of scores for each.

#include <m3net.h>
#include <stdio.h>

#include "vectors.h"

static m3net_recognizer recognizer;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

static void print_scores() {
  if (m3net_recognizer_run(&recognizer) != M3NET_OK) puts("run failed");
  const int8_t* scores = m3net_model_output(recognizer.model);
  for (int label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) printf("%d ", scores[label]);
  puts("");
}

int main() {
  if (m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes)) != M3NET_OK) return 1;
  for (size_t at = 0; at < sizeof(features); at += M3NET_MODEL_INPUT_BYTES) {
    m3net_recognizer_load_features(&recognizer, features + at);
    print_scores();
  }
  m3net_recognizer_reset(&recognizer);
  m3net_recognizer_hear(&recognizer, pcm, sizeof(pcm) / sizeof(pcm[0]));
  m3net_recognizer_load_window(&recognizer);
  print_scores();
  return 0;
}
