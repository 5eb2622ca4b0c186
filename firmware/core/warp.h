// SPDX-License-Identifier: Apache-2.0
// DiffRes's warp: merges the frames of a feature map by their scores, in one pass and in integers,
// so that every compiler gives the bytes of m3net_tf/runtime/warp.py.
#ifndef M3NET_CORE_WARP_H_
#define M3NET_CORE_WARP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Cells of the table of logarithms.
#define M3NET_WARP_LOG2_CELLS 128

/// Channels of the result: mean, maximum, resolution encoding.
#define M3NET_WARP_CHANNELS 3

/// A warp; the export generates it.
typedef struct {
  uint16_t bins;
  uint16_t frames_in;
  uint16_t frames_out;
  uint16_t top_bits;         ///< The power of feature 127 is 2 to this; the bits above hold sums
                             ///< of weights.
  uint32_t gain;             ///< Steps of the feature in an octave, times 65536.
  const uint64_t* powers;    ///< Powers of the features -128 to 127.
  const int16_t* positions;  ///< Positional encoding, positions[frame * bins + bin], 32768 for 1.
  const uint32_t* log2;      ///< Of 1 + i / CELLS, times 65536, i = 0 to CELLS.
} m3net_warp;

/// Sums of one bin of the row in work.
typedef struct {
  uint64_t sum;      ///< Of powers times weights.
  uint64_t largest;  ///< Of powers times weights.
  int64_t encoding;  ///< Of positions times weights.
} m3net_warp_bin;

/// Merges frames.
///
/// @param features  features[bin * frames_in + frame].
/// @param scores    the frames' scores, scale 1/256 and zero point -128.
/// @param work      one for each bin; holds nothing between two calls.
/// @param merged    receives merged[(bin * frames_out + row) * CHANNELS + channel].
void m3net_warp_run(const m3net_warp* warp, const int8_t* features, const int8_t* scores,
                    m3net_warp_bin* work, int8_t* merged);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_WARP_H_
