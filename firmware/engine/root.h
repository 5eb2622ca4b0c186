// SPDX-License-Identifier: Apache-2.0
// Reciprocal square roots of whole numbers.
#ifndef M3NET_ENGINE_ROOT_H_
#define M3NET_ENGINE_ROOT_H_

#include <stdint.h>

#include "arithmetic.h"

/// Shifts left and saturates.
static inline int32_t m3net_enlarge(int32_t value, int32_t bits) {
  const int32_t most = INT32_MAX >> bits;
  if (value > most) {
    return INT32_MAX;
  }
  return value < -most ? INT32_MIN : m3net_shift_left(value, bits);
}

/// 1 / sqrt(value) by Newton's method, for numbers above 1.
static inline m3net_factor m3net_inverse_root(int32_t value) {
  const int32_t half_of_three = (1 << 28) + (1 << 27), root_of_half = 1518500250;
  int32_t shift = 11;
  for (; value >= 1 << 29; value /= 4) {
    ++shift;
  }
  for (; value < 1 << 27; value *= 4) {
    --shift;
  }
  const int32_t half = m3net_divide(value >> 1, 1);
  int32_t x = 1 << 28;
  for (int32_t i = 0; i < 5; ++i) {
    const int32_t cube = m3net_enlarge(m3net_product(m3net_product(x, x), x), 6);
    x = m3net_enlarge(m3net_sum(m3net_product(half_of_three, x), -m3net_product(half, cube)), 3);
  }
  m3net_factor root = {m3net_product(x, root_of_half), -shift};
  if (shift < 0) {
    root.multiplier = m3net_shift_left(root.multiplier, -shift);
    root.shift = 0;
  }
  return root;
}

#endif  // M3NET_ENGINE_ROOT_H_
