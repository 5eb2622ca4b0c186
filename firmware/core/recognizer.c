// SPDX-License-Identifier: Apache-2.0

#include "recognizer.h"

#include <string.h>

size_t m3net_recognizer_frontend_bytes(void) { return m3net_frontend_size() + m3net_ring_size(); }

m3net_status m3net_recognizer_init(m3net_recognizer* recognizer, uint8_t* arena,
                                   size_t arena_bytes) {
  if (recognizer == NULL) return M3NET_ERROR_ARGUMENT;
  m3net_status status = m3net_frontend_init(
      recognizer->frontend_memory, sizeof(recognizer->frontend_memory), &recognizer->frontend);
  if (status == M3NET_OK) {
    status = m3net_classifier_init(&recognizer->classifier, arena, arena_bytes);
  }
  recognizer->model = recognizer->classifier.model;
  return status;
}

void m3net_recognizer_reset(m3net_recognizer* recognizer) {
  m3net_frontend_reset(recognizer->frontend);
  m3net_classifier_reset(&recognizer->classifier);
}

bool m3net_recognizer_push(m3net_recognizer* recognizer, const int16_t* hop) {
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
  if (!m3net_frontend_push(recognizer->frontend, hop, column)) return false;
  m3net_ring_push(&recognizer->classifier.ring, column);
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

void m3net_recognizer_load_features(m3net_recognizer* recognizer, const int8_t* features) {
  memcpy(m3net_model_input(recognizer->model), features, M3NET_MODEL_INPUT_BYTES);
}
