// SPDX-License-Identifier: Apache-2.0
// Thresholds that outlast a reset, in the board's storage. They belong to one export: thresholds of
// another model, or of the same model with other exported settings of the detector, are ignored.
#ifndef M3NET_CORE_SAVED_THRESHOLDS_H_
#define M3NET_CORE_SAVED_THRESHOLDS_H_

#include <stdbool.h>

#include "detector.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef M3NET_HAS_STORAGE
/// 1 if the board has a storage. Without one it is 0, and the functions below do not link.
#define M3NET_CAN_SAVE_THRESHOLDS 1
#else
#define M3NET_CAN_SAVE_THRESHOLDS 0
#endif

/// Whether thresholds of this export are saved.
bool m3net_saved_thresholds_exist(void);

/// Gives a detector the saved thresholds and releases; returns whether there were any. If not, the
/// detector keeps the export's.
bool m3net_saved_thresholds_load(m3net_detector* detector);

/// Saves the thresholds and releases of a detector. Nothing is written if they are saved already.
///
/// @return as m3net_record_log_append(); if it fails, those saved before stay.
m3net_status m3net_saved_thresholds_save(const m3net_detector* detector);

/// Forgets what is saved, and gives a detector the thresholds and releases of the export.
///
/// @return as m3net_record_log_append(); if it fails, nothing has changed.
m3net_status m3net_saved_thresholds_forget(m3net_detector* detector);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_SAVED_THRESHOLDS_H_
