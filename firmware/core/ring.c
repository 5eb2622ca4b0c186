// SPDX-License-Identifier: Apache-2.0

#include "ring.h"

#include <string.h>

#define COLUMNS M3NET_RING_COLUMNS
#define FRAMES M3NET_FRONTEND_FRAMES
#define BINS M3NET_FRONTEND_FEATURE_BINS

_Static_assert(COLUMNS >= FRAMES, "the ring is shorter than a window");
_Static_assert(!M3NET_FRONTEND_OF_SAMPLES || COLUMNS == FRAMES, "samples have no second looks");

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
    for (uint32_t bin = 0; bin < BINS; ++bin, place += COLUMNS) *place = column[bin];
  }
  ring->next = ring->next + 1u == COLUMNS ? 0u : ring->next + 1u;
  if (++ring->columns == 0u) ring->columns = COLUMNS;  // it stays full
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
  // Columns of the window at the start of the array; the others are at its end.
  const uint32_t newest = ring->next < FRAMES ? ring->next : FRAMES;
  const uint32_t oldest = newest < FRAMES ? COLUMNS - (FRAMES - newest) : 0u;
  const int8_t* row = ring->values + (ring->next - newest);
  for (uint32_t bin = 0; bin < BINS; ++bin, row += COLUMNS, input += FRAMES) {
    memcpy(input, ring->values + bin * COLUMNS + oldest, FRAMES - newest);
    memcpy(input + (FRAMES - newest), row, newest);
  }
}

void m3net_ring_copy_shifted(const m3net_ring* ring, uint32_t back, uint32_t count, int32_t shift,
                             int8_t* to) {
  for (int32_t bin = 0; bin < BINS; ++bin) {
    int32_t from = bin + shift;
    if (from < 0) from = 0;
    if (from >= BINS) from = BINS - 1;
    const int8_t* row = &ring->values[(uint32_t)from * COLUMNS];
    uint32_t place = (ring->next + 2u * COLUMNS - back) % COLUMNS;
    for (uint32_t column = 0; column < count; ++column) {
      *to++ = row[place];
      place = place + 1u == COLUMNS ? 0u : place + 1u;
    }
  }
}
