// SPDX-License-Identifier: Apache-2.0
// Compares the vector arithmetic of the kernels for Helium with the scalar one, on numbers whose
// products and quotients are halves, on the largest ones, and on noise. Prints how many differ, and
// how many were compared, in hexadecimal.
#include <arm_mve.h>

#include "arithmetic.h"
#include "board.h"
#include "engine.h"
#include "helium_rows.h"

#define MOST_SHIFT 31

static const int32_t multipliers[] = {1 << 30, (1 << 30) + 1, 3 << 29, INT32_MAX, 1518500250};
static const int32_t zero_points[] = {-128, 0, 127, 5};
static uint32_t compared, different;

static int32_t noise(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (int32_t)(state ^ state >> 15);
}

static void compare(int32x4_t vector, const int32_t expected[4]) {
  int32_t each[4];
  vstrwq_s32(each, vector);
  for (int i = 0; i < 4; ++i) {
    different += each[i] != expected[i];
  }
  compared += 4;
}

/// Whether no step of the short form overflows, see m3net_tf/compiler/weights.py.
static int is_narrow(int32_t sum, int32_t right, int32_t zero_point) {
  const int64_t size = sum < 0 ? -(int64_t)sum : sum;
  const int64_t offset = ((int64_t)zero_point + 1) * (1LL << right);
  return right >= 1 && right <= 30 && 2 * size < 1LL << 31 &&
         size + 1 + (offset < 0 ? -offset : offset) < 1LL << 31;
}

static void check_channels(const int32_t sums[4], int32_t multiplier, int32_t shift) {
  const m3net_limits limits = {vdupq_n_s32(INT32_MIN), vdupq_n_s32(INT32_MAX)};
  const m3net_factor factor = {multiplier, shift};
  m3net_channel wide[4], narrow[4];
  int32_t expected[4], without_offset[4];
  int all_narrow = shift <= 0;
  for (int i = 0; i < 4; ++i) {
    const int16_t left = (int16_t)(shift > 0 ? shift : 0),
                  right = (int16_t)(shift > 0 ? 0 : -shift);
    const int32_t zero_point = zero_points[i];
    wide[i] = (m3net_channel){7 * i, multiplier, zero_point, left, right};
    expected[i] = m3net_requantize_wide(m3net_sum(sums[i], 7 * i), wide + i);
    without_offset[i] = m3net_scale(sums[i], factor);
    all_narrow = all_narrow && is_narrow(m3net_sum(sums[i], 7 * i), right, zero_point);
    const int32_t half = all_narrow ? 1 << (right - 1) : 0;
    narrow[i] = (m3net_channel){
        7 * i, multiplier, (int32_t)((uint32_t)half + ((uint32_t)zero_point << right)), 0, right};
  }
  const int32x4_t vector = vldrwq_s32(sums);
  compare(m3net_finish_vector(vector, wide, 0, limits), expected);
  if (all_narrow) {
    compare(m3net_finish_vector(vector, narrow, 1, limits), expected);
  }
  if (shift <= 0) {
    compare(m3net_reduce_vector(vector, m3net_vector_reducer_of(factor)), without_offset);
  }
}

static void check_arithmetic(void) {
  for (int32_t shift = -MOST_SHIFT; shift <= 3; ++shift) {
    for (uint32_t m = 0; m < sizeof(multipliers) / sizeof(*multipliers); ++m) {
      const int32_t half = shift < 0 ? (int32_t)(1u << (-shift - 1)) : 1;
      const int32_t sums[][4] = {
          {0, 1, -1, 2},
          {-2, 3, -3, 5},
          {half, -half, m3net_sum(half, half), m3net_sum(-half, -half)},
          {m3net_sum(half, 1), m3net_sum(-half, -1), m3net_sum(half, -1), m3net_sum(-half, 1)},
          {m3net_sum(3 * (half / 2), half), -(half / 2), m3net_sum(2 * half, 1), 1 - half},
          {INT32_MAX, INT32_MIN, INT32_MIN + 1, INT32_MAX - 1},
          {1 << 30, -(1 << 30), (1 << 30) - 1, 1 - (1 << 30)},
          {noise(), noise(), noise(), noise()},
          {noise() >> 8, noise() >> 8, noise() >> 16, noise() >> 16},
      };
      for (uint32_t i = 0; i < sizeof(sums) / sizeof(*sums); ++i) {
        check_channels(sums[i], multipliers[m], shift);
      }
    }
  }
}

/// Tables from the first item on and from the last one on, with the output in the input's memory.
static void check_tables(void) {
  static int8_t table[256], memory[80];
  for (int i = 0; i < 256; ++i) {
    table[i] = (int8_t)(uint8_t)(i * 77 + 5);
  }
  for (int32_t count = 1; count <= 64; ++count) {
    for (int32_t step = -1; step <= 1; step += 2) {
      const int32_t first = step > 0 ? 8 : 8 + count - 1, away = -3 * step;
      const m3net_loop loop = {
          .size = {1, 1, 1, count}, .output = {0, 0, 0, step}, .first = {0, 0, 0, step}};
      for (int32_t i = 0; i < count; ++i) {
        memory[8 + i] = (int8_t)(uint8_t)(i * 91 + count);
      }
      m3net_look_up(&loop, table, memory + first, memory + first + away);
      for (int32_t i = 0; i < count; ++i) {
        const int8_t item = (int8_t)(uint8_t)(i * 91 + count);
        different += memory[8 + away + i] != table[item - INT8_MIN];
        ++compared;
      }
    }
  }
}

void run_program(void) {
  check_arithmetic();
  check_tables();
  put_hex(different, 8);
  put(' ');
  put_hex(compared, 8);
  put('\n');
}
