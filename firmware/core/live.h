// SPDX-License-Identifier: Apache-2.0
// Live recognition: hops come from an interrupt (a microphone's half-buffers) or from a caller,
// wait in a queue, and become columns, runs of the model and events in the main loop.
#ifndef M3NET_CORE_LIVE_H_
#define M3NET_CORE_LIVE_H_

#include <stdbool.h>
#include <stdint.h>

#include "detector.h"
#include "recognizer.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Places for hops that wait while the model runs, one of them for the hop in work; a power of
/// two.
#ifndef M3NET_LIVE_QUEUE_HOPS
#define M3NET_LIVE_QUEUE_HOPS 16u
#endif

/// Counts since m3net_live_start(); all wrap at 2^32.
typedef struct {
  uint32_t hops;            ///< Taken from the queue.
  uint32_t lost_hops;       ///< Found the queue full.
  uint32_t columns;         ///< Columns made.
  uint32_t events;          ///< Events.
  uint32_t latency_us;      ///< From the last sample of the window to the last event.
  uint32_t max_latency_us;  ///< The longest so far.
  uint32_t max_run_us;      ///< The longest run of the model.
  uint32_t max_queue_hops;  ///< The most hops that ever waited.
} m3net_live_statistics;

/// Live recognition; owned by the caller, set up by m3net_live_init().
typedef struct {
  m3net_recognizer* recognizer;
  m3net_detector detector;
  m3net_live_statistics statistics;
  bool on;
  bool microphone;
  /// What the microphone fills.
  int16_t halves[2 * M3NET_FRONTEND_HOP_SAMPLES] __attribute__((aligned(4)));
  int16_t queue[M3NET_LIVE_QUEUE_HOPS][M3NET_FRONTEND_HOP_SAMPLES];
  uint64_t heard_us[M3NET_LIVE_QUEUE_HOPS];  ///< When the last sample of a hop was there.
  uint32_t head;                             ///< Hops ever queued; written by the interrupt.
  uint32_t tail;                             ///< Hops ever taken; written by the main loop.
} m3net_live;

/// What one hop led to.
typedef struct {
  m3net_status status;  ///< Of the run; M3NET_OK if there was none.
  const int16_t* hop;   ///< Its samples; valid until the next step.
  bool has_column;      ///< Whether `column` was made.
  bool ran;             ///< Whether the model ran: its output has the scores.
  bool has_event;       ///< Whether `event` was found.
  uint32_t latency_us;  ///< From the hop's last sample until `event` was found.
  m3net_event event;
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
} m3net_live_result;

/// Sets up live recognition with the exported settings of the detector; it is off.
m3net_status m3net_live_init(m3net_live* live, m3net_recognizer* recognizer);

/// Forgets what was heard and starts to listen: to the board's microphone, or to
/// m3net_live_hear() alone.
///
/// @return 0, or the negative number with which the microphone refused.
int m3net_live_start(m3net_live* live, bool microphone);

/// Stops listening.
void m3net_live_stop(m3net_live* live);

/// Queues a hop of M3NET_FRONTEND_HOP_SAMPLES samples; an interrupt may call it. If the queue is
/// full, the hop is lost and counted.
bool m3net_live_hear(m3net_live* live, const int16_t* hop);

/// Whether a hop waits.
bool m3net_live_waiting(const m3net_live* live);

/// Works on the next hop, if one waits; returns whether there was one.
bool m3net_live_step(m3net_live* live, m3net_live_result* result);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_LIVE_H_
