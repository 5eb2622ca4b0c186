// SPDX-License-Identifier: Apache-2.0

#include "ring.h"

#include <string.h>

#define FRAMES M3NET_FRONTEND_FRAMES
#define BINS M3NET_FRONTEND_FEATURE_BINS

size_t m3net_ring_size(void) { return sizeof(m3net_ring); }

void m3net_ring_reset(m3net_ring* ring) {
  memset(ring->values, INT8_MIN, sizeof(ring->values));
  ring->next = 0;
  ring->columns = 0;
}

void m3net_ring_push(m3net_ring* ring, const int8_t* column) {
#ifdef M3NET_FRONTEND_WAVEFORM
  memcpy(&ring->values[ring->next * BINS], column, BINS);
#else
  int8_t* place = &ring->values[ring->next];
  for (uint32_t bin = 0; bin < BINS; ++bin, place += FRAMES) *place = column[bin];
#endif
  ring->next = ring->next + 1u == FRAMES ? 0u : ring->next + 1u;
  if (++ring->columns == 0u) ring->columns = FRAMES;  // it stays full
}

void m3net_ring_copy(const m3net_ring* ring, int8_t* input) {
#ifdef M3NET_FRONTEND_WAVEFORM
  const uint32_t newest = ring->next * BINS;  // bytes at the start of the array
  memcpy(input, ring->values + newest, sizeof(ring->values) - newest);
  memcpy(input + (sizeof(ring->values) - newest), ring->values, newest);
#else
  const uint32_t newest = ring->next;  // columns at the start of the array
  const int8_t* row = ring->values;
  for (uint32_t bin = 0; bin < BINS; ++bin, row += FRAMES, input += FRAMES) {
    memcpy(input, row + newest, FRAMES - newest);
    memcpy(input + (FRAMES - newest), row, newest);
  }
#endif
}
