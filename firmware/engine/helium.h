// SPDX-License-Identifier: Apache-2.0
// Shared by the kernels for Helium: requantisation of four channels at once, copies and fills.
#ifndef M3NET_ENGINE_HELIUM_H_
#define M3NET_ENGINE_HELIUM_H_

#include "engine.h"

#if M3NET_ENGINE_HELIUM

#include <arm_mve.h>

/// Sums of four channels from core registers.
static inline int32x4_t m3net_vector_of(int32_t a, int32_t b, int32_t c, int32_t d) {
  int32x4_t sums;
  // GCC 12 would move them through memory.
  __asm__("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4"
          : "=&w"(sums)
          : "r"(a), "r"(b), "r"(c), "r"(d));
  return sums;
}

/// As m3net_divide, by 2 to the power of `-shift`. Subtracting one from negative numbers rounds
/// halves away from zero; a shift of zero subtracts nothing, and the subtraction saturates.
static inline int32x4_t m3net_divide_vector(int32x4_t value, int32x4_t shift) {
  const int32x4_t one = vshrq_n_s32(vandq_s32(value, shift), 31);
  return vrshlq_s32(vqaddq_s32(value, one), shift);
}

/// Limits of a layer's outputs, repeated for four channels.
typedef struct {
  int32x4_t minimum, maximum;
} m3net_limits;

static inline m3net_limits m3net_limits_of(const m3net_convolution* layer) {
  const m3net_limits limits = {vdupq_n_s32(layer->minimum), vdupq_n_s32(layer->maximum)};
  return limits;
}

/// Whether the output's zero point is -128. Each negative product then gives -128, however halves
/// are rounded: its sign does not matter. A multiplier of zero has no negative products.
static inline int32_t m3net_zero_is_least(const m3net_convolution* layer) {
  const m3net_channel* channel = layer->channels;
  const m3net_channel* last = channel + layer->output.channels - 1;
  while (channel < last && channel->multiplier == 0) {
    ++channel;
  }
  return channel->multiplier == 0 || channel->offset >> channel->right == INT8_MIN;
}

/// Outputs of four channels from their sums without the bias, as m3net_requantize_narrow or
/// m3net_requantize_wide.
static inline int32x4_t m3net_finish_vector(int32x4_t sums, const m3net_channel* channels,
                                            int32_t narrow, m3net_limits limits) {
  const int32x4x4_t members = vld4q_s32((const int32_t*)(const void*)channels);
  const int32x4_t biased = vaddq_s32(sums, members.val[0]);
  int32x4_t values;
  if (narrow) {
    const int32x4_t product = vqrdmulhq_s32(biased, members.val[1]);
    const int32x4_t lowered = vaddq_s32(product, vshrq_n_s32(product, 31));
    // The lowest byte is the left shift.
    values = vshrq_n_s32(vqshlq_s32(vaddq_s32(lowered, members.val[2]), members.val[3]), 24);
  } else {
    const int32x4_t right = vnegq_s32(vshrq_n_s32(members.val[3], 16));
    const int32x4_t left = vmovlbq_s16(vreinterpretq_s16_s32(members.val[3]));
    const int32x4_t product = vqrdmulhq_s32(vshlq_s32(biased, left), members.val[1]);
    values = vaddq_s32(m3net_divide_vector(product, right), members.val[2]);
  }
  return vminq_s32(vmaxq_s32(values, limits.minimum), limits.maximum);
}

/// Copies bytes; returns the end of the target.
static inline int8_t* m3net_copy_bytes(int8_t* target, const int8_t* source, int32_t count) {
  int8_t* end = target + count;
  __asm__ volatile(
      "wlstp.8 lr, %[count], 2f\n\t"
      "1:\n\t"
      "vldrb.8 q0, [%[source]], #16\n\t"
      "vstrb.8 q0, [%[target]], #16\n\t"
      "letp lr, 1b\n\t"
      "2:\n\t"
      : [source] "+&r"(source), [target] "+&r"(target)
      : [count] "r"(count)
      : "q0", "lr", "cc", "memory");
  return end;
}

/// Fills bytes; returns the end of the target.
static inline int8_t* m3net_fill_bytes(int8_t* target, int32_t value, int32_t count) {
  int8_t* end = target + count;
  const int8x16_t values = vdupq_n_s8((int8_t)value);
  __asm__ volatile(
      "wlstp.8 lr, %[count], 2f\n\t"
      "1:\n\t"
      "vstrb.8 %q[values], [%[target]], #16\n\t"
      "letp lr, 1b\n\t"
      "2:\n\t"
      : [target] "+&r"(target)
      : [count] "r"(count), [values] "w"(values)
      : "lr", "cc", "memory");
  return end;
}

#endif

#endif  // M3NET_ENGINE_HELIUM_H_
