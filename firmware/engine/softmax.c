// SPDX-License-Identifier: Apache-2.0
// Softmax: exponentials from a table, and the reciprocal of their sum by Newton's method.
#include "arithmetic.h"
#include "engine.h"
#include "wide.h"

/// Integer bits of the sum of exponentials.
#define SUM_INTEGER_BITS 12
/// A sum of 512: from here on, each item is less than half a step of an int8 output.
#define SUM_LIMIT (512 << (31 - SUM_INTEGER_BITS))
/// 48/17 and -32/17 with two integer bits: the first guess of a reciprocal.
#define GUESS_CONSTANT 1515870810
#define GUESS_SLOPE (-1010580540)
/// One, with two integer bits.
#define ONE (1 << 29)

M3NET_INLINE int32_t leading_zeros(uint32_t value) {
  int32_t zeros = 0;
  for (uint32_t bit = 1u << 31; bit != 0 && (value & bit) == 0; bit >>= 1) {
    ++zeros;
  }
  return zeros;
}

/// Shifts left by two bits and saturates.
M3NET_INLINE int32_t enlarge_four_times(int32_t value) {
  if (value > (1 << 29) - 1) {
    return INT32_MAX;
  }
  return value < -((1 << 29) - 1) ? INT32_MIN : value * 4;
}

/// 1 / (1 + x) for x from 0 to 1, both in units of 2^-31.
M3NET_INLINE int32_t reciprocal(int32_t x) {
  const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
  int32_t guess = m3net_sum(GUESS_CONSTANT, m3net_product(half_denominator, GUESS_SLOPE));
  for (int32_t i = 0; i < 3; ++i) {
    const int32_t rest = m3net_sum(ONE, -m3net_product(half_denominator, guess));
    guess = m3net_sum(guess, enlarge_four_times(m3net_product(guess, rest)));
  }
  // Half of the guess, without integer bits.
  return guess > (1 << 30) - 1 ? INT32_MAX : guess * 2;
}

/// Exponential of an item's distance below the largest; 0 where it is negligible.
static inline int32_t exponential(const m3net_softmax_layer* layer, int32_t below) {
  return below < layer->steps ? layer->exponentials[below] : 0;
}

M3NET_INLINE void softmax_row(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output,
                              int32_t output_bytes) {
  const int32_t limit = output_bytes == 1 ? SUM_LIMIT : INT32_MAX;
  const int32_t lowest = output_bytes == 1 ? INT8_MIN : INT16_MIN;
  int32_t largest = INT8_MIN;
  for (int32_t i = 0; i < layer->depth; ++i) {
    largest = input[i] > largest ? input[i] : largest;
  }
  int32_t sum = 0;
  for (int32_t i = 0; i < layer->depth && sum < limit; ++i) {
    sum += m3net_divide(exponential(layer, largest - input[i]), SUM_INTEGER_BITS);
  }
  if (sum >= limit) {
    m3net_fill(INT8_MIN, layer->depth, output);
    return;
  }
  const int32_t zeros = leading_zeros((uint32_t)sum);
  const int32_t fraction = (int32_t)(((uint32_t)sum << zeros) - (1u << 31));
  const int32_t scale = reciprocal(fraction);
  const int32_t shift = SUM_INTEGER_BITS - zeros + 31 - 8 * output_bytes;
  for (int32_t i = 0; i < layer->depth; ++i) {
    const int32_t product = m3net_product(scale, exponential(layer, largest - input[i]));
    const int32_t value = m3net_clamp(m3net_divide(product, shift) + lowest, lowest, -1 - lowest);
    m3net_store(output + i * output_bytes, value, output_bytes);
  }
}

void m3net_softmax(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output) {
  for (int32_t row = 0; row < layer->rows; ++row) {
    softmax_row(layer, input + row * layer->depth, output + row * layer->depth, 1);
  }
}

void m3net_softmax_to_16(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output) {
  for (int32_t row = 0; row < layer->rows; ++row) {
    softmax_row(layer, input + row * layer->depth, output + 2 * row * layer->depth, 2);
  }
}
