// SPDX-License-Identifier: Apache-2.0
// Columns of features in, events out: classifier, detector and prototypes in one object. Live
// recognition has one behind its front end. A program with several models gives the columns of one
// front end to the listeners of all that have the same.
#ifndef M3NET_CORE_LISTENER_H_
#define M3NET_CORE_LISTENER_H_

#include <stdbool.h>
#include <stdint.h>

#include "classifier.h"
#include "detector.h"
#include "prototypes.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A listener; owned by the caller, set up by m3net_listener_init().
typedef struct {
  m3net_classifier* classifier;
  m3net_detector detector;
  m3net_prototype prototypes[M3NET_PROTOTYPE_SLOTS];  ///< Of the enrolled words.
  int8_t scores[M3NET_PROTOTYPE_CLASSES];             ///< Of the prototypes in the last run.
} m3net_listener;

/// The result of one column, or of one hop of m3net_live, which writes more of it.
typedef struct {
  m3net_status status;   ///< Of the run; M3NET_OK if there was none.
  const int16_t* hop;    ///< Its samples, without gain; valid until the next step. Of m3net_live.
  bool has_level;        ///< Whether the level has a new second. Of m3net_live.
  bool has_column;       ///< Whether `column` is written. Of m3net_live.
  const int8_t* scores;  ///< M3NET_DETECTOR_CLASS_COUNT of them if the model ran, else null.
  bool has_event;        ///< Whether `event` is written.
  uint32_t latency_us;   ///< From the hop's last sample to `event`. Of m3net_live.
  uint32_t run_us;       ///< Time of the run.
  uint32_t run_steps;    ///< Cost of the run, in steps of m3net_board_counter().
  m3net_event event;
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];  ///< Of m3net_live.
} m3net_live_result;

/// Sets up a listener with the exported settings of the detector.
m3net_status m3net_listener_init(m3net_listener* listener, m3net_classifier* classifier);

/// Discards earlier columns and scores. Settings and enrolled words stay.
void m3net_listener_reset(m3net_listener* listener);

/// Prototypes of the enrolled words; null if the export is not for enrolment.
m3net_prototype* m3net_listener_prototypes(m3net_listener* listener);

/// Name of a class of the detector: the model's, or an enrolled sound, or "-" if its place is free,
/// or "unusual".
const char* m3net_listener_label(const m3net_listener* listener, uint32_t label);

/// Takes the next column, M3NET_FRONTEND_FEATURE_BINS features; at most one run of the model.
///
/// @param result  receives status, scores and event, and the cost of the run.
void m3net_listener_take(m3net_listener* listener, const int8_t* column, m3net_live_result* result);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_LISTENER_H_
