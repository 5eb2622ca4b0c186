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
  if (M3NET_FRONTEND_OF_SAMPLES) {
    memcpy(&ring->values[ring->next * BINS], column, BINS);
  } else {
    int8_t* place = &ring->values[ring->next];
    for (uint32_t bin = 0; bin < BINS; ++bin, place += FRAMES) *place = column[bin];
  }
  ring->next = ring->next + 1u == FRAMES ? 0u : ring->next + 1u;
  if (++ring->columns == 0u) ring->columns = FRAMES;  // it stays full
}

static void copy_samples(const m3net_ring* ring, int8_t* input) {
  const uint32_t newest = ring->next * BINS;  // bytes at the start of the array
  memcpy(input, ring->values + newest, sizeof(ring->values) - newest);
  memcpy(input + (sizeof(ring->values) - newest), ring->values, newest);
}

void m3net_ring_copy(const m3net_ring* ring, int8_t* input) {
  if (M3NET_FRONTEND_OF_SAMPLES) {
    copy_samples(ring, input);
    return;
  }
  const int8_t* row = ring->values;
  for (uint32_t bin = 0; bin < BINS; ++bin, row += FRAMES, input += FRAMES) {
    memcpy(input, row + ring->next, FRAMES - ring->next);
    memcpy(input + (FRAMES - ring->next), row, ring->next);
  }
}

void m3net_ring_copy_columns(const m3net_ring* ring, uint32_t back, uint32_t count, int8_t* to) {
  const int8_t* row = ring->values;
  for (uint32_t bin = 0; bin < BINS; ++bin, row += FRAMES) {
    uint32_t place = (ring->next + 2u * FRAMES - back) % FRAMES;
    for (uint32_t column = 0; column < count; ++column) {
      *to++ = row[place];
      place = place + 1u == FRAMES ? 0u : place + 1u;
    }
  }
}
