// SPDX-License-Identifier: Apache-2.0
// Audio in, label out: front end and classifier in one object.
#ifndef M3NET_CORE_RECOGNIZER_H_
#define M3NET_CORE_RECOGNIZER_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "classifier.h"
#include "frontend.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Samples of one window of the network.
#define M3NET_WINDOW_SAMPLES \
  ((M3NET_FRONTEND_FRAMES - 1u) * M3NET_FRONTEND_HOP_SAMPLES + M3NET_FRONTEND_FRAME_SAMPLES)

/// A recognizer; all memory is the caller's, the arena is passed to m3net_recognizer_init().
typedef struct {
  uint8_t frontend_memory[M3NET_FRONTEND_BYTES] __attribute__((aligned(M3NET_FRONTEND_ALIGNMENT)));
  m3net_frontend* frontend;
  m3net_classifier classifier;
  m3net_model* model;  ///< The classifier's.
} m3net_recognizer;

/// Bytes of front end and ring, which are needed in addition to the model's.
size_t m3net_recognizer_frontend_bytes(void);

/// Sets up front end, ring and model. The arena must be aligned to M3NET_MODEL_ALIGNMENT.
m3net_status m3net_recognizer_init(m3net_recognizer* recognizer, uint8_t* arena,
                                   size_t arena_bytes);

/// Discards earlier audio.
void m3net_recognizer_reset(m3net_recognizer* recognizer);

/// Takes one hop of M3NET_FRONTEND_HOP_SAMPLES samples; returns whether it completed a column.
bool m3net_recognizer_push(m3net_recognizer* recognizer, const int16_t* hop);

/// Takes a whole clip; call m3net_recognizer_reset() before. The last hop is padded with silence,
/// which is in no complete frame of the clip.
///
/// @param samples  how many; fewer than M3NET_FRONTEND_FRAME_SAMPLES give no column.
/// @return the number of columns.
uint32_t m3net_recognizer_hear(m3net_recognizer* recognizer, const int16_t* clip, uint32_t samples);

/// Copies the columns so far into the model's input.
static inline void m3net_recognizer_load_window(m3net_recognizer* recognizer) {
  m3net_classifier_load_window(&recognizer->classifier);
}

/// Copies a window of features from elsewhere into the model's input, features[bin * FRAMES +
/// frame].
void m3net_recognizer_load_features(m3net_recognizer* recognizer, const int8_t* features);

/// Runs the model on its input; load that again before the next run. The caller's loop feeds the
/// watchdog, if there is one.
m3net_status m3net_recognizer_run(m3net_recognizer* recognizer);

/// As m3net_classifier_run_newest().
static inline m3net_status m3net_recognizer_run_newest(m3net_recognizer* recognizer) {
  return m3net_classifier_run_newest(&recognizer->classifier);
}

/// As m3net_classifier_label().
static inline uint32_t m3net_recognizer_label(const m3net_recognizer* recognizer) {
  return m3net_classifier_label(&recognizer->classifier);
}

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_RECOGNIZER_H_
