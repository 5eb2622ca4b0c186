// SPDX-License-Identifier: Apache-2.0
// Second looks at events, as numbers that every export has: without them there are 0 runs of a
// look, and the ring keeps one window.
#ifndef M3NET_CORE_SECOND_LOOK_H_
#define M3NET_CORE_SECOND_LOOK_H_

#include "detector_config.h"
#include "frontend_config.h"

#ifdef M3NET_DETECTOR_LOOK_RUNS
/// Windows that a look runs the model on again.
#define M3NET_LOOK_RUNS M3NET_DETECTOR_LOOK_RUNS
/// Bins by which a look shifts the columns of the windows.
#define M3NET_LOOK_SHIFTS M3NET_DETECTOR_LOOK_SHIFTS
/// Runs for which the class of an event that did not stand has to wait.
#define M3NET_LOOK_AGAIN_RUNS M3NET_DETECTOR_LOOK_AGAIN_RUNS
/// Columns that the ring keeps for a look.
#define M3NET_LOOK_COLUMNS M3NET_DETECTOR_KEPT_COLUMNS
#else
#define M3NET_LOOK_RUNS 0
#define M3NET_LOOK_SHIFTS \
  { 0 }
#define M3NET_LOOK_AGAIN_RUNS 0
#define M3NET_LOOK_COLUMNS M3NET_FRONTEND_FRAMES
#endif

#endif  // M3NET_CORE_SECOND_LOOK_H_
