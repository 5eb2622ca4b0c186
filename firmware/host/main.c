// SPDX-License-Identifier: Apache-2.0
// Drives portable code on a host; everything comes from standard input and goes to standard
// output, in binary, little endian.
//
//   features      int16 samples          -> int8 columns of the front end
//   window        int8 columns           -> the ring's window after the last of them
//   crc           bytes                  -> their CRC-32 as text
//   defaults                             -> what a board without optional features answers
//   jobs CAPACITY FEATURES PCM
//                 records of u32 length and bytes -> a line for each: "ok" or the error's code

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "crc32.h"
#include "frontend.h"
#include "job.h"
#include "platform.h"
#include "ring.h"

void m3net_board_write(const char* bytes, size_t count) { fwrite(bytes, 1, count, stdout); }

static int fail(const char* text) {
  fprintf(stderr, "m3net_host: %s\n", text);
  return 2;
}

static int run_features(void) {
  uint8_t* memory = aligned_alloc(M3NET_FRONTEND_ALIGNMENT, (m3net_frontend_size() + 7u) & ~7u);
  m3net_frontend* frontend = NULL;
  if (m3net_frontend_init(memory, m3net_frontend_size(), &frontend) != M3NET_OK) {
    return fail("the front end refuses its tables");
  }
  int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
  while (fread(hop, sizeof(hop), 1, stdin) == 1) {
    if (m3net_frontend_push(frontend, hop, column)) fwrite(column, sizeof(column), 1, stdout);
  }
  free(memory);
  return 0;
}

static int run_window(void) {
  static m3net_ring ring;
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
  int8_t window[M3NET_RING_WINDOW_BYTES];
  m3net_ring_reset(&ring);
  while (fread(column, sizeof(column), 1, stdin) == 1) m3net_ring_push(&ring, column);
  m3net_ring_copy(&ring, window);
  fwrite(window, sizeof(window), 1, stdout);
  return 0;
}

static int run_crc(void) {
  uint8_t bytes[97];  // the CRC must not depend on how the bytes are cut
  uint32_t crc = 0;
  for (size_t count; (count = fread(bytes, 1, sizeof(bytes), stdin)) > 0u;) {
    crc = m3net_crc32(crc, bytes, count);
  }
  m3net_console_hex32(crc);
  return 0;
}

static int run_defaults(void) {
  m3net_console_text(m3net_status_name(m3net_board_set_baud(9600)));
  m3net_console_text(" ");
  m3net_console_text(m3net_status_name(m3net_board_timestamp_pin()));
  m3net_console_text(" ");
  m3net_console_text(m3net_reset_reason_name(M3NET_RESET_WATCHDOG));
  m3net_console_end();
  return 0;
}

static int run_jobs(size_t capacity, uint32_t feature_bytes, uint32_t min_clip_bytes) {
  uint8_t* image = malloc(capacity);  // of exactly that size: the sanitiser sees each step beyond
  if (image == NULL || capacity < M3NET_JOB_HEADER_BYTES) return fail("bad capacity");
  for (uint32_t length; fread(&length, sizeof(length), 1, stdin) == 1;) {
    memset(image, 0, capacity);
    if (length > capacity || fread(image, 1, length, stdin) != length) return fail("bad record");
    m3net_job job;
    m3net_job_problem problem = {0};
    const m3net_status status =
        m3net_job_read(image, capacity, feature_bytes, min_clip_bytes, &job, &problem);
    if (status == M3NET_OK) {
      // What was accepted must be readable to its last byte.
      (void)m3net_crc32(0, job.payload, (size_t)job.clip_count * job.clip_bytes);
    }
    m3net_console_text(status == M3NET_OK ? "ok" : problem.code);
    m3net_console_end();
  }
  free(image);
  return 0;
}

int main(int count, char** words) {
  const char* command = count > 1 ? words[1] : "";
  if (strcmp(command, "features") == 0) return run_features();
  if (strcmp(command, "window") == 0) return run_window();
  if (strcmp(command, "crc") == 0) return run_crc();
  if (strcmp(command, "defaults") == 0) return run_defaults();
  if (strcmp(command, "jobs") == 0 && count == 5) {
    return run_jobs(strtoul(words[2], NULL, 10), (uint32_t)strtoul(words[3], NULL, 10),
                    (uint32_t)strtoul(words[4], NULL, 10));
  }
  return fail("say features, window, crc, defaults or jobs");
}
