// SPDX-License-Identifier: Apache-2.0

#include "listener.h"

#include <string.h>

#include "model_data.h"
#include "platform.h"

_Static_assert(M3NET_DETECTOR_CLASS_COUNT == (M3NET_PROTOTYPE_CLASSES > 0
                                                  ? M3NET_PROTOTYPE_CLASSES
                                                  : M3NET_MODEL_CLASS_COUNT),
               "the detector's classes are not the model's: export both from one run");

m3net_status m3net_listener_init(m3net_listener* listener, m3net_classifier* classifier) {
  if (listener == NULL || classifier == NULL) return M3NET_ERROR_ARGUMENT;
  memset(listener, 0, sizeof(*listener));
  listener->classifier = classifier;
  return m3net_detector_init(&listener->detector, m3net_model_detector());
}

void m3net_listener_reset(m3net_listener* listener) {
  m3net_classifier_reset(listener->classifier);
  m3net_detector_reset(&listener->detector);
}

m3net_prototype* m3net_listener_prototypes(m3net_listener* listener) {
  return M3NET_PROTOTYPE_SLOTS > 0 ? listener->prototypes : NULL;
}

const char* m3net_listener_label(const m3net_listener* listener, uint32_t label) {
  if (M3NET_NORMAL_PROTOTYPES > 0) return "unusual";
  if (M3NET_PROTOTYPE_SLOTS == 0) return m3net_model_label(label);
  const m3net_prototype* word = &listener->prototypes[label];
  return word->examples > 0u ? word->name : "-";
}

// The scores of the classes that the detector knows.
static const int8_t* scores_of_run(m3net_listener* listener) {
  const int8_t* output = m3net_model_output(listener->classifier->model);
  if (M3NET_PROTOTYPE_CLASSES == 0) return output;
  m3net_prototypes_score(listener->prototypes, output, listener->scores);
  return listener->scores;
}

static void run(m3net_listener* listener, m3net_live_result* result) {
  const uint64_t start_us = m3net_board_time_us();
  const uint32_t start = m3net_board_counter();
  result->status = m3net_classifier_run_newest(listener->classifier);
  result->run_steps = m3net_board_counter() - start;
  result->run_us = (uint32_t)(m3net_board_time_us() - start_us);
  if (result->status != M3NET_OK) return;
  result->scores = scores_of_run(listener);
  result->has_event = m3net_detector_step(&listener->detector, result->scores, &result->event);
}

void m3net_listener_take(m3net_listener* listener, const int8_t* column,
                         m3net_live_result* result) {
  result->status = M3NET_OK;
  result->scores = NULL;
  result->has_event = false;
  m3net_ring_push(&listener->classifier->ring, column);
  if (m3net_detector_wants_inference(&listener->detector, column)) run(listener, result);
}
