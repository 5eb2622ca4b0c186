// SPDX-License-Identifier: Apache-2.0
// 16-bit items at any address, and sums of 64 bits.
#ifndef M3NET_ENGINE_WIDE_H_
#define M3NET_ENGINE_WIDE_H_

#include <stdint.h>

#include "arithmetic.h"
#include "memory.h"

static inline int32_t m3net_load_16(const int8_t* place) {
  int16_t value;
  M3NET_MEMCPY(&value, place, sizeof(value));  // one instruction, also without a library
  return value;
}

static inline void m3net_store_16(int8_t* place, int32_t value) {
  const int16_t item = (int16_t)value;
  M3NET_MEMCPY(place, &item, sizeof(item));
}

/// An item of one or two bytes.
static inline int32_t m3net_load(const int8_t* place, int32_t bytes) {
  return bytes == 1 ? *place : m3net_load_16(place);
}

static inline void m3net_store(int8_t* place, int32_t value, int32_t bytes) {
  if (bytes == 1) {
    *place = (int8_t)value;
  } else {
    m3net_store_16(place, value);
  }
}

/// TensorFlow Lite's MultiplyByQuantizedMultiplier for 64 bits, whose multiplier has 16 bits.
static inline int32_t m3net_scale_long(int64_t value, m3net_factor factor) {
  const int32_t most = INT16_MAX;
  const int32_t multiplier =
      factor.multiplier < most * (1 << 16) ? (factor.multiplier + (1 << 15)) >> 16 : most;
  const int32_t shift = 15 - factor.shift;
  return (int32_t)(uint32_t)(uint64_t)((value * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}

#endif  // M3NET_ENGINE_WIDE_H_
