// SPDX-License-Identifier: Apache-2.0

#include "classifier.h"

_Static_assert(M3NET_MODEL_INPUT_BYTES == M3NET_RING_WINDOW_BYTES,
               "the model's input is not one window of features: export both from one run");

m3net_status m3net_classifier_init(m3net_classifier* classifier, uint8_t* arena,
                                   size_t arena_bytes) {
  if (classifier == NULL) return M3NET_ERROR_ARGUMENT;
  m3net_ring_reset(&classifier->ring);
  return m3net_model_init(classifier->model_memory, sizeof(classifier->model_memory), arena,
                          arena_bytes, &classifier->model);
}

void m3net_classifier_reset(m3net_classifier* classifier) {
  m3net_ring_reset(&classifier->ring);
  m3net_model_end_stream(classifier->model);
}

void m3net_classifier_load_window(m3net_classifier* classifier) {
  m3net_ring_copy(&classifier->ring, m3net_model_input(classifier->model));
}

#ifdef M3NET_MODEL_PUSH_COLUMNS

#define PUSH M3NET_MODEL_PUSH_COLUMNS

// Pushes the columns of the ring that begin `back` columns before its end. Columns from before the
// window, which the first push of a window may begin with, affect no score: any will do.
static void push_columns(m3net_classifier* classifier, uint32_t back) {
  int8_t columns[M3NET_FRONTEND_FEATURE_BINS * PUSH];
  m3net_ring_copy_columns(&classifier->ring, back, PUSH, columns);
  m3net_model_push(classifier->model, columns);
}

m3net_status m3net_classifier_run_newest(m3net_classifier* classifier) {
  const uint32_t heard = classifier->ring.columns;
  const bool continues =
      m3net_model_is_streaming(classifier->model) && heard - classifier->streamed_columns == PUSH;
  uint32_t pushes = 1;
  if (!continues) {
    m3net_model_begin_stream(classifier->model);
    pushes = M3NET_MODEL_WINDOW_PUSHES;
  }
  for (; pushes > 0u; --pushes) push_columns(classifier, pushes * PUSH);
  classifier->streamed_columns = heard;
  return M3NET_OK;
}

#else

m3net_status m3net_classifier_run_newest(m3net_classifier* classifier) {
  m3net_classifier_load_window(classifier);
  return m3net_model_run(classifier->model);
}

#endif

uint32_t m3net_classifier_label(const m3net_classifier* classifier) {
  const int8_t* scores = m3net_model_output(classifier->model);
  uint32_t best = 0;
  for (uint32_t label = 1; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    if (scores[label] > scores[best]) best = label;
  }
  return best;
}
