// SPDX-License-Identifier: Apache-2.0
// Softmax of 16-bit numbers: exponentials, and the reciprocal of their sum, are interpolated
// between the entries of tables of 512 steps.
#include "engine.h"
#include "wide.h"

/// Two entries of a table are 2^7 inputs apart.
#define STEP_BITS 7

/// Interpolates a table for a number, which is clamped to 16 bits.
static int32_t look_up(const int16_t* table, int32_t value) {
  const int32_t clamped = m3net_clamp(value, INT16_MIN, INT16_MAX);
  const int16_t* entry = table + ((clamped - INT16_MIN) >> STEP_BITS);
  const int32_t rest = clamped & ((1 << STEP_BITS) - 1);
  const int32_t step = (int16_t)(entry[1] - entry[0]);
  return (int16_t)(entry[0] + ((step * rest + (1 << (STEP_BITS - 1))) >> STEP_BITS));
}

/// Number of bits up to the highest set bit.
static int32_t bit_length(int32_t value) {
  int32_t bits = 0;
  for (; value > 0; value >>= 1) {
    ++bits;
  }
  return bits;
}

static void softmax_row(const m3net_softmax_layer_16* layer, const int8_t* input, int8_t* output) {
  const int32_t bytes = 2 * layer->depth;
  int32_t largest = INT16_MIN;
  for (int32_t i = 0; i < bytes; i += 2) {
    const int32_t value = m3net_load_16(input + i);
    largest = value > largest ? value : largest;
  }
  int32_t sum = 0;
  for (int32_t i = 0; i < bytes; i += 2) {
    const int32_t below = m3net_scale(m3net_load_16(input + i) - largest, layer->factor);
    const int32_t exponential = look_up(layer->exponentials, m3net_sum(below, INT16_MAX));
    m3net_store_16(output + i, exponential);
    sum += exponential;
  }
  // A shift turns the sum into 1 + x; 1 / (1 + x) has 15 fraction bits.
  const int32_t length = bit_length(sum);
  const int64_t aligned = (((int64_t)sum << (31 - length)) + (1 << 13)) >> 14;
  const int32_t fraction = (int32_t)aligned - (1 << 16) + INT16_MIN;
  const int32_t reciprocal = look_up(layer->reciprocals, fraction);
  const int32_t shift = m3net_clamp(length - 1, 1, 30);
  for (int32_t i = 0; i < bytes; i += 2) {
    const int64_t product = (int64_t)m3net_load_16(output + i) * reciprocal;
    const int32_t value = (int32_t)((product + ((int64_t)1 << (shift - 1))) >> shift);
    m3net_store_16(output + i, m3net_clamp(value, 0, INT16_MAX));
  }
}

void m3net_softmax_16(const m3net_softmax_layer_16* layer, const int8_t* input, int8_t* output) {
  const int32_t row_bytes = 2 * layer->depth;
  for (int32_t row = 0; row < layer->rows; ++row) {
    softmax_row(layer, input + row * row_bytes, output + row * row_bytes);
  }
}
