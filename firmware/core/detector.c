// SPDX-License-Identifier: Apache-2.0

#include "detector.h"

#include <string.h>

#define CLASSES M3NET_DETECTOR_CLASS_COUNT
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

static bool class_is_valid(const m3net_detector_class* settings) {
  return settings->release > 0u && settings->release <= settings->threshold &&
         settings->window_runs > 0u && settings->window_runs <= HISTORY;
}

static bool config_is_valid(const m3net_detector_config* config) {
  if (config->first_run_columns == 0u || config->run_columns == 0u) return false;
  if (config->gate_bins > M3NET_FRONTEND_FEATURE_BINS) return false;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    if (!class_is_valid(&config->classes[label])) return false;
  }
  return true;
}

// Row of the history that is `runs` before the newest.
static uint32_t row_before(const m3net_detector* detector, uint32_t runs) {
  const uint32_t newest = detector->newest;
  return newest >= runs ? newest - runs : newest + HISTORY - runs;
}

// Adds the scores of a run to the history and to the sums; null for the lowest scores.
static void remember(m3net_detector* detector, const int8_t* scores) {
  detector->newest = (uint8_t)(detector->newest + 1u == HISTORY ? 0u : detector->newest + 1u);
  uint8_t* newest = detector->history[detector->newest];
  for (uint32_t label = 0; label < CLASSES; ++label) {
    const uint32_t window = detector->config.classes[label].window_runs;
    // The newest run overwrites the row that leaves the longest window: read that first.
    const uint8_t leaving = detector->history[row_before(detector, window)][label];
    newest[label] = scores == NULL ? 0u : (uint8_t)(scores[label] + 128);
    detector->sums[label] = (uint16_t)(detector->sums[label] + newest[label] - leaving);
  }
}

// Advances by one run; null for one that the gate skipped.
static void advance(m3net_detector* detector, const int8_t* scores) {
  remember(detector, scores);
  const uint16_t passed = detector->config.run_columns;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    const m3net_detector_class* settings = &detector->config.classes[label];
    uint16_t* quiet = &detector->quiet_columns[label];
    *quiet = *quiet > passed ? (uint16_t)(*quiet - passed) : 0u;
    const uint16_t score = m3net_detector_score(detector, label);
    if (score < settings->release) detector->active[label] = false;
    if (scores == NULL || score < settings->threshold) {
      detector->hits[label] = 0u;
    } else if (detector->hits[label] < settings->hits) {
      ++detector->hits[label];
    }
  }
}

static bool is_due(const m3net_detector* detector, uint32_t label) {
  const uint8_t needed = detector->config.classes[label].hits;
  return needed > 0u && detector->hits[label] >= needed && !detector->active[label] &&
         detector->quiet_columns[label] == 0u;
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
}

m3net_status m3net_detector_set_class(m3net_detector* detector, uint32_t label,
                                      const m3net_detector_class* settings) {
  if (detector == NULL || settings == NULL || label >= CLASSES) return M3NET_ERROR_ARGUMENT;
  if (!class_is_valid(settings)) return M3NET_ERROR_CONFIG;
  detector->config.classes[label] = *settings;
  detector->hits[label] = 0u;
  uint32_t sum = 0;
  for (uint32_t runs = 0; runs < settings->window_runs; ++runs) {
    sum += detector->history[row_before(detector, runs)][label];
  }
  detector->sums[label] = (uint16_t)sum;
  return M3NET_OK;
}

// What a feature adds to its column's level: samples are positive and negative.
static inline int32_t loudness(int8_t feature) {
#ifdef M3NET_FRONTEND_WAVEFORM
  return feature < 0 ? -feature : feature;
#else
  return feature;
#endif
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
  uint32_t best = CLASSES;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    if (!is_due(detector, label)) continue;
    if (best == CLASSES ||
        m3net_detector_score(detector, label) > m3net_detector_score(detector, best)) {
      best = label;
    }
  }
  if (best == CLASSES) return false;
  ++detector->events;
  detector->active[best] = true;
  detector->quiet_columns[best] = detector->config.classes[best].suppression_columns;
  event->column = detector->columns - 1u;
  event->label = (uint16_t)best;
  event->score = m3net_detector_score(detector, best);
  return true;
}

uint16_t m3net_detector_score(const m3net_detector* detector, uint32_t label) {
  return (uint16_t)(256u * detector->sums[label] / detector->config.classes[label].window_runs);
}
