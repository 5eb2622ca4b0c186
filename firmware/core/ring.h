// SPDX-License-Identifier: Apache-2.0
// The last columns of features, as many as a window has, stored so that the model's input (bin by
// bin, the oldest column first) takes two block copies per bin at most.
// Columns of samples form a single row: two block copies in all.
#ifndef M3NET_CORE_RING_H_
#define M3NET_CORE_RING_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend.h"
#include "frontend_config.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Bytes of one window of features, the model's input.
#define M3NET_RING_WINDOW_BYTES (M3NET_FRONTEND_FEATURE_BINS * M3NET_FRONTEND_FRAMES)

/// Rows and columns of the model's input.
#define M3NET_RING_INPUT_BINS (M3NET_FRONTEND_OF_SAMPLES ? 1 : M3NET_FRONTEND_FEATURE_BINS)
#define M3NET_RING_INPUT_FRAMES (M3NET_RING_WINDOW_BYTES / M3NET_RING_INPUT_BINS)

/// Columns of features; owned by the caller, set up by m3net_ring_reset().
typedef struct {
  /// At [bin * FRAMES + place]; of samples at [place * BINS + bin].
  int8_t values[M3NET_RING_WINDOW_BYTES];
  uint32_t next;     ///< Place of the next column; holds the oldest one.
  uint32_t columns;  ///< Columns pushed since the reset; full also after 2^32.
} m3net_ring;

/// Bytes of a ring.
size_t m3net_ring_size(void);

/// Empties the ring: all columns get the lowest feature value.
void m3net_ring_reset(m3net_ring* ring);

/// Replaces the oldest column by one of M3NET_FRONTEND_FEATURE_BINS values.
void m3net_ring_push(m3net_ring* ring, const int8_t* column);

/// Whether every column of a window has been pushed since the reset.
static inline bool m3net_ring_full(const m3net_ring* ring) {
  return ring->columns >= M3NET_FRONTEND_FRAMES;
}

/// Writes the window in the model's layout: input[bin * FRAMES + frame], the oldest frame first; of
/// samples, the oldest sample first.
void m3net_ring_copy(const m3net_ring* ring, int8_t* input);

/// Writes columns that begin `back` columns before the end: to[bin * count + column].
///
/// @param back  at least `count`; columns from before the ring's oldest one are others.
void m3net_ring_copy_columns(const m3net_ring* ring, uint32_t back, uint32_t count, int8_t* to);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_RING_H_
