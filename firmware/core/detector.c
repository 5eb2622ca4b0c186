// SPDX-License-Identifier: Apache-2.0

#include "detector.h"

#include <string.h>

#include "frontend.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
#define EVENTS M3NET_DETECTOR_EVENT_COUNT
#define HISTORY M3NET_DETECTOR_HISTORY_RUNS

_Static_assert(M3NET_DETECTOR_FIRST_RUN_COLUMNS == M3NET_FRONTEND_FRAMES,
               "the detector's window is not the model's: export both from one run");
_Static_assert(HISTORY <= 255, "a sum over the history must fit 16 bits");

const m3net_detector_config m3net_detector_defaults = {
    .first_run_columns = M3NET_DETECTOR_FIRST_RUN_COLUMNS,
    .run_columns = M3NET_DETECTOR_RUN_COLUMNS,
    .gate_bins = M3NET_DETECTOR_GATE_BINS,
    .gate_hold_columns = M3NET_DETECTOR_GATE_HOLD_COLUMNS,
    .gate_sum = M3NET_DETECTOR_GATE_SUM,
    .classes = {M3NET_DETECTOR_CLASSES},
};

// The classes with events, in rising order: no state is kept of the others.
static const uint16_t labels[EVENTS] = M3NET_DETECTOR_EVENTS;

// Place of a class in the state; EVENTS if it was exported without events.
static uint32_t place_of(uint32_t label) {
  uint32_t place = 0;
  while (place < EVENTS && labels[place] != label) ++place;
  return place;
}

static const m3net_detector_class* settings_of(const m3net_detector* detector, uint32_t place) {
  return &detector->config.classes[labels[place]];
}

static bool class_is_valid(const m3net_detector_class* settings, uint32_t label) {
  return settings->release > 0u && settings->release <= settings->threshold &&
         settings->window_runs > 0u && settings->window_runs <= HISTORY &&
         (settings->hits == 0u || place_of(label) < EVENTS);
}

static bool config_is_valid(const m3net_detector_config* config) {
  if (config->first_run_columns == 0u || config->run_columns == 0u) return false;
  if (config->gate_bins > M3NET_FRONTEND_FEATURE_BINS) return false;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    if (!class_is_valid(&config->classes[label], label)) return false;
  }
  return true;
}

// Row of the history that is `runs` before the newest.
static uint32_t row_before(const m3net_detector* detector, uint32_t runs) {
  const uint32_t newest = detector->newest;
  return newest >= runs ? newest - runs : newest + HISTORY - runs;
}

static uint16_t score_at(const m3net_detector* detector, uint32_t place) {
  return (uint16_t)(256u * detector->sums[place] / settings_of(detector, place)->window_runs);
}

// Adds the scores of a run to the history and to the sums; null for the lowest scores.
static void remember(m3net_detector* detector, const int8_t* scores) {
  detector->newest = (uint8_t)(detector->newest + 1u == HISTORY ? 0u : detector->newest + 1u);
  uint8_t* newest = detector->history[detector->newest];
  for (uint32_t place = 0; place < EVENTS; ++place) {
    const uint32_t window = settings_of(detector, place)->window_runs;
    // The newest run overwrites the row that leaves the longest window: read that first.
    const uint8_t leaving = detector->history[row_before(detector, window)][place];
    newest[place] = scores == NULL ? 0u : (uint8_t)(scores[labels[place]] + 128);
    detector->sums[place] = (uint16_t)(detector->sums[place] + newest[place] - leaving);
  }
}

// Advances by one run; null for one that the gate skipped.
static void advance(m3net_detector* detector, const int8_t* scores) {
  remember(detector, scores);
  const uint16_t passed = detector->config.run_columns;
  for (uint32_t place = 0; place < EVENTS; ++place) {
    const m3net_detector_class* settings = settings_of(detector, place);
    uint16_t* quiet = &detector->quiet_columns[place];
    *quiet = *quiet > passed ? (uint16_t)(*quiet - passed) : 0u;
    const uint16_t score = score_at(detector, place);
    if (score < settings->release) detector->active[place] = false;
    if (scores == NULL || score < settings->threshold) {
      detector->hits[place] = 0u;
    } else if (detector->hits[place] < settings->hits) {
      ++detector->hits[place];
    }
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
    if (scores == NULL) detector->waiting[place] = 0u;
#endif
  }
}

// The score of a class at the last run, or the one with which it waits.
static uint16_t due_score(const m3net_detector* detector, uint32_t place) {
  const uint16_t score = score_at(detector, place);
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  if (detector->waiting[place] > score) return detector->waiting[place];
#endif
  return score;
}

static bool is_due(const m3net_detector* detector, uint32_t place) {
  const uint8_t needed = settings_of(detector, place)->hits;
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  if (needed > 0u && detector->waiting[place] > 0u) return true;
#endif
  return needed > 0u && detector->hits[place] >= needed && !detector->active[place] &&
         detector->quiet_columns[place] == 0u;
}

// Classes that one with a higher score outranks wait for the next run, if several may sound at
// once.
static void wait_behind(m3net_detector* detector, uint32_t best) {
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  for (uint32_t place = 0; place < EVENTS; ++place) {
    const bool waits = place != best && is_due(detector, place);
    detector->waiting[place] = waits ? due_score(detector, place) : 0u;
  }
#else
  (void)detector, (void)best;
#endif
}

size_t m3net_detector_size(void) { return sizeof(m3net_detector); }

m3net_status m3net_detector_init(m3net_detector* detector, const m3net_detector_config* config) {
  if (detector == NULL || config == NULL) return M3NET_ERROR_ARGUMENT;
  if (!config_is_valid(config)) return M3NET_ERROR_CONFIG;
  detector->config = *config;
  m3net_detector_reset(detector);
  return M3NET_OK;
}

void m3net_detector_reset(m3net_detector* detector) {
  detector->columns = 0u;
  detector->runs = 0u;
  detector->skipped_runs = 0u;
  detector->events = 0u;
  detector->until_run = detector->config.first_run_columns;
  detector->open_columns = 0u;
  detector->newest = 0u;
  memset(detector->history, 0, sizeof(detector->history));
  memset(detector->sums, 0, sizeof(detector->sums));
  memset(detector->quiet_columns, 0, sizeof(detector->quiet_columns));
  memset(detector->hits, 0, sizeof(detector->hits));
  memset(detector->active, 0, sizeof(detector->active));
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  memset(detector->waiting, 0, sizeof(detector->waiting));
#endif
}

m3net_status m3net_detector_set_class(m3net_detector* detector, uint32_t label,
                                      const m3net_detector_class* settings) {
  if (detector == NULL || settings == NULL || label >= CLASSES) return M3NET_ERROR_ARGUMENT;
  if (!class_is_valid(settings, label)) return M3NET_ERROR_CONFIG;
  detector->config.classes[label] = *settings;
  const uint32_t place = place_of(label);
  if (place == EVENTS) return M3NET_OK;
  detector->hits[place] = 0u;
#ifdef M3NET_DETECTOR_SEVERAL_LABELS
  detector->waiting[place] = 0u;
#endif
  uint32_t sum = 0;
  for (uint32_t runs = 0; runs < settings->window_runs; ++runs) {
    sum += detector->history[row_before(detector, runs)][place];
  }
  detector->sums[place] = (uint16_t)sum;
  return M3NET_OK;
}

// What a feature adds to its column's level: samples are positive and negative.
static inline int32_t loudness(int8_t feature) {
  return M3NET_FRONTEND_OF_SAMPLES && feature < 0 ? -feature : feature;
}

bool m3net_detector_wants_inference(m3net_detector* detector, const int8_t* column) {
  const m3net_detector_config* config = &detector->config;
  ++detector->columns;
  int32_t level = 0;
  for (uint32_t bin = 0; bin < config->gate_bins; ++bin) level += loudness(column[bin]);
  bool open = true;
  if (level >= config->gate_sum) {
    detector->open_columns = config->gate_hold_columns;
  } else if (detector->open_columns > 0u) {
    --detector->open_columns;
  } else {
    open = false;
  }
  if (--detector->until_run > 0u) return false;
  detector->until_run = config->run_columns;
  if (open) return true;
  ++detector->skipped_runs;
  advance(detector, NULL);
  return false;
}

bool m3net_detector_step(m3net_detector* detector, const int8_t* scores, m3net_event* event) {
  ++detector->runs;
  advance(detector, scores);
  uint32_t best = EVENTS;
  for (uint32_t place = 0; place < EVENTS; ++place) {
    if (!is_due(detector, place)) continue;
    if (best == EVENTS || due_score(detector, place) > due_score(detector, best)) best = place;
  }
  if (best == EVENTS) return false;
  ++detector->events;
  detector->active[best] = true;
  detector->quiet_columns[best] = settings_of(detector, best)->suppression_columns;
  event->column = detector->columns - 1u;
  event->label = labels[best];
  event->score = due_score(detector, best);
  wait_behind(detector, best);
  return true;
}

uint16_t m3net_detector_score(const m3net_detector* detector, uint32_t label) {
  const uint32_t place = place_of(label);
  return place < EVENTS ? score_at(detector, place) : 0u;
}
