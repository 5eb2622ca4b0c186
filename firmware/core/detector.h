// SPDX-License-Identifier: Apache-2.0
// From scores to events: when to run the model, and which of its scores make an event. All
// arithmetic is on integers, so that m3net_tf.runtime.Detector gives the same events step by step.
//
// Call m3net_detector_wants_inference() for each column of features; if it returns true, run the
// model on the window and pass its scores to m3net_detector_step().
#ifndef M3NET_CORE_DETECTOR_H_
#define M3NET_CORE_DETECTOR_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "detector_config.h"
#include "frontend_config.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// How one class is detected. Scores are in 65536ths of full scale: an int8 score q counts as
/// 256 * (q + 128), which for probabilities is 65536 times the probability.
typedef struct {
  uint16_t threshold;            ///< A smoothed score of at least this is a hit.
  uint16_t release;              ///< Below this the event is over and the next may begin.
  uint16_t suppression_columns;  ///< Columns after an event in which no other may follow.
  uint8_t window_runs;           ///< Runs over which the score is smoothed.
  uint8_t hits;                  ///< Hits in a row that make an event; 0 = never, as for classes
                                 ///< that were exported without events.
} m3net_detector_class;

/// All settings of a detector.
typedef struct {
  uint16_t first_run_columns;  ///< Columns before the first run: the model's window.
  uint16_t run_columns;        ///< Columns from one run to the next.
  uint16_t gate_bins;          ///< Number of a column's first features whose sum is its level; of
                               ///< samples, the sum of their magnitudes.
  uint16_t gate_hold_columns;  ///< Columns for which the gate stays open after the last loud one.
  int32_t gate_sum;            ///< A column whose level is below this is silence.
  m3net_detector_class classes[M3NET_DETECTOR_CLASS_COUNT];
} m3net_detector_config;

/// The settings that were exported with the model.
extern const m3net_detector_config m3net_detector_defaults;

/// An event: the detector recognised a class.
typedef struct {
  uint32_t column;  ///< Columns since init or reset before the one that completed it; wraps
                    ///< at 2^32.
  uint16_t label;   ///< Index of the class.
  uint16_t score;   ///< Its smoothed score.
} m3net_event;

/// A detector; owned by the caller, set up by m3net_detector_init(). The counters start at init or
/// reset and wrap at 2^32; no decision depends on them.
typedef struct {
  m3net_detector_config config;
  uint32_t columns;       ///< Columns so far.
  uint32_t runs;          ///< Runs of the model.
  uint32_t skipped_runs;  ///< Runs that the gate skipped.
  uint32_t events;        ///< Events.
  uint16_t until_run;     ///< Columns until the next run is due.
  uint16_t open_columns;  ///< Columns for which the gate stays open.
  uint8_t newest;         ///< Row of the history that holds the last run.
  // Of the classes with events, in the order of M3NET_DETECTOR_EVENTS.
  /// int8 scores + 128.
  uint8_t history[M3NET_DETECTOR_HISTORY_RUNS][M3NET_DETECTOR_EVENT_COUNT];
  uint16_t sums[M3NET_DETECTOR_EVENT_COUNT];           ///< Over each class's window.
  uint16_t quiet_columns[M3NET_DETECTOR_EVENT_COUNT];  ///< Remaining columns of suppression.
  uint8_t hits[M3NET_DETECTOR_EVENT_COUNT];            ///< In a row, up to the number needed.
  bool active[M3NET_DETECTOR_EVENT_COUNT];             ///< Its event is not over.
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  /// Score with which it was outranked in the last run; 0 if it was not.
  uint16_t waiting[M3NET_DETECTOR_EVENT_COUNT];
#endif
} m3net_detector;

/// Bytes of a detector.
size_t m3net_detector_size(void);

/// Sets up a detector with a copy of the settings, such as m3net_detector_defaults.
///
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (null) or M3NET_ERROR_CONFIG (a setting out of range:
///         no columns before or between runs, a window of 0 or more than
///         M3NET_DETECTOR_HISTORY_RUNS runs, more gate bins than features, a release of 0 or
///         above its threshold, or events of a class that was exported without).
m3net_status m3net_detector_init(m3net_detector* detector, const m3net_detector_config* config);

/// Discards earlier columns and scores: columns, runs and events are counted from 0 again. Settings
/// stay.
void m3net_detector_reset(m3net_detector* detector);

/// Changes how one class is detected, from the next run on.
///
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (null or no such class) or M3NET_ERROR_CONFIG (as
///         m3net_detector_init(); then nothing changed).
m3net_status m3net_detector_set_class(m3net_detector* detector, uint32_t label,
                                      const m3net_detector_class* settings);

/// Takes the next column of features (M3NET_FRONTEND_FEATURE_BINS values).
///
/// @return whether to run the model now, on the window that ends with this column; pass its scores
///         to m3net_detector_step() before the next column. A run that the gate skips counts as one
///         in which each class had the lowest score.
bool m3net_detector_wants_inference(m3net_detector* detector, const int8_t* column);

/// Takes the scores of a run, M3NET_DETECTOR_CLASS_COUNT of them.
///
/// A run makes at most one event: for the class with the highest smoothed score (the first
/// of equals). Others that are due follow in the next runs if they are still due; where several
/// classes may sound at once (M3NET_DETECTOR_SEVERAL_LABELS), they stay due until the gate closes.
///
/// @param event  written if there is one.
/// @return whether there is an event.
bool m3net_detector_step(m3net_detector* detector, const int8_t* scores, m3net_event* event);

/// Smoothed score of a class after the last run, in 65536ths of full scale; 0 for a class that was
/// exported without events.
uint16_t m3net_detector_score(const m3net_detector* detector, uint32_t label);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_DETECTOR_H_
