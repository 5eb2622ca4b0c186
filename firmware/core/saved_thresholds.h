// SPDX-License-Identifier: Apache-2.0
// Thresholds and enrolled words that outlast a reset, in the board's storage. They belong to one
// export: what another model saved, or the same model with other exported settings of the
// detector, is ignored. `prototypes` has M3NET_PROTOTYPE_SLOTS places; it is not read where that
// is 0.
#ifndef M3NET_CORE_SAVED_THRESHOLDS_H_
#define M3NET_CORE_SAVED_THRESHOLDS_H_

#include <stdbool.h>

#include "detector.h"
#include "prototypes.h"
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

/// Gives a detector the saved thresholds and releases, and `prototypes` the saved ones; returns
/// whether there were any. If not, both stay as they are.
bool m3net_saved_thresholds_load(m3net_detector* detector, m3net_prototype* prototypes);

/// Saves the thresholds and releases of a detector, and the words. Nothing is written if they are
/// saved already.
///
/// @return as m3net_record_log_append(); if it fails, those saved before stay.
m3net_status m3net_saved_thresholds_save(const m3net_detector* detector,
                                         const m3net_prototype* prototypes);

/// Forgets what is saved and all words, and gives a detector the thresholds and releases of the
/// export.
///
/// @return as m3net_record_log_append(); if it fails, nothing has changed.
m3net_status m3net_saved_thresholds_forget(m3net_detector* detector, m3net_prototype* prototypes);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_SAVED_THRESHOLDS_H_
