// SPDX-License-Identifier: Apache-2.0

#include "saved_thresholds.h"

#include <string.h>

#include "crc32.h"
#include "model.h"
#include "platform.h"
#include "record_log.h"

#define CLASSES M3NET_DETECTOR_CLASS_COUNT

typedef struct {
  uint16_t threshold;
  uint16_t release;
} saved_class;

// The identity of the export.
static uint32_t owner(void) {
  static const char sha256[] = M3NET_MODEL_SHA256;
  const uint32_t crc = m3net_crc32(0, sha256, sizeof(sha256) - 1u);
  return m3net_crc32(crc, &m3net_detector_defaults, sizeof(m3net_detector_defaults));
}

static bool find(m3net_record* record) {
  return m3net_record_log_newest(record) && record->owner == owner() &&
         record->bytes == CLASSES * sizeof(saved_class);
}

static bool read_class(const m3net_record* record, uint32_t label, saved_class* saved) {
  const uint32_t offset = record->offset + label * sizeof(*saved);
  return m3net_board_storage_read(offset, saved, sizeof(*saved)) == M3NET_OK;
}

static saved_class class_of(const m3net_detector_config* config, uint32_t label) {
  return (saved_class){config->classes[label].threshold, config->classes[label].release};
}

static m3net_status set_class(m3net_detector* detector, uint32_t label, saved_class saved) {
  m3net_detector_class settings = detector->config.classes[label];
  settings.threshold = saved.threshold;
  settings.release = saved.release;
  return m3net_detector_set_class(detector, label, &settings);
}

static void set_exported(m3net_detector* detector) {
  for (uint32_t label = 0; label < CLASSES; ++label) {
    // It cannot fail: the detector was set up with these settings.
    (void)set_class(detector, label, class_of(&m3net_detector_defaults, label));
  }
}

bool m3net_saved_thresholds_exist(void) {
  m3net_record record;
  return find(&record);
}

bool m3net_saved_thresholds_load(m3net_detector* detector) {
  m3net_record record;
  if (!find(&record)) return false;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    saved_class saved;
    if (!read_class(&record, label, &saved) || set_class(detector, label, saved) != M3NET_OK) {
      set_exported(detector);
      return false;
    }
  }
  return true;
}

static bool is_saved(const saved_class* classes) {
  m3net_record record;
  if (!find(&record)) return false;
  for (uint32_t label = 0; label < CLASSES; ++label) {
    saved_class saved;
    if (!read_class(&record, label, &saved) || saved.threshold != classes[label].threshold ||
        saved.release != classes[label].release) {
      return false;
    }
  }
  return true;
}

m3net_status m3net_saved_thresholds_save(const m3net_detector* detector) {
  saved_class classes[CLASSES];
  for (uint32_t label = 0; label < CLASSES; ++label) {
    classes[label] = class_of(&detector->config, label);
  }
  if (is_saved(classes)) return M3NET_OK;
  return m3net_record_log_append(owner(), classes, sizeof(classes));
}

m3net_status m3net_saved_thresholds_forget(m3net_detector* detector) {
  if (m3net_saved_thresholds_exist()) {
    // A record without content: the log has no other way to take one back.
    const m3net_status status = m3net_record_log_append(owner(), NULL, 0);
    if (status != M3NET_OK) return status;
  }
  set_exported(detector);
  return M3NET_OK;
}
