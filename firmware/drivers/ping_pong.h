// SPDX-License-Identifier: Apache-2.0
// Small blocks of samples fill the two halves of a buffer in turn, for microphones whose DMA cannot
// write there.
#ifndef M3NET_DRIVERS_PING_PONG_H_
#define M3NET_DRIVERS_PING_PONG_H_

#include <stddef.h>
#include <stdint.h>

#include "platform.h"

#ifdef __cplusplus
extern "C" {
#endif

/// State of the buffer.
typedef struct {
  int16_t* samples;     ///< 2 * half_samples, the caller's.
  size_t half_samples;  ///< Samples of a half.
  size_t next;          ///< Index of the next sample.
  m3net_half_ready half_ready;
  void* context;  ///< For half_ready.
} m3net_ping_pong;

/// Starts at the first half.
void m3net_ping_pong_start(m3net_ping_pong* buffer, int16_t* samples, size_t half_samples,
                           m3net_half_ready half_ready, void* context);

/// Adds samples; calls half_ready for each half that they fill, before it writes into the other.
void m3net_ping_pong_put(m3net_ping_pong* buffer, const int16_t* samples, size_t count);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_DRIVERS_PING_PONG_H_
