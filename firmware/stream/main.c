// SPDX-License-Identifier: Apache-2.0
// An application that streams: each clip of the job image has the frames of one push. The console
// prints outputs and cost of each push and then, for comparison, of the whole window's network on
// the last window.
//
// m3net bench stream copies job.c and job.h beside it, and writes m3net_stream.{c,h} and:
//   stream_facts.h   STREAM_OUTER and STREAM_INNER: items before a frame's axis, bytes behind it

#include "console.h"
#include "crc32.h"
#include "job.h"
#include "m3net_network.h"
#include "m3net_stream.h"
#include "platform.h"
#include "stream_facts.h"

_Static_assert(M3NET_STREAM_INPUT_0_BYTES == STREAM_OUTER * M3NET_STREAM_HOP * STREAM_INNER &&
                   M3NET_NETWORK_INPUT_0_BYTES ==
                       STREAM_OUTER * M3NET_STREAM_WINDOW * STREAM_INNER &&
                   M3NET_STREAM_OUTPUT_0_BYTES == M3NET_NETWORK_OUTPUT_0_BYTES,
               "both networks are of one file");

static m3net_stream_arena stream;
static m3net_network_arena network;

static uint32_t cost_since(uint32_t start) {
  return (m3net_board_counter() - start) * m3net_board_info.counter_scale;
}

// Returns the CRC of all outputs up to this push, given the CRC of the outputs before it.
static uint32_t push(const m3net_job* job, uint32_t index, uint32_t crc) {
  const int8_t* frames = (const int8_t*)job->payload + (size_t)index * job->clip_bytes;
  const int8_t* scores = stream.bytes + M3NET_STREAM_OUTPUT_0_OFFSET;
  const uint32_t start = m3net_board_counter();
  const int32_t is_whole = m3net_stream_push(stream.bytes, frames);
  const uint32_t cost = cost_since(start);
  m3net_console_begin("clip ");
  m3net_console_u32(index);
  m3net_console_field("label", 0);
  m3net_console_text(" out=");
  m3net_console_hex(scores, M3NET_STREAM_OUTPUT_0_BYTES);
  m3net_console_field("model_instr", cost);
  m3net_console_field("frames", (uint32_t)is_whole);
  m3net_console_end();
  return m3net_crc32(crc, scores, M3NET_STREAM_OUTPUT_0_BYTES);
}

// Puts the last window together, whose frames lie in the clips of the last pushes.
static void load_window(const m3net_job* job) {
  const uint32_t first = job->clip_count * M3NET_STREAM_HOP - M3NET_STREAM_WINDOW;
  int8_t* item = network.bytes + M3NET_NETWORK_INPUT_0_OFFSET;
  for (uint32_t outer = 0; outer < STREAM_OUTER; ++outer) {
    for (uint32_t frame = first; frame < first + M3NET_STREAM_WINDOW; ++frame) {
      const uint32_t clip = frame / M3NET_STREAM_HOP, line = frame % M3NET_STREAM_HOP;
      const uint8_t* from = job->payload + (size_t)clip * job->clip_bytes +
                            (outer * M3NET_STREAM_HOP + line) * STREAM_INNER;
      for (uint32_t inner = 0; inner < STREAM_INNER; ++inner) {
        *item++ = (int8_t)from[inner];
      }
    }
  }
}

static void run_window(const m3net_job* job) {
  m3net_network_reset(network.bytes);
  load_window(job);
  const uint32_t start = m3net_board_counter();
  m3net_network_run(network.bytes);
  const uint32_t cost = cost_since(start);
  m3net_console_begin("window");
  m3net_console_text(" out=");
  m3net_console_hex(network.bytes + M3NET_NETWORK_OUTPUT_0_OFFSET, M3NET_NETWORK_OUTPUT_0_BYTES);
  m3net_console_field("model_instr", cost);
  m3net_console_end();
}

int main(void) {
  m3net_board_init();
  m3net_job job;
  m3net_job_problem problem;
  const m3net_status status =
      m3net_job_read(m3net_board_info.job, m3net_board_info.job_capacity_bytes,
                     M3NET_STREAM_INPUT_0_BYTES, 1, &job, &problem);
  if (status != M3NET_OK) {
    m3net_platform_panic(problem.code, problem.text, problem.actual);
  }
  m3net_stream_reset(stream.bytes);
  uint32_t crc = 0;
  for (uint32_t index = 0; index < job.clip_count; ++index) {
    crc = push(&job, index, crc);
  }
  run_window(&job);
  m3net_console_begin("done");
  m3net_console_field("clips", job.clip_count);
  m3net_console_text(" crc=");
  m3net_console_hex32(crc);
  m3net_console_end();
  m3net_platform_halt();
}
