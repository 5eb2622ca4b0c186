// SPDX-License-Identifier: Apache-2.0

#include "saved_thresholds.h"

#include <string.h>

#include "crc32.h"
#include "model_data.h"
#include "platform.h"
#include "record_log.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT

typedef struct {
  uint16_t threshold;
  uint16_t release;
} saved_class;

typedef struct {
  saved_class classes[CLASSES];
  m3net_prototype prototypes[M3NET_PROTOTYPE_SLOTS];
} saved_state;

// The identity of the export.
static uint32_t owner(void) {
  const uint32_t crc = m3net_crc32(0, m3net_model_sha256(), M3NET_MODEL_SHA256_CHARACTERS);
  return m3net_crc32(crc, m3net_model_detector(), sizeof(m3net_detector_config));
}

static bool find(m3net_record* record) {
  return m3net_record_log_newest(record) && record->owner == owner() &&
         record->bytes == sizeof(saved_state);
}

static bool read(saved_state* state) {
  m3net_record record;
  return find(&record) &&
         m3net_board_storage_read(record.offset, state, sizeof(*state)) == M3NET_OK;
}

static void read_classes(const m3net_detector_config* config, saved_state* state) {
  for (uint32_t label = 0; label < CLASSES; ++label) {
    state->classes[label] =
        (saved_class){config->classes[label].threshold, config->classes[label].release};
  }
}

static m3net_status set_classes(m3net_detector* detector, const saved_state* state) {
  for (uint32_t label = 0; label < CLASSES; ++label) {
    m3net_detector_class settings = detector->config.classes[label];
    settings.threshold = state->classes[label].threshold;
    settings.release = state->classes[label].release;
    const m3net_status status = m3net_detector_set_class(detector, label, &settings);
    if (status != M3NET_OK) return status;
  }
  return M3NET_OK;
}

static void copy_prototypes(m3net_prototype* to, const m3net_prototype* from) {
  if (M3NET_PROTOTYPE_SLOTS > 0) memcpy(to, from, M3NET_PROTOTYPE_SLOTS * sizeof(*to));
}

static void set_exported(m3net_detector* detector, m3net_prototype* prototypes) {
  saved_state exported;
  memset(&exported, 0, sizeof(exported));
  read_classes(m3net_model_detector(), &exported);
  (void)set_classes(detector, &exported);  // the detector was set up with these settings
  copy_prototypes(prototypes, exported.prototypes);
}

bool m3net_saved_thresholds_exist(void) {
  m3net_record record;
  return find(&record);
}

bool m3net_saved_thresholds_load(m3net_detector* detector, m3net_prototype* prototypes) {
  saved_state state;
  if (!read(&state)) return false;
  if (set_classes(detector, &state) != M3NET_OK) {
    set_exported(detector, prototypes);
    return false;
  }
  copy_prototypes(prototypes, state.prototypes);
  return true;
}

m3net_status m3net_saved_thresholds_save(const m3net_detector* detector,
                                         const m3net_prototype* prototypes) {
  saved_state state, saved;
  memset(&state, 0, sizeof(state));
  read_classes(&detector->config, &state);
  copy_prototypes(state.prototypes, prototypes);
  if (read(&saved) && memcmp(&saved, &state, sizeof(state)) == 0) return M3NET_OK;
  return m3net_record_log_append(owner(), &state, sizeof(state));
}

m3net_status m3net_saved_thresholds_forget(m3net_detector* detector, m3net_prototype* prototypes) {
  if (m3net_saved_thresholds_exist()) {
    // A record without content: the log has no other way to take one back.
    const m3net_status status = m3net_record_log_append(owner(), NULL, 0);
    if (status != M3NET_OK) return status;
  }
  set_exported(detector, prototypes);
  return M3NET_OK;
}
