// SPDX-License-Identifier: Apache-2.0

#include "classifier.h"

#define LOOKS M3NET_LOOK_RUNS

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

// A class's score of the last run, from 0 to 255.
static uint32_t score_of(const m3net_classifier* classifier, uint32_t label) {
  return (uint32_t)(m3net_model_output(classifier->model)[label] + 128);
}

#ifdef M3NET_MODEL_PUSH_COLUMNS

#define PUSH M3NET_MODEL_PUSH_COLUMNS

_Static_assert(LOOKS == 0u || M3NET_DETECTOR_RUN_COLUMNS == PUSH,
               "a run pushes the columns of a run");

// Pushes the columns of the ring that begin `back` columns before its end. Columns from before the
// window, which the first push of a window may begin with, affect no score: any will do.
static void push_columns(m3net_classifier* classifier, uint32_t back, int32_t shift) {
  int8_t columns[M3NET_FRONTEND_FEATURE_BINS * PUSH];
  m3net_ring_copy_shifted(&classifier->ring, back, PUSH, shift, columns);
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
  for (; pushes > 0u; --pushes) push_columns(classifier, pushes * PUSH, 0);
  classifier->streamed_columns = heard;
  return M3NET_OK;
}

// Sum of a class's scores in the latest runs, with shifted columns.
static uint32_t sum_of_look(m3net_classifier* classifier, uint32_t label, int32_t shift) {
  uint32_t sum = 0;
  m3net_model_begin_stream(classifier->model);
  for (uint32_t pushes = M3NET_MODEL_WINDOW_PUSHES + LOOKS - 1u; pushes > 0u; --pushes) {
    push_columns(classifier, pushes * PUSH, shift);
    if (pushes <= LOOKS) sum += score_of(classifier, label);
  }
  m3net_model_end_stream(classifier->model);  // the next run begins one with columns as they are
  return sum;
}

#else

m3net_status m3net_classifier_run_newest(m3net_classifier* classifier) {
  m3net_classifier_load_window(classifier);
  return m3net_model_run(classifier->model);
}

// Sum of a class's scores in the latest runs, with shifted columns.
static uint32_t sum_of_look(m3net_classifier* classifier, uint32_t label, int32_t shift) {
  uint32_t sum = 0;
  for (uint32_t runs = LOOKS; runs > 0u; --runs) {
    const uint32_t back = M3NET_FRONTEND_FRAMES + (runs - 1u) * M3NET_DETECTOR_RUN_COLUMNS;
    m3net_ring_copy_shifted(&classifier->ring, back, M3NET_FRONTEND_FRAMES, shift,
                            m3net_model_input(classifier->model));
    if (m3net_model_run(classifier->model) != M3NET_OK) return 0;
    sum += score_of(classifier, label);
  }
  return sum;
}

#endif

uint16_t m3net_classifier_look(m3net_classifier* classifier, uint32_t label) {
  static const int8_t shifts[] = M3NET_LOOK_SHIFTS;
  uint32_t sum = 0;
  uint32_t runs = 0;
  for (uint32_t at = 0; at < sizeof(shifts) / sizeof(shifts[0]); ++at) {
    sum += sum_of_look(classifier, label, shifts[at]);
    runs += LOOKS;
  }
  if (runs == 0u) return 0;
  return (uint16_t)(256u * sum / runs);
}

uint32_t m3net_classifier_label(const m3net_classifier* classifier) {
  const int8_t* scores = m3net_model_output(classifier->model);
  uint32_t best = 0;
  for (uint32_t label = 1; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    if (scores[label] > scores[best]) best = label;
  }
  return best;
}
