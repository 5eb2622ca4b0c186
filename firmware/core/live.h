// SPDX-License-Identifier: Apache-2.0
// Live recognition: hops come from an interrupt (a microphone's half-buffers) or from a caller and
// wait in a queue; the main loop turns them into columns, runs of the model and events.
#ifndef M3NET_CORE_LIVE_H_
#define M3NET_CORE_LIVE_H_

#include <stdbool.h>
#include <stdint.h>

#include "level.h"
#include "listener.h"
#include "recognizer.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Places for hops that wait while the model runs, including the hop in work; a power of two.
#ifndef M3NET_LIVE_QUEUE_HOPS
#define M3NET_LIVE_QUEUE_HOPS 16u
#endif

/// Counts since m3net_live_start(); all wrap at 2^32.
typedef struct {
  uint32_t hops;            ///< Taken from the queue.
  uint32_t lost_hops;       ///< Arrived while the queue was full.
  uint32_t columns;         ///< Columns of features.
  uint32_t events;          ///< Events.
  uint32_t latency_us;      ///< From the last sample of the window to the last event.
  uint32_t max_latency_us;  ///< The longest so far.
  uint32_t max_run_us;      ///< The longest run of the model.
  uint32_t max_queue_hops;  ///< The most hops that ever waited.
#if M3NET_NORMAL_PROTOTYPES > 0
  uint16_t max_score;  ///< The highest smoothed score of `unusual`.
#endif
} m3net_live_statistics;

/// Live recognition; owned by the caller, set up by m3net_live_init().
typedef struct {
  m3net_recognizer* recognizer;
  m3net_listener listener;
  m3net_level level;  ///< Of the hops since the start.
  m3net_live_statistics statistics;
  bool on;
  bool microphone;
  /// The microphone's buffer.
  int16_t halves[2 * M3NET_FRONTEND_HOP_SAMPLES] __attribute__((aligned(4)));
  int16_t queue[M3NET_LIVE_QUEUE_HOPS][M3NET_FRONTEND_HOP_SAMPLES];
#if M3NET_LEVEL_AMPLIFIES
  int16_t amplified[M3NET_FRONTEND_HOP_SAMPLES];
#endif
  uint64_t arrived_us[M3NET_LIVE_QUEUE_HOPS];  ///< Time of a hop's last sample.
  uint32_t head;                               ///< Hops queued so far; written by the interrupt.
  uint32_t tail;                               ///< Hops processed so far; written by the main loop.
} m3net_live;

/// Sets up live recognition with the exported settings of the detector; it is off.
m3net_status m3net_live_init(m3net_live* live, m3net_recognizer* recognizer);

/// As m3net_listener_prototypes().
static inline m3net_prototype* m3net_live_prototypes(m3net_live* live) {
  return m3net_listener_prototypes(&live->listener);
}

/// As m3net_listener_label().
static inline const char* m3net_live_label(const m3net_live* live, uint32_t label) {
  return m3net_listener_label(&live->listener, label);
}

/// Forgets earlier audio and starts listening: to the board's microphone, or only to hops that
/// m3net_live_hear() queues.
///
/// @return M3NET_OK, or the error of m3net_board_audio_start(); it is off then.
m3net_status m3net_live_start(m3net_live* live, bool microphone);

/// Stops listening.
void m3net_live_stop(m3net_live* live);

/// Queues a hop of M3NET_FRONTEND_HOP_SAMPLES samples; an interrupt may call it.
///
/// @return M3NET_OK, or M3NET_ERROR_FULL: the hop is lost and counted.
m3net_status m3net_live_hear(m3net_live* live, const int16_t* hop);

/// Whether a hop is waiting.
bool m3net_live_waiting(const m3net_live* live);

/// Processes the next hop, at most one run of the model; returns whether one was waiting.
bool m3net_live_step(m3net_live* live, m3net_live_result* result);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_LIVE_H_
