// SPDX-License-Identifier: Apache-2.0
// Softmax: exponentials from a table, and the reciprocal of their sum by Newton's method; for its
// logarithm the logarithm of the sum.
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
/// Integer bits of scaled inputs and of logarithms.
#define LOG_INTEGER_BITS 5
/// Square root and fourth root of 1/2, and the logarithm of 2, in units of 2^-31.
#define ROOT_OF_HALF 1518500250
#define FOURTH_ROOT_OF_HALF 1805811301
#define LOG_OF_TWO 1488522236

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

static inline int32_t largest_of(const int8_t* items, int32_t count) {
  int32_t largest = INT8_MIN;
  for (int32_t i = 0; i < count; ++i) {
    largest = items[i] > largest ? items[i] : largest;
  }
  return largest;
}

/// Sum of the exponentials of a row; at least about `limit` if it reaches that.
static inline int32_t sum_of_exponentials(const m3net_softmax_layer* layer, const int8_t* input,
                                          int32_t largest, int32_t limit) {
  int32_t sum = 0;
  for (int32_t i = 0; i < layer->depth && sum < limit; ++i) {
    sum += m3net_divide(exponential(layer, largest - input[i]), SUM_INTEGER_BITS);
  }
  return sum;
}

M3NET_INLINE void softmax_row(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output,
                              int32_t output_bytes) {
  const int32_t limit = output_bytes == 1 ? SUM_LIMIT : INT32_MAX;
  const int32_t lowest = output_bytes == 1 ? INT8_MIN : INT16_MIN;
  const int32_t largest = largest_of(input, layer->depth);
  const int32_t sum = sum_of_exponentials(layer, input, largest, limit);
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

/// Logarithm of a sum of at least 1. The sum is a power of two times a rest near the fourth root of
/// 1/2; the rest's logarithm is a quotient of polynomials of its distance from that root.
static int32_t logarithm(int32_t sum) {
  const int32_t alpha_n = 117049297, alpha_d = 127690142, alpha_i = 1057819769, alpha_f = 638450708;
  const int32_t unit = 31 - LOG_INTEGER_BITS - 1;  // fraction bits of `power`, and of a logarithm
  const int32_t quarter = 1 << (unit - 2);
  const int32_t zeros = leading_zeros((uint32_t)sum) - 1;
  const int32_t other_zeros = leading_zeros((uint32_t)m3net_product(sum, ROOT_OF_HALF)) - 1;
  const int64_t first = 2 * (int64_t)m3net_product(sum << zeros, ROOT_OF_HALF);
  const int64_t second = (int64_t)sum << other_zeros;
  const int64_t smaller = first < second ? first : second;
  const int32_t rest = smaller < INT32_MAX ? (int32_t)smaller : INT32_MAX;
  const int32_t power = ((SUM_INTEGER_BITS - 1 - zeros) << unit) + quarter;
  const int32_t other_power = ((SUM_INTEGER_BITS - other_zeros) << unit) - quarter;
  const int32_t larger = power > other_power ? power : other_power;
  const int32_t p = (int32_t)(((int64_t)rest + FOURTH_ROOT_OF_HALF + 1) / 2);
  const int32_t q = (rest - FOURTH_ROOT_OF_HALF) * 2;
  const int32_t square = m3net_product(q, q);
  const int32_t numerator =
      m3net_product(q, rest) + m3net_product(m3net_product(q, square), alpha_n);
  const int32_t denominator =
      m3net_product(p, alpha_i + q + m3net_product(alpha_d, square)) + m3net_product(alpha_f, q);
  const int32_t scaled = m3net_divide(numerator, LOG_INTEGER_BITS + 1);
  return (m3net_product(larger, LOG_OF_TWO) + m3net_product(scaled, reciprocal(denominator))) * 2;
}

static void log_softmax_row(const m3net_log_softmax_layer* layer, const int8_t* input,
                            int8_t* output) {
  const int32_t depth = layer->shares.depth;
  const int32_t largest = largest_of(input, depth);
  const int32_t log = logarithm(sum_of_exponentials(&layer->shares, input, largest, INT32_MAX));
  const int32_t lowest = m3net_scale(log + INT32_MIN, layer->inverse);
  for (int32_t i = 0; i < depth; ++i) {
    const int32_t below = input[i] - largest;
    int32_t value = INT8_MIN;
    if (below > lowest && -below < layer->shares.steps) {
      const int32_t distance = m3net_sum(m3net_scale(below, layer->factor), -log);
      value = m3net_divide(distance, 31 - LOG_INTEGER_BITS - 4) + INT8_MAX;
    }
    output[i] = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
  }
}

void m3net_log_softmax(const m3net_log_softmax_layer* layer, const int8_t* input, int8_t* output) {
  for (int32_t row = 0; row < layer->shares.rows; ++row) {
    const int32_t place = row * layer->shares.depth;
    log_softmax_row(layer, input + place, output + place);
  }
}
