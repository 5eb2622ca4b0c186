// SPDX-License-Identifier: Apache-2.0
// Columns of features in, label out: ring of columns and model in one object.
#ifndef M3NET_CORE_CLASSIFIER_H_
#define M3NET_CORE_CLASSIFIER_H_

#include <stddef.h>
#include <stdint.h>

#include "inference.h"
#include "ring.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A classifier; all memory is the caller's, the arena is passed to m3net_classifier_init().
typedef struct {
  uint8_t model_memory[M3NET_MODEL_OBJECT_BYTES] __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
  m3net_ring ring;
  m3net_model* model;
#ifdef M3NET_MODEL_PUSH_COLUMNS
  uint32_t streamed_columns;  ///< Of the ring when the stream was last pushed to.
#endif
} m3net_classifier;

/// Sets up ring and model. The arena must be aligned to M3NET_MODEL_ALIGNMENT.
m3net_status m3net_classifier_init(m3net_classifier* classifier, uint8_t* arena,
                                   size_t arena_bytes);

/// Discards earlier columns.
void m3net_classifier_reset(m3net_classifier* classifier);

/// Copies the columns so far into the model's input.
void m3net_classifier_load_window(m3net_classifier* classifier);

/// Runs the model on the columns so far, as live detection does.
///
/// An export that streams pushes the new columns, if they are as many as a push takes and continue
/// the stream of the call before. Otherwise it begins a stream and pushes the whole window. The
/// scores are the same bytes as after m3net_classifier_load_window() and m3net_model_run().
m3net_status m3net_classifier_run_newest(m3net_classifier* classifier);

/// Index of the class with the highest score; the first one if several share it.
uint32_t m3net_classifier_label(const m3net_classifier* classifier);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_CLASSIFIER_H_
