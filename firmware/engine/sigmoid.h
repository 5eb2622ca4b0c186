// SPDX-License-Identifier: Apache-2.0
// Logistic function and hyperbolic tangent, both interpolated between the entries of one table.
// Results are in units of 2^-15.
#ifndef M3NET_ENGINE_SIGMOID_H_
#define M3NET_ENGINE_SIGMOID_H_

#include <stdint.h>

#include "arithmetic.h"

/// Entries of the table; see m3net_sigmoid.
#define M3NET_TABLE_ENTRIES 256

/// Interpolates the table at a place, whose lower `bits` are the fraction between two entries;
/// beyond the table the value is `most`.
static inline int32_t m3net_interpolate(const uint16_t* table, int32_t place, int32_t bits,
                                        int32_t most) {
  const uint32_t distance = place < 0 ? 0u - (uint32_t)place : (uint32_t)place;
  const uint32_t entry = distance >> bits;
  if (entry >= M3NET_TABLE_ENTRIES - 1) {
    return most;
  }
  const int32_t start = table[entry], step = table[entry + 1] - start;
  return m3net_shift_left(start, bits) + (int32_t)(distance & ((1u << bits) - 1u)) * step;
}

static inline int32_t m3net_logistic(const uint16_t* table, int32_t place) {
  const int32_t positive = m3net_interpolate(table, place, 9, INT16_MAX * (1 << 10));
  const int32_t half = 1 << 9;
  return (place >= 0 ? positive + half : (1 << 25) - positive + half - 1) >> 10;
}

static inline int32_t m3net_tanh(const uint16_t* table, int32_t place) {
  const int32_t positive = m3net_interpolate(table, place, 8, UINT16_MAX * (1 << 8));
  const int32_t one = 1 << 23, half = 1 << 7;
  return (place >= 0 ? positive - one + half : one - positive + half - 1) >> 8;
}

#endif  // M3NET_ENGINE_SIGMOID_H_
