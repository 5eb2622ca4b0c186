// SPDX-License-Identifier: Apache-2.0
// Items at other places: repeated, mirrored, chosen by an index, or interpolated.
#include "engine.h"
#include "memory.h"

/// Fraction bits of an interpolation's weight, and of a pixel's.
#define WEIGHT_BITS 10
#define PIXEL_BITS (2 * WEIGHT_BITS)

void m3net_copy_runs(const m3net_runs* layer, const int8_t* input, int8_t* output) {
  for (int32_t a = 0; a < layer->size[0]; ++a) {
    for (int32_t b = 0; b < layer->size[1]; ++b) {
      const int8_t* row = input + layer->first[a] + layer->second[b];
      for (int32_t c = 0; c < layer->size[2]; ++c) {
        M3NET_MEMCPY(output, row + layer->third[c], (uint32_t)layer->bytes);
        output += layer->bytes;
      }
    }
  }
}

/// An item between four others; `upper` and `lower` are their rows.
static inline int32_t interpolate(const int8_t* upper, const int8_t* lower, m3net_between row,
                                  m3net_between column) {
  const int32_t one = 1 << WEIGHT_BITS;
  const int32_t left = one - column.weight, above = one - row.weight;
  const int32_t first = upper[column.low] * left + upper[column.high] * column.weight;
  const int32_t second = lower[column.low] * left + lower[column.high] * column.weight;
  return first * above + second * row.weight;
}

void m3net_resize_bilinear(const m3net_resizing* layer, const int8_t* input, int8_t* output) {
  const int32_t half = 1 << (PIXEL_BITS - 1);
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    for (int32_t y = 0; y < layer->size[0]; ++y) {
      const m3net_between row = layer->rows[y];
      for (int32_t x = 0; x < layer->size[1]; ++x) {
        for (int32_t channel = 0; channel < layer->channels; ++channel) {
          const int32_t value = interpolate(input + row.low + channel, input + row.high + channel,
                                            row, layer->columns[x]);
          *output++ = (int8_t)((value + (value > 0 ? half : -half)) / (1 << PIXEL_BITS));
        }
      }
    }
    input += layer->batch_step;
  }
}
