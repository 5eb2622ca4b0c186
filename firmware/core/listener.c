// SPDX-License-Identifier: Apache-2.0

#include "live.h"

#include <string.h>

#include "platform.h"

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define QUEUE M3NET_LIVE_QUEUE_HOPS
#define MAX_WAITING (QUEUE - 1u)  // the hop that was processed last keeps its place

_Static_assert((QUEUE & (QUEUE - 1u)) == 0u, "the queue's counters wrap: use a power of two");
_Static_assert(M3NET_DETECTOR_CLASS_COUNT == (M3NET_PROTOTYPE_CLASSES > 0
                                                  ? M3NET_PROTOTYPE_CLASSES
                                                  : M3NET_MODEL_CLASS_COUNT),
               "the detector's classes are not the model's: export both from one run");
_Static_assert(M3NET_PROTOTYPE_CLASSES == 0 || M3NET_LOOK_RUNS == 0,
               "sounds with prototypes have no second looks: set look_runs of the detector to 0");

// Interrupt and main loop each read the counter that the other one writes.
static uint32_t load(const uint32_t* counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }

static void store(uint32_t* counter, uint32_t value) {
  __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

m3net_status m3net_live_init(m3net_live* live, m3net_recognizer* recognizer) {
  if (live == NULL || recognizer == NULL) return M3NET_ERROR_ARGUMENT;
  memset(live, 0, sizeof(*live));
  live->recognizer = recognizer;
  return m3net_detector_init(&live->detector, &m3net_detector_defaults);
}

m3net_prototype* m3net_live_prototypes(m3net_live* live) {
  return M3NET_PROTOTYPE_SLOTS > 0 ? live->prototypes : NULL;
}

const char* m3net_live_label(const m3net_live* live, uint32_t label) {
  if (M3NET_NORMAL_PROTOTYPES > 0) return "unusual";
  if (M3NET_PROTOTYPE_SLOTS == 0) return m3net_model_labels[label];
  const m3net_prototype* word = &live->prototypes[label];
  return word->examples > 0u ? word->name : "-";
}

// The scores of the classes that the detector knows.
static const int8_t* scores_of_run(m3net_live* live) {
  const int8_t* output = m3net_model_output(live->recognizer->model);
  if (M3NET_LIVE_OWN_SCORES == 0) return output;
  if (M3NET_PROTOTYPE_CLASSES > 0) {
    m3net_prototypes_score(live->prototypes, output, live->scores);
  } else {
    memcpy(live->scores, output, sizeof(live->scores));
  }
  return live->scores;
}

static void half_ready(void* context, const int16_t* half) {
  (void)m3net_live_hear((m3net_live*)context, half);  // a full queue is counted there
}

m3net_status m3net_live_start(m3net_live* live, bool microphone) {
  m3net_live_stop(live);
  m3net_recognizer_reset(live->recognizer);
  m3net_detector_reset(&live->detector);
  memset(&live->statistics, 0, sizeof(live->statistics));
  store(&live->head, 0);
  store(&live->tail, 0);
  if (microphone) {
    const m3net_status status =
        m3net_board_audio_start(M3NET_FRONTEND_SAMPLE_RATE_HZ, live->halves, HOP, half_ready, live);
    if (status != M3NET_OK) return status;
  }
  live->microphone = microphone;
  live->on = true;
  return M3NET_OK;
}

void m3net_live_stop(m3net_live* live) {
  if (live->on && live->microphone) m3net_board_audio_stop();
  live->on = false;
  live->microphone = false;
}

m3net_status m3net_live_hear(m3net_live* live, const int16_t* hop) {
  const uint32_t head = live->head;
  if (head - load(&live->tail) >= MAX_WAITING) {
    ++live->statistics.lost_hops;
    return M3NET_ERROR_FULL;
  }
  memcpy(live->queue[head % QUEUE], hop, HOP * sizeof(int16_t));
  live->arrived_us[head % QUEUE] = m3net_board_time_us();
  store(&live->head, head + 1u);
  return M3NET_OK;
}

bool m3net_live_waiting(const m3net_live* live) {
  return live->on && load(&live->head) != live->tail;
}

static void run(m3net_live* live, uint64_t arrived_us, m3net_live_result* result) {
  m3net_live_statistics* statistics = &live->statistics;
  const uint64_t start_us = m3net_board_time_us();
  const uint32_t start = m3net_board_counter();
  result->status = m3net_recognizer_run_newest(live->recognizer);
  result->run_steps = m3net_board_counter() - start;
  const uint32_t run_us = (uint32_t)(m3net_board_time_us() - start_us);
  if (run_us > statistics->max_run_us) statistics->max_run_us = run_us;
  if (result->status != M3NET_OK) return;
  result->scores = scores_of_run(live);
  result->has_event = m3net_detector_step(&live->detector, result->scores, &result->event);
#if M3NET_NORMAL_PROTOTYPES > 0
  const uint16_t score = m3net_detector_score(&live->detector, 0);
  if (score > statistics->max_score) statistics->max_score = score;
#endif
  if (M3NET_LOOK_RUNS > 0 && result->has_event) {
    result->has_look = true;
    result->look_score = m3net_recognizer_look(live->recognizer, result->event.label);
    result->has_event = m3net_detector_confirm(&live->detector, &result->event, result->look_score);
  }
  if (!result->has_event) return;
  result->latency_us = (uint32_t)(m3net_board_time_us() - arrived_us);
  ++statistics->events;
  statistics->latency_us = result->latency_us;
  if (result->latency_us > statistics->max_latency_us) {
    statistics->max_latency_us = result->latency_us;
  }
}

bool m3net_live_step(m3net_live* live, m3net_live_result* result) {
  if (!m3net_live_waiting(live)) return false;
  const uint32_t place = live->tail % QUEUE;
  const uint32_t waiting = load(&live->head) - live->tail;
  if (waiting > live->statistics.max_queue_hops) live->statistics.max_queue_hops = waiting;
  memset(result, 0, sizeof(*result));
  result->hop = live->queue[place];
  ++live->statistics.hops;
  const uint64_t arrived_us = live->arrived_us[place];
  result->has_column =
      m3net_frontend_push(live->recognizer->frontend, live->queue[place], result->column);
  if (result->has_column) {
    ++live->statistics.columns;
    m3net_ring_push(&live->recognizer->ring, result->column);
    if (m3net_detector_wants_inference(&live->detector, result->column)) {
      run(live, arrived_us, result);
    }
  }
  store(&live->tail, live->tail + 1u);
  return true;
}
