// SPDX-License-Identifier: Apache-2.0
// All that an application needs.
#ifndef M3NET_H_
#define M3NET_H_

#include "m3net/detector.h"
#include "m3net/live.h"
#include "m3net/recognizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Microseconds since the start; the time of hops and runs of m3net_live. An application may define
/// it; without a definition all times are 0.
uint64_t m3net_board_time_us(void);

/// A counter of any unit, which m3net_model_profile() reads. An application may define it; without
/// a definition all costs are 0.
uint32_t m3net_board_counter(void);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_H_
