// SPDX-License-Identifier: Apache-2.0
// A job image in a board's memory: refused by a reason, or all of its clips lie in the memory. The
// first byte says whether this program corrects the checksum, which no fuzzer would find.

#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "job.h"

#define FEATURE_BYTES 8u
#define MIN_CLIP_BYTES 4u

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1u + M3NET_JOB_HEADER_BYTES) return 0;
  const size_t capacity = size - 1u;
  uint8_t* image = malloc(capacity);  // of exactly this size: each step beyond is seen
  if (image == NULL) return 0;
  memcpy(image, data + 1, capacity);
  m3net_job job = {0};
  m3net_job_problem problem = {0};
  for (int tries = 0; tries < 2; ++tries) {
    const m3net_status status =
        m3net_job_read(image, capacity, FEATURE_BYTES, MIN_CLIP_BYTES, &job, &problem);
    if (status == M3NET_OK) {
      const uint8_t* end = job.payload + (size_t)job.clip_count * job.clip_bytes;
      if (job.payload != image + M3NET_JOB_HEADER_BYTES || end > image + capacity) abort();
      break;
    }
    if (problem.code == NULL || problem.text == NULL) abort();
    if ((data[0] & 1u) == 0u || strcmp(problem.code, "job_crc") != 0) break;
    memcpy(image + 16, &problem.actual, sizeof(problem.actual));
  }
  free(image);
  return 0;
}
