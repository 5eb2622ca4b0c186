// SPDX-License-Identifier: Apache-2.0
// What differs between two trainings of one network, and whose it is: the firmware's own, or in an
// updatable build the model's in use (model_slots.h).
#ifndef M3NET_CORE_MODEL_DATA_H_
#define M3NET_CORE_MODEL_DATA_H_

#include <stdint.h>

#include "detector.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Characters of m3net_model_sha256().
#define M3NET_MODEL_SHA256_CHARACTERS 64u

#if defined(M3NET_MODEL_UPDATABLE) && defined(M3NET_HAS_SLOTS)

/// 1 if a model can be exchanged without a new firmware. If 0, nothing of model_slots.h links.
#define M3NET_CAN_UPDATE 1

/// The run's name.
const char* m3net_model_name(void);

/// SHA-256 of the network, in hexadecimal digits.
const char* m3net_model_sha256(void);

/// A class.
const char* m3net_model_label(uint32_t label);

/// The detector's settings.
const m3net_detector_config* m3net_model_detector(void);

#else

#define M3NET_CAN_UPDATE 0

static inline const char* m3net_model_name(void) { return M3NET_MODEL_NAME; }

static inline const char* m3net_model_sha256(void) { return M3NET_MODEL_SHA256; }

static inline const char* m3net_model_label(uint32_t label) { return m3net_model_labels[label]; }

static inline const m3net_detector_config* m3net_model_detector(void) {
  return &m3net_detector_defaults;
}

#endif

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_MODEL_DATA_H_
