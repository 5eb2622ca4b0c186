// SPDX-License-Identifier: Apache-2.0
// Vectors of length one.
#include "arithmetic.h"
#include "engine.h"
#include "root.h"

/// An output of one has 2^7 steps.
#define BITS_OF_ONE 7

void m3net_normalize(const m3net_normalization* layer, const int8_t* input, int8_t* output) {
  for (int32_t row = 0; row < layer->rows; ++row) {
    int32_t sum = 0;
    for (int32_t i = 0; i < layer->depth; ++i) {
      const int32_t value = input[i] + layer->input_offset;
      sum += value * value;
    }
    m3net_factor root = {INT32_MAX, 0};
    if (sum > 1) {
      root = m3net_inverse_root(sum);
    }
    root.shift += BITS_OF_ONE;
    for (int32_t i = 0; i < layer->depth; ++i) {
      const int32_t value = m3net_scale(input[i] + layer->input_offset, root);
      output[i] = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
    }
    input += layer->depth;
    output += layer->depth;
  }
}
