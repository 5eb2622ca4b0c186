// SPDX-License-Identifier: Apache-2.0
// The result of every call that can fail: no other type reports a failure.
#ifndef M3NET_CORE_STATUS_H_
#define M3NET_CORE_STATUS_H_

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  M3NET_OK = 0,
  M3NET_ERROR_ARGUMENT,     ///< A null pointer, a wrong length or a misaligned buffer.
  M3NET_ERROR_MEMORY,       ///< The caller's memory is smaller than the size query says.
  M3NET_ERROR_CONFIG,       ///< Generated configuration and tables do not fit each other.
  M3NET_ERROR_MODEL,        ///< The model's bytes are not one this runtime can read.
  M3NET_ERROR_OPERATOR,     ///< An operator of the model is not in the resolver.
  M3NET_ERROR_ARENA,        ///< The tensor arena is too small.
  M3NET_ERROR_TENSOR,       ///< The model's input or output is not what model.h says.
  M3NET_ERROR_INVOKE,       ///< The model failed while it ran.
  M3NET_ERROR_CRC,          ///< The model's bytes are not those that were exported.
  M3NET_ERROR_UNSUPPORTED,  ///< The board has no such hardware, or not at this setting.
  M3NET_ERROR_HARDWARE,     ///< A peripheral did not become ready in time.
  M3NET_ERROR_FULL,         ///< A queue has no room.
  M3NET_ERROR_NO_JOB,       ///< The job memory holds no job image.
  M3NET_ERROR_JOB,          ///< The job image is damaged or does not fit the firmware.
} m3net_status;

/// Short name for a log line, e.g. "arena".
const char* m3net_status_name(m3net_status status);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_STATUS_H_
