// SPDX-License-Identifier: Apache-2.0
// The newest record in the board's storage. Records are appended to a sector; when it is full, the
// next sector is erased and takes the record, while the full one still has the former record. A
// record counts only as a whole, by its CRC-32: a power cut at any moment leaves the former record
// or the new one.
#ifndef M3NET_CORE_RECORD_LOG_H_
#define M3NET_CORE_RECORD_LOG_H_

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A record; m3net_board_storage_read() reads its content.
typedef struct {
  uint32_t number;  ///< Higher than the number of every earlier record; from 1.
  uint32_t owner;   ///< As given to m3net_record_log_append().
  uint32_t offset;  ///< Of its content, from the start of the storage.
  uint32_t bytes;   ///< Of its content.
} m3net_record;

/// Finds the newest record; returns whether there is one.
bool m3net_record_log_newest(m3net_record* record);

/// Writes a record and reads it back. At most one sector is erased.
///
/// @param owner  says whose content it is, such as a checksum.
/// @return M3NET_OK, M3NET_ERROR_FULL (a sector has no room for so many bytes) or
///         M3NET_ERROR_HARDWARE (the storage did not take it; the former record stays the newest).
m3net_status m3net_record_log_append(uint32_t owner, const void* content, uint32_t bytes);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_RECORD_LOG_H_
