// SPDX-License-Identifier: Apache-2.0
// Audio in, label out: front end, ring of columns and model in one object.
#ifndef M3NET_CORE_RECOGNIZER_H_
#define M3NET_CORE_RECOGNIZER_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend.h"
#include "inference.h"
#include "ring.h"
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
  uint8_t model_memory[M3NET_MODEL_OBJECT_BYTES] __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
  m3net_ring ring;
  m3net_frontend* frontend;
  m3net_model* model;
#ifdef M3NET_MODEL_PUSH_COLUMNS
  uint32_t streamed_columns;  ///< Of the ring when the stream was last pushed to.
#endif
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
void m3net_recognizer_load_window(m3net_recognizer* recognizer);

/// Copies a window of features from elsewhere into the model's input, features[bin * FRAMES +
/// frame].
void m3net_recognizer_load_features(m3net_recognizer* recognizer, const int8_t* features);

/// Runs the model on its input; load that again before the next run. The caller's loop feeds the
/// watchdog, if there is one.
m3net_status m3net_recognizer_run(m3net_recognizer* recognizer);

/// Runs the model on the columns so far, as live detection does.
///
/// An export that streams pushes the new columns, if they are as many as a push takes and continue
/// the stream of the call before. Otherwise it begins a stream and pushes the whole window. The
/// scores are the same bytes as after m3net_recognizer_load_window() and m3net_recognizer_run().
m3net_status m3net_recognizer_run_newest(m3net_recognizer* recognizer);

/// Takes a second look: runs the model on the latest M3NET_LOOK_RUNS windows again, with their
/// columns a bin higher and a bin lower. It overwrites the scores of the last run.
///
/// @return the mean score of a class, in 65536ths of full scale; 0 if M3NET_LOOK_RUNS is 0.
uint16_t m3net_recognizer_look(m3net_recognizer* recognizer, uint32_t label);

/// Index of the class with the highest score; the first one if several share it.
uint32_t m3net_recognizer_label(const m3net_recognizer* recognizer);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_RECOGNIZER_H_
