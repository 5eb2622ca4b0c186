// SPDX-License-Identifier: Apache-2.0
// Drives the warp on a host: features and scores of clips from standard input, merged maps to
// standard output. All memory has exactly its size, so that the sanitiser finds every overrun.

#include <stdio.h>
#include <stdlib.h>

#include "warp_config.h"

#define FEATURE_BYTES (M3NET_WARP_BINS * M3NET_WARP_FRAMES_IN)
#define MERGED_BYTES (M3NET_WARP_BINS * M3NET_WARP_FRAMES_OUT * M3NET_WARP_CHANNELS)

int main(void) {
  int8_t* features = malloc(FEATURE_BYTES);
  int8_t* scores = malloc(M3NET_WARP_FRAMES_IN);
  int8_t* merged = malloc(MERGED_BYTES);
  m3net_warp_bin* work = malloc(M3NET_WARP_BINS * sizeof(*work));
  if (features == NULL || scores == NULL || merged == NULL || work == NULL) return 2;
  while (fread(features, 1, FEATURE_BYTES, stdin) == FEATURE_BYTES &&
         fread(scores, 1, M3NET_WARP_FRAMES_IN, stdin) == M3NET_WARP_FRAMES_IN) {
    m3net_warp_run(&m3net_model_warp, features, scores, work, merged);
    fwrite(merged, 1, MERGED_BYTES, stdout);
  }
  free(features);
  free(scores);
  free(merged);
  free(work);
  return 0;
}
