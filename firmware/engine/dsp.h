// SPDX-License-Identifier: Apache-2.0
// Instructions of Armv7-M and Armv7E-M for which C has no operator, and their portable forms.
#ifndef M3NET_ENGINE_DSP_H_
#define M3NET_ENGINE_DSP_H_

#include <stdint.h>

#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_DSP

/// (a * b + 2^31) / 2^32, rounded down.
static inline int32_t m3net_high_product(int32_t a, int32_t b) {
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

/// As m3net_high_product, plus `offset`.
static inline int32_t m3net_add_high_product(int32_t a, int32_t b, int32_t offset) {
  int32_t result;
  __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(offset));
  return result;
}

/// Four bytes from any address.
static inline uint32_t m3net_load_word(const int8_t* bytes) {
  uint32_t word;
  M3NET_MEMCPY(&word, bytes, sizeof(word));  // one instruction, also without a library
  return word;
}

/// Bytes 0 and 2, widened to 16 bits each.
static inline uint32_t m3net_even_bytes(uint32_t word) {
  uint32_t result;
  __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(word));
  return result;
}

/// Bytes 1 and 3, widened to 16 bits each.
static inline uint32_t m3net_odd_bytes(uint32_t word) {
  uint32_t result;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
  return result;
}

/// Bytes 0 and 2, each added to a half of `sums`.
static inline uint32_t m3net_add_even_bytes(uint32_t sums, uint32_t word) {
  uint32_t result;
  __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sums), "r"(word));
  return result;
}

/// Bytes 1 and 3, each added to a half of `sums`.
static inline uint32_t m3net_add_odd_bytes(uint32_t sums, uint32_t word) {
  uint32_t result;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sums), "r"(word));
  return result;
}

/// The lower halves of two words in a word.
static inline uint32_t m3net_lower_halves(uint32_t a, uint32_t b) {
  uint32_t result;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

/// The upper halves of two words in a word.
static inline uint32_t m3net_upper_halves(uint32_t a, uint32_t b) {
  uint32_t result;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(b), "r"(a));
  return result;
}

/// Both halves, times two.
static inline uint32_t m3net_double_halves(uint32_t a) {
  uint32_t result;
  __asm__("sadd16 %0, %1, %1" : "=r"(result) : "r"(a));
  return result;
}

/// `sum` plus the product of the lower halves and the product of the upper halves.
static inline int32_t m3net_add_products(uint32_t a, uint32_t b, int32_t sum) {
  int32_t result;
  __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}

#elif M3NET_ENGINE_RV32

/// Adds the highest bit of the lower word, because the carry of a sum costs more.
static inline int32_t m3net_high_product(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * b;
  return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
}

/// As m3net_high_product, plus `offset`.
static inline int32_t m3net_add_high_product(int32_t a, int32_t b, int32_t offset) {
  return m3net_high_product(a, b) + offset;
}

#else

static inline int32_t m3net_high_product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1LL << 31)) >> 32);
}

/// As m3net_high_product, plus `offset`.
static inline int32_t m3net_add_high_product(int32_t a, int32_t b, int32_t offset) {
  return (int32_t)(((int64_t)a * b + (1LL << 31) + (int64_t)offset * (1LL << 32)) >> 32);
}

#endif

/// Saturates to -128 ... 127.
static inline int32_t m3net_saturate(int32_t value) {
#if defined(__ARM_FEATURE_SAT) && defined(__thumb2__)
  int32_t result;
  __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
  return result;
#else
#if M3NET_ENGINE_RV32  // one comparison where nothing is to be done
  if ((uint32_t)value + 128u < 256u) {
    return value;
  }
#endif
  if (value < INT8_MIN) {
    return INT8_MIN;
  }
  return value > INT8_MAX ? INT8_MAX : value;
#endif
}

#endif  // M3NET_ENGINE_DSP_H_
