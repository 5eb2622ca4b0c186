// SPDX-License-Identifier: Apache-2.0

#include "recognizer.h"

#include <string.h>

#define LOOKS M3NET_LOOK_RUNS

_Static_assert(M3NET_MODEL_INPUT_BYTES == M3NET_RING_WINDOW_BYTES,
               "the model's input is not one window of features: export both from one run");

size_t m3net_recognizer_frontend_bytes(void) { return m3net_frontend_size() + m3net_ring_size(); }

m3net_status m3net_recognizer_init(m3net_recognizer* recognizer, uint8_t* arena,
                                   size_t arena_bytes) {
  if (recognizer == NULL) return M3NET_ERROR_ARGUMENT;
  const m3net_status status = m3net_frontend_init(
      recognizer->frontend_memory, sizeof(recognizer->frontend_memory), &recognizer->frontend);
  if (status != M3NET_OK) return status;
  m3net_ring_reset(&recognizer->ring);
  return m3net_model_init(recognizer->model_memory, sizeof(recognizer->model_memory), arena,
                          arena_bytes, &recognizer->model);
}

void m3net_recognizer_reset(m3net_recognizer* recognizer) {
  m3net_frontend_reset(recognizer->frontend);
  m3net_ring_reset(&recognizer->ring);
  m3net_model_end_stream(recognizer->model);
}

bool m3net_recognizer_push(m3net_recognizer* recognizer, const int16_t* hop) {
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
  if (!m3net_frontend_push(recognizer->frontend, hop, column)) return false;
  m3net_ring_push(&recognizer->ring, column);
  return true;
}

uint32_t m3net_recognizer_hear(m3net_recognizer* recognizer, const int16_t* clip,
                               uint32_t samples) {
  if (samples < M3NET_FRONTEND_FRAME_SAMPLES) return 0;
  int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  uint32_t columns = 0;
  const uint32_t frames =
      1u + (samples - M3NET_FRONTEND_FRAME_SAMPLES) / M3NET_FRONTEND_HOP_SAMPLES;
  for (uint32_t at = 0; at < samples && columns < frames; at += M3NET_FRONTEND_HOP_SAMPLES) {
    const uint32_t left = samples - at;
    const uint32_t count = left < M3NET_FRONTEND_HOP_SAMPLES ? left : M3NET_FRONTEND_HOP_SAMPLES;
    memcpy(hop, clip + at, 2u * count);
    memset(&hop[count], 0, 2u * (M3NET_FRONTEND_HOP_SAMPLES - count));
    columns += m3net_recognizer_push(recognizer, hop) ? 1u : 0u;
  }
  return columns;
}

void m3net_recognizer_load_window(m3net_recognizer* recognizer) {
  m3net_ring_copy(&recognizer->ring, m3net_model_input(recognizer->model));
}

void m3net_recognizer_load_features(m3net_recognizer* recognizer, const int8_t* features) {
  memcpy(m3net_model_input(recognizer->model), features, M3NET_MODEL_INPUT_BYTES);
}

m3net_status m3net_recognizer_run(m3net_recognizer* recognizer) {
  return m3net_model_run(recognizer->model);
}

// A class's score of the last run, from 0 to 255.
static uint32_t score_of(const m3net_recognizer* recognizer, uint32_t label) {
  return (uint32_t)(m3net_model_output(recognizer->model)[label] + 128);
}

#ifdef M3NET_MODEL_PUSH_COLUMNS

#define PUSH M3NET_MODEL_PUSH_COLUMNS

_Static_assert(LOOKS == 0u || M3NET_DETECTOR_RUN_COLUMNS == PUSH,
               "a run pushes the columns of a run");

// Pushes the columns of the ring that begin `back` columns before its end. Columns from before the
// window, which the first push of a window may begin with, affect no score: any will do.
static void push_columns(m3net_recognizer* recognizer, uint32_t back, int32_t shift) {
  int8_t columns[M3NET_FRONTEND_FEATURE_BINS * PUSH];
  m3net_ring_copy_shifted(&recognizer->ring, back, PUSH, shift, columns);
  m3net_model_push(recognizer->model, columns);
}

m3net_status m3net_recognizer_run_newest(m3net_recognizer* recognizer) {
  const uint32_t heard = recognizer->ring.columns;
  const bool continues =
      m3net_model_is_streaming(recognizer->model) && heard - recognizer->streamed_columns == PUSH;
  uint32_t pushes = 1;
  if (!continues) {
    m3net_model_begin_stream(recognizer->model);
    pushes = M3NET_MODEL_WINDOW_PUSHES;
  }
  for (; pushes > 0u; --pushes) push_columns(recognizer, pushes * PUSH, 0);
  recognizer->streamed_columns = heard;
  return M3NET_OK;
}

// Sum of a class's scores in the latest runs, with shifted columns.
static uint32_t sum_of_look(m3net_recognizer* recognizer, uint32_t label, int32_t shift) {
  uint32_t sum = 0;
  m3net_model_begin_stream(recognizer->model);
  for (uint32_t pushes = M3NET_MODEL_WINDOW_PUSHES + LOOKS - 1u; pushes > 0u; --pushes) {
    push_columns(recognizer, pushes * PUSH, shift);
    if (pushes <= LOOKS) sum += score_of(recognizer, label);
  }
  m3net_model_end_stream(recognizer->model);  // the next run begins one with columns as they are
  return sum;
}

#else

m3net_status m3net_recognizer_run_newest(m3net_recognizer* recognizer) {
  m3net_recognizer_load_window(recognizer);
  return m3net_recognizer_run(recognizer);
}

// Sum of a class's scores in the latest runs, with shifted columns.
static uint32_t sum_of_look(m3net_recognizer* recognizer, uint32_t label, int32_t shift) {
  uint32_t sum = 0;
  for (uint32_t runs = LOOKS; runs > 0u; --runs) {
    const uint32_t back = M3NET_FRONTEND_FRAMES + (runs - 1u) * M3NET_DETECTOR_RUN_COLUMNS;
    m3net_ring_copy_shifted(&recognizer->ring, back, M3NET_FRONTEND_FRAMES, shift,
                            m3net_model_input(recognizer->model));
    if (m3net_recognizer_run(recognizer) != M3NET_OK) return 0;
    sum += score_of(recognizer, label);
  }
  return sum;
}

#endif

uint16_t m3net_recognizer_look(m3net_recognizer* recognizer, uint32_t label) {
  static const int8_t shifts[] = M3NET_LOOK_SHIFTS;
  uint32_t sum = 0;
  uint32_t runs = 0;
  for (uint32_t at = 0; at < sizeof(shifts) / sizeof(shifts[0]); ++at) {
    sum += sum_of_look(recognizer, label, shifts[at]);
    runs += LOOKS;
  }
  if (runs == 0u) return 0;
  return (uint16_t)(256u * sum / runs);
}

uint32_t m3net_recognizer_label(const m3net_recognizer* recognizer) {
  const int8_t* scores = m3net_model_output(recognizer->model);
  uint32_t best = 0;
  for (uint32_t label = 1; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    if (scores[label] > scores[best]) best = label;
  }
  return best;
}
