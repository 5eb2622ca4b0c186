// SPDX-License-Identifier: Apache-2.0
// Saves thresholds in the host's storage.
//
//   cut COUNT SEED   while the power fails: at each step of some saves, then COUNT times at any
//                    step, each time on what the last cut left
//   refuse           what must not be saved, or not be taken; prints statuses

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "model.h"
#include "platform.h"
#include "random.h"
#include "record_log.h"
#include "saved_thresholds.h"
#include "storage.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
#define EXPORTED 1u  // the thresholds of the export, as a value
#define DAMAGED 0u
#define SAVES 16u  // so many that both sectors fill more than once

const char* const m3net_model_labels[M3NET_MODEL_CLASS_COUNT];

static m3net_detector detector;
static uint64_t random_state;

static uint32_t random_below(uint32_t limit) { return host_random_below(&random_state, limit); }

static uint32_t value_of_detector(void) {
  const m3net_detector_class* classes = detector.config.classes;
  if (memcmp(classes, m3net_detector_defaults.classes, sizeof(detector.config.classes)) == 0) {
    return EXPORTED;
  }
  const uint32_t value = classes[0].threshold;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    if (classes[label].threshold != value + label || classes[label].release != value / 2u + label) {
      return DAMAGED;
    }
  }
  return value;
}

// Starts as the firmware does; returns the value that the detector has then.
static uint32_t start(void) {
  if (m3net_detector_init(&detector, &m3net_detector_defaults) != M3NET_OK) return DAMAGED;
  (void)m3net_saved_thresholds_load(&detector, NULL);
  return value_of_detector();
}

static m3net_status save(uint32_t value) {
  for (uint32_t label = 0; value != EXPORTED && label < CLASSES; ++label) {
    m3net_detector_class settings = detector.config.classes[label];
    settings.threshold = (uint16_t)(value + label);
    settings.release = (uint16_t)(value / 2u + label);
    (void)m3net_detector_set_class(&detector, label, &settings);
  }
  return value == EXPORTED ? m3net_saved_thresholds_forget(&detector, NULL)
                           : m3net_saved_thresholds_save(&detector, NULL);
}

// Saves a value while the power fails at a step, and starts again; returns the value then.
static uint32_t value_after_cut(uint32_t value, uint32_t step, host_cut kind) {
  (void)start();
  host_storage_steps = 0;
  host_storage_cut_step = step;
  host_storage_cut = kind;
  if (setjmp(host_restart) == 0 && save(value) != M3NET_OK) return DAMAGED;
  host_storage_cut_step = HOST_NO_CUT;
  return start();
}

static uint32_t value_after(uint32_t value) {
  return value_after_cut(value, HOST_NO_CUT, HOST_CUT_NOTHING);
}

// Cuts each step of a save; returns how many it has, or 0 if a value was neither.
static uint32_t cut_each_step(uint32_t former, uint32_t value) {
  host_storage_keep();
  if (value_after(value) != value) return 0;
  const uint32_t steps = host_storage_steps;
  for (uint32_t step = 0; step < steps; ++step) {
    for (uint32_t kind = 0; kind < HOST_CUT_KINDS; ++kind) {
      host_storage_restore();
      const uint32_t after = value_after_cut(value, step, (host_cut)kind);
      const bool all_written = step + 1u == steps && kind == HOST_CUT_WHOLE;
      if (after != (all_written ? value : former)) return 0;
      if (value_after(value) != value) return 0;  // what the cut left is not an obstacle
    }
  }
  host_storage_restore();
  return value_after(value) == value ? steps : 0;
}

static int cut(uint32_t count, uint64_t seed) {
  random_state = seed * 2u + 1u;
  uint32_t former = start(), steps = 0, most_steps = 0, taken = 0;
  for (uint32_t index = 1; index <= SAVES; ++index) {
    const uint32_t value = index % 5u == 0u ? EXPORTED : 1000u * index;
    const uint32_t of_save = cut_each_step(former, value);
    if (of_save == 0u) {
      fprintf(stderr, "save %u: neither the former nor the new thresholds\n", index);
      return 1;
    }
    steps += of_save;
    most_steps = of_save > most_steps ? of_save : most_steps;
    former = value;
  }
  for (uint32_t left = count; left > 0u; --left) {
    const uint32_t value = random_below(5) == 0u ? EXPORTED : 1000u + random_below(60000);
    const host_cut kind = (host_cut)random_below(HOST_CUT_KINDS);
    const uint32_t after = value_after_cut(value, random_below(2u * most_steps), kind);
    if (after != former && after != value) {
      fprintf(stderr, "cut %u from the end: neither value\n", left);
      return 1;
    }
    taken += after != former;
    former = after;
  }
  printf("steps=%u taken=%u\n", steps, taken);
  return 0;
}

static void print(const char* what, m3net_status status) {
  printf("%s: %s, then %u\n", what, m3net_status_name(status), start());
}

static int refuse(void) {
  static uint8_t content[1024];
  (void)start();
  print("thresholds", save(2000));
  host_storage_steps = 0;
  print("the same thresholds", save(2000));
  printf("%u steps\n", host_storage_steps);
  const uint32_t room = m3net_board_storage.sector_bytes;
  print("more than a sector", m3net_record_log_append(0, content, room));
  host_storage_worn = true;
  print("a worn storage", save(3000));
  print("a worn storage forgets", save(EXPORTED));
  host_storage_worn = false;
  print("another model's", m3net_record_log_append(1, content, 4u * CLASSES));
  print("nothing to forget", save(EXPORTED));
  // A record as long as a sector but for the next one, which has no content, and ends with it.
  const uint32_t header = 20u, word = m3net_board_storage.word_bytes;
  const uint32_t last = (header + word - 1u) / word * word;
  m3net_status status = m3net_record_log_append(1, content, room - last - header);
  if (status == M3NET_OK) status = m3net_record_log_append(1, content, 0);
  print("a full sector", status);
  print("the next sector", save(4000));
  return 0;
}

int main(int count, char** words) {
  if (count == 4 && strcmp(words[1], "cut") == 0) {
    return cut((uint32_t)strtoul(words[2], NULL, 10), strtoull(words[3], NULL, 10));
  }
  if (count == 2 && strcmp(words[1], "refuse") == 0) return refuse();
  fprintf(stderr, "say cut COUNT SEED, or refuse\n");
  return 2;
}
