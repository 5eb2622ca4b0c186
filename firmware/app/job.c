// SPDX-License-Identifier: Apache-2.0

#include "job.h"

#include "crc32.h"

static uint32_t read_u16(const uint8_t* at) { return at[0] | ((uint32_t)at[1] << 8); }

static uint32_t read_u32(const uint8_t* at) { return read_u16(at) | (read_u16(at + 2) << 16); }

static m3net_status refuse(m3net_job_problem* problem, const char* code, const char* text,
                           uint32_t actual, uint32_t expected) {
  *problem = (m3net_job_problem){code, text, actual, expected};
  return M3NET_ERROR_JOB;
}

m3net_status m3net_job_read(const uint8_t* image, size_t capacity_bytes, uint32_t feature_bytes,
                            uint32_t min_clip_bytes, m3net_job* job, m3net_job_problem* problem) {
  const uint32_t magic = read_u32(image);
  const uint32_t version = read_u16(image + 4);
  const uint32_t kind = read_u16(image + 6);
  const uint32_t clip_count = read_u32(image + 8);
  const uint32_t clip_bytes = read_u32(image + 12);
  const uint32_t crc = read_u32(image + 16);
  const uint32_t flags = read_u32(image + 20);

  if (magic != M3NET_JOB_MAGIC) {
    (void)refuse(problem, "job_magic",
                 "no job image in memory: load one at the board's job address", magic,
                 M3NET_JOB_MAGIC);
    return M3NET_ERROR_NO_JOB;
  }
  if (version != M3NET_JOB_VERSION) {
    return refuse(problem, "job_version",
                  "job image of another version: write it with this release", version,
                  M3NET_JOB_VERSION);
  }
  if (kind > M3NET_JOB_STREAM) {
    return refuse(problem, "job_kind",
                  "unknown kind of clips: 0 is int8 features, 1 is int16 PCM, 2 is one long PCM",
                  kind, M3NET_JOB_STREAM);
  }
  if ((flags & ~M3NET_JOB_FLAGS_KNOWN) != 0u || read_u32(image + 24) != 0u ||
      read_u32(image + 28) != 0u) {
    return refuse(problem, "job_flags", "unknown flags or reserved words in use: write 0 there",
                  flags, M3NET_JOB_FLAGS_KNOWN);
  }
  if (kind == M3NET_JOB_FEATURES && clip_bytes != feature_bytes) {
    return refuse(problem, "job_clip_size",
                  "a clip is not one model input: make features with this model's front end",
                  clip_bytes, feature_bytes);
  }
  if (kind == M3NET_JOB_PCM && (clip_bytes < min_clip_bytes || clip_bytes % 2u != 0u)) {
    return refuse(problem, "job_clip_size",
                  "a clip is an odd number of bytes or too short for one window: pad the audio",
                  clip_bytes, min_clip_bytes);
  }
  if (kind == M3NET_JOB_STREAM && (clip_count != 1u || clip_bytes == 0u || clip_bytes % 2u != 0u)) {
    return refuse(problem, "job_clip_size",
                  "a stream is one clip of whole samples: write it as such", clip_count, 1u);
  }
  const size_t room = capacity_bytes - M3NET_JOB_HEADER_BYTES;
  if (clip_count == 0u || clip_count > room / clip_bytes) {
    return refuse(problem, "job_clip_count",
                  "no clips, or more than the job memory holds: split the job", clip_count,
                  (uint32_t)(room / clip_bytes));
  }
  const uint8_t* payload = image + M3NET_JOB_HEADER_BYTES;
  const uint32_t computed = m3net_crc32(0, payload, (size_t)clip_count * clip_bytes);
  if (computed != crc) {
    return refuse(problem, "job_crc", "the clips were damaged on the way: load the job image again",
                  computed, crc);
  }
  job->kind = (m3net_job_kind)kind;
  job->clip_count = clip_count;
  job->clip_bytes = clip_bytes;
  job->flags = flags;
  job->payload = payload;
  return M3NET_OK;
}
