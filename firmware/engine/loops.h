// SPDX-License-Identifier: Apache-2.0
// Strided loops: over the outer three dimensions, whose items are rows of the innermost one.
#ifndef M3NET_ENGINE_LOOPS_H_
#define M3NET_ENGINE_LOOPS_H_

#include <stdint.h>

#include "engine.h"

/// Offset of a row in each operand, in bytes.
typedef struct {
  int32_t output, first, second;
} m3net_places;

/// A row of the innermost dimension, with the step of each operand.
typedef struct {
  const int8_t *first, *second;
  int8_t* output;
  int32_t count, first_step, second_step, output_step;
} m3net_row;

/// Number of rows of the innermost dimension.
static inline int32_t m3net_rows(const m3net_loop* loop) {
  return loop->size[0] * loop->size[1] * loop->size[2];
}

/// Moves on to the next row; `row` counts rows from 1.
static inline void m3net_next_row(const m3net_loop* loop, int32_t row, m3net_places* places) {
  int32_t dimension = 2;
  int32_t inner = loop->size[2];
  places->output += loop->output[2];
  places->first += loop->first[2];
  places->second += loop->second[2];
  while (dimension > 0 && row % inner == 0) {
    const int32_t size = loop->size[dimension];
    places->output += loop->output[dimension - 1] - size * loop->output[dimension];
    places->first += loop->first[dimension - 1] - size * loop->first[dimension];
    places->second += loop->second[dimension - 1] - size * loop->second[dimension];
    --dimension;
    inner *= loop->size[dimension];
  }
}

#endif  // M3NET_ENGINE_LOOPS_H_
