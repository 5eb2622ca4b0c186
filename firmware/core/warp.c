// SPDX-License-Identifier: Apache-2.0

#include "warp.h"

#include <string.h>

// Logarithms are in octaves times 2^16.
#define FRACTION_BITS 16

// log2 of a positive number, linear within each cell of the table.
static inline int32_t log2_of(const uint32_t* table, uint64_t value) {
  const uint32_t shift = (uint32_t)__builtin_clzll(value);
  const uint64_t mantissa = value << shift;  // the leading bit at the top
  const uint32_t* cell = &table[(mantissa >> 56) & (M3NET_WARP_LOG2_CELLS - 1)];
  const uint32_t fraction = (uint32_t)(mantissa >> 40) & 0xFFFFu;
  const uint32_t line = cell[0] + ((cell[1] - cell[0]) * fraction >> 16);
  return (int32_t)(((63u - shift) << FRACTION_BITS) + line);
}

// The feature of a sum of powers times units, given the logarithm of the sum that 127 stands for.
static inline int8_t feature_of(const m3net_warp* warp, uint64_t sum, int32_t log2_top) {
  if (sum == 0u) return INT8_MIN;
  // Steps above the lowest feature times 2^32, half a step added to round to the nearest.
  const int64_t steps = (int64_t)(log2_of(warp->log2, sum) - log2_top) * (int64_t)warp->gain +
                        ((int64_t)255 << 32) + ((int64_t)1 << 31);
  if (steps <= 0) return INT8_MIN;
  const uint32_t step = (uint32_t)(steps >> 32);
  return (int8_t)((int32_t)(step > 255u ? 255u : step) - 128);
}

static void add_frame(const m3net_warp* warp, const int8_t* features, uint32_t frame,
                      uint32_t units, m3net_warp_bin* work) {
  const int16_t* positions = &warp->positions[frame * warp->bins];
  const int8_t* feature = &features[frame];
  for (uint32_t bin = 0; bin < warp->bins; ++bin, feature += warp->frames_in) {
    const uint64_t weighted = warp->powers[*feature + 128] * units;
    work[bin].sum += weighted;
    if (weighted > work[bin].largest) work[bin].largest = weighted;
    work[bin].encoding += (int64_t)positions[bin] * (int32_t)units;
  }
}

static void write_row(const m3net_warp* warp, const m3net_warp_bin* work, uint32_t whole,
                      int8_t* merged) {
  const int32_t log2_top =
      log2_of(warp->log2, whole) + (int32_t)((uint32_t)warp->top_bits << FRACTION_BITS);
  const uint32_t stride = M3NET_WARP_CHANNELS * (uint32_t)warp->frames_out;
  for (uint32_t bin = 0; bin < warp->bins; ++bin, merged += stride) {
    merged[0] = feature_of(warp, work[bin].sum, log2_top);
    merged[1] = feature_of(warp, work[bin].largest, log2_top);
    // Steps above the lowest, of 256 units each, rounded to the nearest; shifting before the
    // division changes nothing, for all of it rounds down.
    const uint64_t shifted = (uint64_t)(work[bin].encoding + (int64_t)whole * (128 + 128 * 256));
    const uint32_t step = (uint32_t)(shifted >> 8) / whole;
    merged[2] = (int8_t)((int32_t)(step > 255u ? 255u : step) - 128);
  }
}

void m3net_warp_run(const m3net_warp* warp, const int8_t* features, const int8_t* scores,
                    m3net_warp_bin* work, int8_t* merged) {
  const size_t work_bytes = warp->bins * sizeof(*work);
  uint32_t sum = 0;
  uint32_t largest = 0;
  for (uint32_t frame = 0; frame < warp->frames_in; ++frame) {
    const uint32_t score = (uint32_t)(scores[frame] + 128);
    sum += score;
    if (score > largest) largest = score;
  }
  const uint32_t unscored = sum == 0u ? 1u : 0u;  // then all frames have the same score
  if (unscored) {
    sum = warp->frames_in;
    largest = 1;
  }
  // Each frame is a piece of frames_out units per score; `whole` units fill a row. No piece is
  // longer than a row, and all pieces together fill no more than all rows.
  const uint32_t most = warp->frames_out * largest;
  const uint32_t whole = sum > most ? sum : most;
  uint32_t filled = 0;
  uint32_t row = 0;
  memset(work, 0, work_bytes);
  for (uint32_t frame = 0; frame < warp->frames_in; ++frame) {
    uint32_t piece = warp->frames_out * ((uint32_t)(scores[frame] + 128) + unscored);
    if (piece == 0u) continue;
    const uint32_t room = whole - filled;
    if (piece >= room) {
      add_frame(warp, features, frame, room, work);
      write_row(warp, work, whole, &merged[M3NET_WARP_CHANNELS * row]);
      memset(work, 0, work_bytes);
      piece -= room;
      filled = 0;
      ++row;
      if (piece == 0u) continue;
    }
    add_frame(warp, features, frame, piece, work);
    filled += piece;
  }
  for (; row < warp->frames_out; ++row) {
    write_row(warp, work, whole, &merged[M3NET_WARP_CHANNELS * row]);
    memset(work, 0, work_bytes);
  }
}
