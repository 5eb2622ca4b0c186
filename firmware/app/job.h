// SPDX-License-Identifier: Apache-2.0
// The job image: clips that an emulator or a debugger puts into the board's memory.
//
// Little endian; a header of 32 bytes, then clip_count times clip_bytes bytes.
#ifndef M3NET_APP_JOB_H_
#define M3NET_APP_JOB_H_

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define M3NET_JOB_MAGIC 0x4A4E334Du  ///< "M3NJ"
#define M3NET_JOB_VERSION 1u
#define M3NET_JOB_HEADER_BYTES 32u

#define M3NET_JOB_FLAG_FEATURES 1u      ///< Report the features too.
#define M3NET_JOB_FLAG_INSTRUCTIONS 2u  ///< Report the cost of front end and model.
#define M3NET_JOB_FLAGS_KNOWN 3u

typedef enum {
  M3NET_JOB_FEATURES = 0,
  M3NET_JOB_PCM = 1,
  M3NET_JOB_STREAM = 2,  ///< One clip of PCM, which an emulated board's microphone plays.
  M3NET_JOB_LIVE = 3,    ///< One clip of PCM, which live detection reads.
} m3net_job_kind;

/// A job whose image is valid.
typedef struct {
  m3net_job_kind kind;
  uint32_t clip_count;
  uint32_t clip_bytes;
  uint32_t flags;
  const uint8_t* payload;
} m3net_job;

/// Why an image is refused; `code` and `text` make the error line.
typedef struct {
  const char* code;
  const char* text;
  uint32_t actual;
  uint32_t expected;
} m3net_job_problem;

/// Reads and checks the image at `image`.
///
/// @param feature_bytes   the only clip size allowed for int8 features
/// @param min_clip_bytes  the smallest clip size allowed for PCM
/// @param problem         written if the image is refused
/// @return M3NET_OK, M3NET_ERROR_NO_JOB (the memory holds no image) or M3NET_ERROR_JOB.
m3net_status m3net_job_read(const uint8_t* image, size_t capacity_bytes, uint32_t feature_bytes,
                            uint32_t min_clip_bytes, m3net_job* job, m3net_job_problem* problem);

#endif  // M3NET_APP_JOB_H_
