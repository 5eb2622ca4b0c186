// SPDX-License-Identifier: Apache-2.0
// Live detection on the host: int16 samples on standard input; the scores of each run and each
// event on standard output. With an argument, every third run is followed by one of the whole
// window, which must give the same scores and takes the arena.

#include <stdio.h>
#include <string.h>

#include "live.h"

#define CLASSES M3NET_MODEL_CLASS_COUNT

_Alignas(M3NET_MODEL_ALIGNMENT) static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena;
static m3net_recognizer recognizer;
static m3net_live live;
static m3net_live_result result;

uint64_t m3net_board_time_us(void) { return 0; }
uint32_t m3net_board_counter(void) { return 0; }

static int same_as_whole_window(const int8_t* scores) {
  m3net_recognizer_load_window(&recognizer);
  if (m3net_recognizer_run(&recognizer) != M3NET_OK) return 0;
  return memcmp(scores, m3net_model_output(recognizer.model), CLASSES) == 0;
}

int main(int count, char** words) {
  (void)words;
  if (m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes)) != M3NET_OK) return 1;
  if (m3net_live_init(&live, &recognizer) != M3NET_OK) return 1;
  if (m3net_live_start(&live, false) != M3NET_OK) return 1;
  int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  uint32_t runs = 0;
  while (fread(hop, sizeof(hop), 1, stdin) == 1) {
    if (m3net_live_hear(&live, hop) != M3NET_OK) return 1;
    if (!m3net_live_step(&live, &result) || result.status != M3NET_OK) return 1;
    if (result.scores == NULL) continue;
    int8_t scores[CLASSES];
    memcpy(scores, result.scores, CLASSES);
    printf("%u:", (unsigned)live.statistics.columns);
    for (int i = 0; i < CLASSES; ++i) printf(" %d", scores[i]);
    if (result.has_event) {
      printf(" event %u %u", (unsigned)result.event.label, (unsigned)result.event.score);
    }
    printf("\n");
    if (count > 1 && ++runs % 3u == 0u && !same_as_whole_window(scores)) return 2;
  }
  printf("skipped %u\n", (unsigned)live.listener.detector.skipped_runs);
  return 0;
}
