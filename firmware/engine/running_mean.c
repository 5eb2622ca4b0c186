// SPDX-License-Identifier: Apache-2.0
// Sums over the lines of a window that moves on: lines enter and leave, the others stay.
#include "arithmetic.h"
#include "engine.h"
#include "wide.h"

/// Adds one item of the reduced dimensions to, or takes it from, the sums of all others.
static inline void add_items(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                             int32_t* sums, int32_t item_bytes) {
  const int32_t* size = layer->size;
  const int32_t* step = layer->input;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        const int8_t* item = input + a * step[0] + b * step[1] + c * step[2];
        for (int32_t d = 0; d < size[3]; ++d, item += step[3], ++sums) {
          *sums = m3net_sum(*sums, sign * m3net_load(item, item_bytes));
        }
      }
    }
  }
}

static inline void add_lines(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                             int32_t* sums, int32_t item_bytes) {
  const int32_t* size = layer->reduced_size;
  const int32_t* step = layer->reduced_input;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        const int8_t* line = input + a * step[0] + b * step[1] + c * step[2];
        for (int32_t d = 0; d < size[3]; ++d, line += step[3]) {
          add_items(layer, line, sign, sums, item_bytes);
        }
      }
    }
  }
}

void m3net_add_lines(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                     int32_t* sums) {
  add_lines(layer, input, sign, sums, 1);
}

void m3net_add_lines_16(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                        int32_t* sums) {
  add_lines(layer, input, sign, sums, 2);
}

static inline void finish(const m3net_reduction* layer, const int32_t* sums, int8_t* output,
                          int32_t smallest, int32_t largest, int32_t item_bytes) {
  const int32_t count = layer->size[0] * layer->size[1] * layer->size[2] * layer->size[3];
  for (int32_t i = 0; i < count; ++i) {
    const int32_t mean = m3net_mean_of(layer, sums[i]);
    m3net_store(output + i * item_bytes, m3net_clamp(mean, smallest, largest), item_bytes);
  }
}

void m3net_mean_of_sums(const m3net_reduction* layer, const int32_t* sums, int8_t* output) {
  finish(layer, sums, output, INT8_MIN, INT8_MAX, 1);
}

void m3net_mean_of_sums_16(const m3net_reduction* layer, const int32_t* sums, int8_t* output) {
  finish(layer, sums, output, INT16_MIN, INT16_MAX, 2);
}

int32_t m3net_count_push(int32_t needed, int32_t* pushes) {
  if (*pushes < needed) {
    ++*pushes;
  }
  return *pushes == needed;
}
