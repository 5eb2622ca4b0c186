// SPDX-License-Identifier: Apache-2.0
// Hears 16-bit samples from standard input, such as a microphone's, and prints what it detects, as
// "1.52 s: yes 87 %". Where the export streams, a decision costs only the new columns of features.

#include <stdio.h>

#include "m3net.h"

static m3net_recognizer recognizer;
static m3net_live live;
static m3net_live_result result;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];

static void print_event(const m3net_event* event) {
  const uint64_t samples =
      (uint64_t)event->column * M3NET_FRONTEND_HOP_SAMPLES + M3NET_FRONTEND_FRAME_SAMPLES;
  printf("%.2f s: %s %u %%\n", (double)samples / M3NET_FRONTEND_SAMPLE_RATE_HZ,
         m3net_live_label(&live, event->label), (unsigned)(100ul * event->score / 65536ul));
  fflush(stdout);
}

int main(void) {
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  while (status == M3NET_OK && fread(hop, sizeof(hop), 1, stdin) == 1) {
    (void)m3net_live_hear(&live, hop);
    (void)m3net_live_step(&live, &result);
    status = result.status;
    if (result.has_event) print_event(&result.event);
  }
  if (status != M3NET_OK) fprintf(stderr, "%s\n", m3net_status_name(status));
  return status == M3NET_OK ? 0 : 1;
}
