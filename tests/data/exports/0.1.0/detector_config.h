/* SPDX-License-Identifier: Apache-2.0 */
/* Generated from the detector's config; change that, not this file. */

#ifndef M3NET_DETECTOR_CONFIG_H_
#define M3NET_DETECTOR_CONFIG_H_

#define M3NET_DETECTOR_CLASS_COUNT 10
#define M3NET_DETECTOR_HISTORY_RUNS 16
#define M3NET_DETECTOR_FIRST_RUN_COLUMNS 49
#define M3NET_DETECTOR_RUN_COLUMNS 5
#define M3NET_DETECTOR_GATE_BINS 40
#define M3NET_DETECTOR_GATE_HOLD_COLUMNS 49
#define M3NET_DETECTOR_GATE_SUM (-5120)
/* Threshold, release, suppression in columns, window in runs, hits (0 = no event). */
#define M3NET_DETECTOR_CLASSES \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},    \
  {39322, 26214, 49, 3, 2},

#endif
