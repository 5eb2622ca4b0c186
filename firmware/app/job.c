// SPDX-License-Identifier: Apache-2.0

#include "job.h"

#include "crc32.h"

typedef struct {
  uint32_t magic;
  uint32_t version;
  uint32_t kind;
  uint32_t clip_count;
  uint32_t clip_bytes;
  uint32_t crc;
  uint32_t flags;
  uint32_t reserved[2];
} header;

static uint32_t read_u16(const uint8_t* at) { return at[0] | ((uint32_t)at[1] << 8); }

static uint32_t read_u32(const uint8_t* at) { return read_u16(at) | (read_u16(at + 2) << 16); }

static header read_header(const uint8_t* image) {
  return (header){
      .magic = read_u32(image),
      .version = read_u16(image + 4),
      .kind = read_u16(image + 6),
      .clip_count = read_u32(image + 8),
      .clip_bytes = read_u32(image + 12),
      .crc = read_u32(image + 16),
      .flags = read_u32(image + 20),
      .reserved = {read_u32(image + 24), read_u32(image + 28)},
  };
}

static m3net_status refuse(m3net_job_problem* problem, const char* code, const char* text,
                           uint32_t actual, uint32_t expected) {
  *problem = (m3net_job_problem){code, text, actual, expected};
  return M3NET_ERROR_JOB;
}

static m3net_status check_form(const header* head, m3net_job_problem* problem) {
  if (head->magic != M3NET_JOB_MAGIC) {
    (void)refuse(problem, "job_magic",
                 "no job image in memory: load one at the board's job address", head->magic,
                 M3NET_JOB_MAGIC);
    return M3NET_ERROR_NO_JOB;
  }
  if (head->version != M3NET_JOB_VERSION) {
    return refuse(problem, "job_version",
                  "job image of another version: write it with this release", head->version,
                  M3NET_JOB_VERSION);
  }
  if (head->kind > M3NET_JOB_LIVE) {
    return refuse(
        problem, "job_kind",
        "unknown kind of clips: 0 is int8 features, 1 is int16 PCM, 2 and 3 are one long PCM",
        head->kind, M3NET_JOB_LIVE);
  }
  if ((head->flags & ~M3NET_JOB_FLAGS_KNOWN) != 0u || head->reserved[0] != 0u ||
      head->reserved[1] != 0u) {
    return refuse(problem, "job_flags", "unknown flags or reserved words in use: write 0 there",
                  head->flags, M3NET_JOB_FLAGS_KNOWN);
  }
  return M3NET_OK;
}

static m3net_status check_sizes(const header* head, size_t capacity_bytes, uint32_t feature_bytes,
                                uint32_t min_clip_bytes, m3net_job_problem* problem) {
  const uint32_t bytes = head->clip_bytes;
  if (head->kind == M3NET_JOB_FEATURES && bytes != feature_bytes) {
    return refuse(problem, "job_clip_size",
                  "a clip is not one model input: make features with this model's front end", bytes,
                  feature_bytes);
  }
  if (head->kind == M3NET_JOB_PCM && (bytes < min_clip_bytes || bytes % 2u != 0u)) {
    return refuse(problem, "job_clip_size",
                  "a clip is an odd number of bytes or too short for one window: pad the audio",
                  bytes, min_clip_bytes);
  }
  if (head->kind >= M3NET_JOB_STREAM &&
      (head->clip_count != 1u || bytes == 0u || bytes % 2u != 0u)) {
    return refuse(problem, "job_clip_size",
                  "a stream is one clip of whole samples: write it as such", head->clip_count, 1u);
  }
  const size_t room = capacity_bytes - M3NET_JOB_HEADER_BYTES;
  if (head->clip_count == 0u || head->clip_count > room / bytes) {
    return refuse(problem, "job_clip_count",
                  "no clips, or more than the job memory holds: split the job", head->clip_count,
                  (uint32_t)(room / bytes));
  }
  return M3NET_OK;
}

m3net_status m3net_job_read(const uint8_t* image, size_t capacity_bytes, uint32_t feature_bytes,
                            uint32_t min_clip_bytes, m3net_job* job, m3net_job_problem* problem) {
  const header head = read_header(image);
  m3net_status status = check_form(&head, problem);
  if (status != M3NET_OK) return status;
  status = check_sizes(&head, capacity_bytes, feature_bytes, min_clip_bytes, problem);
  if (status != M3NET_OK) return status;
  const uint8_t* payload = image + M3NET_JOB_HEADER_BYTES;
  const uint32_t computed = m3net_crc32(0, payload, (size_t)head.clip_count * head.clip_bytes);
  if (computed != head.crc) {
    return refuse(problem, "job_crc", "the clips were damaged on the way: load the job image again",
                  computed, head.crc);
  }
  job->kind = (m3net_job_kind)head.kind;
  job->clip_count = head.clip_count;
  job->clip_bytes = head.clip_bytes;
  job->flags = head.flags;
  job->payload = payload;
  return M3NET_OK;
}
