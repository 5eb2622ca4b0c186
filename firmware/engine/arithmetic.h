// SPDX-License-Identifier: Apache-2.0
// Whole-number arithmetic with TensorFlow Lite's rounding.
#ifndef M3NET_ENGINE_ARITHMETIC_H_
#define M3NET_ENGINE_ARITHMETIC_H_

#include <stdint.h>

#include "dsp.h"
#include "engine.h"

/// Without it GCC does not inline a large function twice, and passes structures through memory.
#if M3NET_ENGINE_DSP || M3NET_ENGINE_HELIUM || M3NET_ENGINE_AVX2
#define M3NET_INLINE static inline __attribute__((always_inline))
/// Marks a function that is large, or whose loop needs all registers for itself.
#define M3NET_SEPARATE __attribute__((noinline, unused)) static
#else
#define M3NET_INLINE static inline
#define M3NET_SEPARATE static inline
#endif

/// A sum that wraps around.
static inline int32_t m3net_sum(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}

// C leaves two results to the compiler: a negative number shifted to the right, and a number that
// does not fit into a signed type. The kernels need what all compilers of their targets do. Forms
// that avoid both would take more instructions where the compiler does not recognise them.
M3NET_ASSERT((-5 >> 1) == -3, "a shift to the right must keep the sign");
M3NET_ASSERT((int32_t)0xfffffffeu == -2, "signed numbers must be two's complement, modulo 2^32");

static inline int32_t m3net_shift_left(int32_t value, int32_t bits) {
  return (int32_t)((uint32_t)value << bits);
}

static inline int32_t m3net_clamp(int32_t value, int32_t minimum, int32_t maximum) {
  if (value < minimum) {
    return minimum;
  }
  return value > maximum ? maximum : value;
}

/// a * b / 2^31, rounded to the nearest, halves up; not both are INT32_MIN.
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

/// The mean of a sum, before it is clamped.
static inline int32_t m3net_mean_of(const m3net_reduction* layer, int32_t sum) {
  const int32_t mean = m3net_scale(m3net_sum(sum, layer->sum_offset), layer->factor);
  return m3net_sum(mean, layer->output_offset);
}

/// A factor of at most one, prepared for values below 2^30.
typedef struct {
  int32_t multiplier;
  int32_t half;  ///< Half a step of the result.
  int32_t sign;  ///< All bits set if the shift is not 0: halves round away from zero.
  int32_t shift;
} m3net_reducer;

static inline m3net_reducer m3net_prepare(m3net_factor factor) {
  const int32_t shift = -factor.shift;
  const m3net_reducer reducer = {factor.multiplier, shift > 0 ? (int32_t)(1u << (shift - 1)) : 0,
                                 shift > 0 ? -1 : 0, shift};
  return reducer;
}

/// As m3net_scale.
static inline int32_t m3net_reduce(int32_t value, m3net_reducer factor) {
  const int32_t product = m3net_high_product(m3net_shift_left(value, 1), factor.multiplier);
  return (product + ((product >> 31) & factor.sign) + factor.half) >> factor.shift;
}

/// A sum of a narrow layer in steps of the output. Equals m3net_scale where no bit is lost: the
/// upper word of a doubled product is the rounded product. For negative sums one is subtracted
/// from it, which rounds halves away from zero. A product that is rounded to zero stays zero,
/// because the offset has half a step.
static inline int32_t m3net_requantize_narrow(int32_t sum, const m3net_channel* channel) {
  const int32_t doubled = m3net_shift_left(sum, 1);
  return (m3net_add_high_product(doubled, channel->multiplier, channel->offset) + (sum >> 31)) >>
         channel->right;
}

/// A sum of any layer in steps of the output.
static inline int32_t m3net_requantize_wide(int32_t sum, const m3net_channel* channel) {
  const int32_t shifted = m3net_shift_left(sum, channel->left);
  const int32_t product = m3net_product(shifted, channel->multiplier);
  return m3net_sum(m3net_divide(product, channel->right), channel->offset);
}

/// Sums of four channels.
typedef struct {
  int32_t a, b, c, d;
} m3net_four_sums;

static inline m3net_four_sums m3net_four_biases(const m3net_channel* channel) {
  const m3net_four_sums sums = {channel[0].bias, channel[1].bias, channel[2].bias, channel[3].bias};
  return sums;
}

/// Writes the outputs of up to four channels of a layer that has no short form.
M3NET_SEPARATE void m3net_finish_any(const m3net_convolution* layer, m3net_four_sums sums,
                                     const m3net_channel* channel, int32_t count, int8_t* output) {
  const int32_t each[4] = {sums.a, sums.b, sums.c, sums.d};
  for (int32_t i = 0; i < 4 && i < count; ++i) {
    const int32_t value = layer->narrow ? m3net_requantize_narrow(each[i], channel + i)
                                        : m3net_requantize_wide(each[i], channel + i);
    output[i] = (int8_t)m3net_clamp(value, layer->minimum, layer->maximum);
  }
}

#if M3NET_ENGINE_DSP

/// Shifts to the right of the products of layers that are `brief`: of depthwise convolutions, of
/// the lower one of two channels, and of the upper one, whose sum is multiplied by 256.
#define M3NET_BRIEF_DEPTHWISE "3"
#define M3NET_BRIEF_LOWER "4"
#define M3NET_BRIEF_UPPER "12"

#endif

/// Writes the outputs of up to four channels.
M3NET_INLINE void m3net_finish(const m3net_convolution* layer, m3net_four_sums sums,
                               const m3net_channel* channel, int32_t count, int8_t* output) {
  if (layer->narrow && layer->full && count >= 4) {
    output[0] = (int8_t)m3net_saturate(m3net_requantize_narrow(sums.a, channel));
    output[1] = (int8_t)m3net_saturate(m3net_requantize_narrow(sums.b, channel + 1));
    output[2] = (int8_t)m3net_saturate(m3net_requantize_narrow(sums.c, channel + 2));
    output[3] = (int8_t)m3net_saturate(m3net_requantize_narrow(sums.d, channel + 3));
    return;
  }
  m3net_finish_any(layer, sums, channel, count, output);
}

/// The outputs of a channel of two pixels, in the short form.
M3NET_INLINE void m3net_finish_pair(int32_t sum, int32_t other, const m3net_channel* channel,
                                    int8_t* output, int8_t* other_output) {
  const m3net_channel constants = *channel;  // loaded before the outputs are stored
  *output = (int8_t)m3net_saturate(m3net_requantize_narrow(sum, &constants));
  *other_output = (int8_t)m3net_saturate(m3net_requantize_narrow(other, &constants));
}

/// As m3net_finish, for two pixels, so that the constants of a channel are loaded once.
M3NET_INLINE void m3net_finish_two(const m3net_convolution* layer, m3net_four_sums sums,
                                   m3net_four_sums others, const m3net_channel* channel,
                                   int32_t count, int8_t* output, int8_t* other_output) {
  if (layer->narrow && layer->full && count >= 4) {
    m3net_finish_pair(sums.a, others.a, channel, output, other_output);
    m3net_finish_pair(sums.b, others.b, channel + 1, output + 1, other_output + 1);
    m3net_finish_pair(sums.c, others.c, channel + 2, output + 2, other_output + 2);
    m3net_finish_pair(sums.d, others.d, channel + 3, output + 3, other_output + 3);
    return;
  }
  m3net_finish_any(layer, sums, channel, count, output);
  m3net_finish_any(layer, others, channel, count, other_output);
}

#endif  // M3NET_ENGINE_ARITHMETIC_H_
