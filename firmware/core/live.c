// SPDX-License-Identifier: Apache-2.0

#include "live.h"

#include <string.h>

#include "platform.h"

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define QUEUE M3NET_LIVE_QUEUE_HOPS
#define MAX_WAITING (QUEUE - 1u)  // the hop that was processed last keeps its place

_Static_assert((QUEUE & (QUEUE - 1u)) == 0u, "the queue's counters wrap: use a power of two");
// Interrupt and main loop each read the counter that the other one writes.
static uint32_t load(const uint32_t* counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }

static void store(uint32_t* counter, uint32_t value) {
  __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

m3net_status m3net_live_init(m3net_live* live, m3net_recognizer* recognizer) {
  if (live == NULL || recognizer == NULL) return M3NET_ERROR_ARGUMENT;
  memset(live, 0, sizeof(*live));
  live->recognizer = recognizer;
  return m3net_listener_init(&live->listener, &recognizer->classifier);
}

static void half_ready(void* context, const int16_t* half) {
  (void)m3net_live_hear((m3net_live*)context, half);  // a full queue is counted there
}

m3net_status m3net_live_start(m3net_live* live, bool microphone) {
  m3net_live_stop(live);
  m3net_frontend_reset(live->recognizer->frontend);
  m3net_listener_reset(&live->listener);
  m3net_level_reset(&live->level);
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

static void count_run(m3net_live* live, uint64_t arrived_us, m3net_live_result* result) {
  m3net_live_statistics* statistics = &live->statistics;
  if (result->run_us > statistics->max_run_us) statistics->max_run_us = result->run_us;
#if M3NET_NORMAL_PROTOTYPES > 0
  if (result->scores != NULL) {
    const uint16_t score = m3net_detector_score(&live->listener.detector, 0);
    if (score > statistics->max_score) statistics->max_score = score;
  }
#endif
  if (!result->has_event) return;
  result->latency_us = (uint32_t)(m3net_board_time_us() - arrived_us);
  ++statistics->events;
  statistics->latency_us = result->latency_us;
  if (result->latency_us > statistics->max_latency_us) {
    statistics->max_latency_us = result->latency_us;
  }
}

// The samples for the front end.
static const int16_t* amplified(m3net_live* live, const int16_t* hop) {
#if M3NET_LEVEL_AMPLIFIES
  m3net_level_amplify(&live->level, hop, live->amplified);
  return live->amplified;
#else
  (void)live;
  return hop;
#endif
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
  result->has_level = m3net_level_hear(&live->level, result->hop);
  result->has_column =
      m3net_frontend_push(live->recognizer->frontend, amplified(live, result->hop), result->column);
  if (result->has_column) {
    ++live->statistics.columns;
    m3net_listener_take(&live->listener, result->column, result);
    count_run(live, arrived_us, result);
  }
  store(&live->tail, live->tail + 1u);
  return true;
}
