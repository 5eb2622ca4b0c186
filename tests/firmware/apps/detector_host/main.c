// SPDX-License-Identifier: Apache-2.0
// Drives the detector on a host with records from standard input, and writes its responses to
// standard output; both binary, little endian. test_detector.py writes and reads them.
//
//   record  u8 bit 0 = full trace, bit 1 = reset the detector of the previous record instead of
//           setting up one with these settings and counters; u32 columns counted before,
//           u32 columns, u32 changes, settings, changes (u32 column, u32 label, class), for each
//           column its features and the scores of a run
//   answer  u32 bytes, then for each column the trace, then counters and largest memory in KiB
//   trace   u8 bit 0 = inference wanted, bit 1 = event; smoothed scores; the event if there is one
//           (without the full trace: only events)

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "detector.h"

static char* answer;
static size_t used, room;

static void put(const void* bytes, size_t count) {
  if (used + count > room) {
    room = 2 * (used + count);
    answer = realloc(answer, room);
    if (answer == NULL) exit(2);
  }
  memcpy(answer + used, bytes, count);
  used += count;
}

static void get(void* bytes, size_t count) {
  if (fread(bytes, 1, count, stdin) != count) exit(3);
}

static uint32_t get_u32(void) {
  uint32_t value;
  get(&value, sizeof(value));
  return value;
}

static m3net_detector_class get_class(void) {
  m3net_detector_class one;
  get(&one.threshold, 2);
  get(&one.release, 2);
  get(&one.suppression_columns, 2);
  get(&one.window_runs, 1);
  get(&one.hits, 1);
  return one;
}

static m3net_detector_config get_config(void) {
  m3net_detector_config config;
  get(&config.first_run_columns, 2);
  get(&config.run_columns, 2);
  get(&config.gate_bins, 2);
  get(&config.gate_hold_columns, 2);
  get(&config.gate_sum, 4);
  for (int i = 0; i < M3NET_DETECTOR_CLASS_COUNT; ++i) config.classes[i] = get_class();
  return config;
}

static void put_event(const m3net_event* event) {
  put(&event->column, 4);
  put(&event->label, 2);
  put(&event->score, 2);
}

static void hear(m3net_detector* detector, bool full) {
  int8_t column[M3NET_FRONTEND_FEATURE_BINS + M3NET_DETECTOR_CLASS_COUNT];
  const int8_t* scores = column + M3NET_FRONTEND_FEATURE_BINS;
  m3net_event event;
  get(column, sizeof(column));
  const bool due = m3net_detector_wants_inference(detector, column);
  const bool has_event = due && m3net_detector_step(detector, scores, &event);
  if (full) {
    const uint8_t marks = (uint8_t)((due ? 1 : 0) | (has_event ? 2 : 0));
    put(&marks, 1);
    for (uint32_t label = 0; label < M3NET_DETECTOR_CLASS_COUNT; ++label) {
      const uint16_t score = m3net_detector_score(detector, label);
      put(&score, 2);
    }
  }
  if (has_event) put_event(&event);
}

int main(int count, char** words) {
  static m3net_detector detector;
  if (count > 1 && strcmp(words[1], "defaults") == 0) {
    fwrite(&m3net_detector_defaults, sizeof(m3net_detector_defaults), 1, stdout);
    return m3net_detector_init(&detector, &m3net_detector_defaults) == M3NET_OK ? 0 : 4;
  }
  for (int first; (first = getchar()) != EOF;) {
    used = 0;
    const uint32_t counted = get_u32();
    const uint32_t columns = get_u32();
    uint32_t changes = get_u32();
    const m3net_detector_config config = get_config();
    uint8_t status = M3NET_OK;
    if ((first & 2) != 0) {
      m3net_detector_reset(&detector);
    } else {
      status = (uint8_t)m3net_detector_init(&detector, &config);
      detector.columns = detector.runs = detector.skipped_runs = detector.events = counted;
    }
    uint32_t change_at = changes > 0 ? get_u32() : columns;
    for (uint32_t i = 0; i < columns; ++i) {
      while (changes > 0 && change_at == i) {
        const uint32_t label = get_u32();
        const m3net_detector_class one = get_class();
        if (m3net_detector_set_class(&detector, label, &one) != M3NET_OK) return 5;
        change_at = --changes > 0 ? get_u32() : columns;
      }
      hear(&detector, (first & 1) != 0);
    }
    put(&status, 1);
    put(&detector.columns, 4);
    put(&detector.runs, 4);
    put(&detector.skipped_runs, 4);
    put(&detector.events, 4);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    const uint32_t memory_kib = (uint32_t)usage.ru_maxrss;
    put(&memory_kib, 4);
    const uint32_t bytes = (uint32_t)used;
    fwrite(&bytes, 4, 1, stdout);
    fwrite(answer, 1, used, stdout);
    fflush(stdout);
  }
  return 0;
}
