// SPDX-License-Identifier: Apache-2.0
// Whole-number arithmetic with TensorFlow Lite's rounding.
#ifndef M3NET_ENGINE_ARITHMETIC_H_
#define M3NET_ENGINE_ARITHMETIC_H_

#include <stdint.h>

#include "dsp.h"
#include "engine.h"

/// Sum that wraps, as the processor's does.
static inline int32_t m3net_sum(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t m3net_shift_left(int32_t value, int32_t bits) {
  return (int32_t)((uint32_t)value << bits);
}

static inline int32_t m3net_clamp(int32_t value, int32_t minimum, int32_t maximum) {
  if (value < minimum) {
    return minimum;
  }
  return value > maximum ? maximum : value;
}

/// a * b / 2^31, rounded to the nearest, halves up; one factor is not the smallest number.
static inline int32_t m3net_product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/// value / 2^bits, rounded to the nearest, halves away from zero.
static inline int32_t m3net_divide(int32_t value, int32_t bits) {
  const int32_t mask = (int32_t)((1u << bits) - 1u);
  const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
  return (value >> bits) + ((value & mask) > threshold ? 1 : 0);
}

/// TensorFlow Lite's MultiplyByQuantizedMultiplier.
static inline int32_t m3net_scale(int32_t value, m3net_factor factor) {
  const int32_t left = factor.shift > 0 ? factor.shift : 0;
  const int32_t right = factor.shift > 0 ? 0 : -factor.shift;
  return m3net_divide(m3net_product(m3net_shift_left(value, left), factor.multiplier), right);
}

/// The output of a channel of a narrow layer. Equals m3net_scale where the shifts lose no bit:
/// the upper word of a doubled product is the rounded product, and the halves of a division go away
/// from zero when one is taken off negative numbers.
static inline int32_t m3net_requantize_narrow(int32_t sum, const m3net_channel* channel) {
  const int32_t product =
      m3net_high_product(m3net_shift_left(sum, channel->left), channel->multiplier);
  return (product + (product >> 31) + channel->offset) >> channel->right;
}

/// The output of a channel of any layer.
static inline int32_t m3net_requantize_wide(int32_t sum, const m3net_channel* channel) {
  const int32_t shifted = m3net_shift_left(sum, channel->left);
  const int32_t product = m3net_product(shifted, channel->multiplier);
  return m3net_sum(m3net_divide(product, channel->right), channel->offset);
}

#endif  // M3NET_ENGINE_ARITHMETIC_H_
