// SPDX-License-Identifier: Apache-2.0
// Saves thresholds on the host's storage while the power fails.
//
//   m3net_cuts_host COUNT SEED   at each step of some saves, then COUNT times at any step, each
//   time
//                                on what the last cut left

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "model.h"
#include "saved_thresholds.h"
#include "storage.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
#define EXPORTED 1u  // the thresholds of the export, as a value
#define DAMAGED 0u
#define SAVES 16u  // so many that both sectors fill more than once

const char* const m3net_model_labels[M3NET_MODEL_CLASS_COUNT];

static m3net_detector detector;
static uint64_t random_state;

static uint32_t random_below(uint32_t limit) {  // xorshift64*
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return (uint32_t)((random_state * 0x2545F4914F6CDD1Du) >> 33) % limit;
}

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
  (void)m3net_saved_thresholds_load(&detector);
  return value_of_detector();
}

static void save(uint32_t value) {
  for (uint32_t label = 0; value != EXPORTED && label < CLASSES; ++label) {
    m3net_detector_class settings = detector.config.classes[label];
    settings.threshold = (uint16_t)(value + label);
    settings.release = (uint16_t)(value / 2u + label);
    (void)m3net_detector_set_class(&detector, label, &settings);
  }
  const m3net_status status = value == EXPORTED ? m3net_saved_thresholds_forget(&detector)
                                                : m3net_saved_thresholds_save(&detector);
  if (status != M3NET_OK) abort();
}

// Saves a value while the power fails at a step, and starts again; returns the value then.
static uint32_t value_after_cut(uint32_t value, uint32_t step, host_cut kind) {
  (void)start();
  host_storage_steps = 0;
  host_storage_cut_step = step;
  host_storage_cut = kind;
  if (setjmp(host_restart) == 0) save(value);
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
      if (value_after(value) != value) return 0;  // what the cut left is no obstacle
    }
  }
  host_storage_restore();
  return value_after(value) == value ? steps : 0;
}

int main(int count, char** words) {
  if (count != 3) {
    fprintf(stderr, "say m3net_cuts_host COUNT SEED\n");
    return 2;
  }
  const uint32_t cuts = (uint32_t)strtoul(words[1], NULL, 10);
  random_state = strtoull(words[2], NULL, 10) * 2u + 1u;
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
  for (uint32_t left = cuts; left > 0u; --left) {
    const uint32_t value = random_below(5) == 0u ? EXPORTED : 1000u + random_below(60000);
    const host_cut kind = (host_cut)random_below(HOST_CUT_KINDS);
    const uint32_t after = value_after_cut(value, random_below(most_steps), kind);
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
