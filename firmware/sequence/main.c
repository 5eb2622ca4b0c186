// SPDX-License-Identifier: Apache-2.0
// An application for networks with a state of their own: each clip of the job image is the input of
// one run. The console prints the output and the cost of each.
//
// m3net bench stream copies job.c, job.h and the engine's compiled.c or tflm.cc beside it.

#include <string.h>

#include "console.h"
#include "crc32.h"
#include "job.h"
#include "model.h"
#include "platform.h"
#include "sequence.h"

static const int8_t* require(const int8_t* memory) {
  if (memory == NULL) m3net_platform_panic("sequence", "the network does not run", 0);
  return memory;
}

// Returns the CRC of all outputs up to this run, given the CRC of the outputs before it.
static uint32_t run(const m3net_job* job, int8_t* input, uint32_t index, uint32_t crc) {
  memcpy(input, job->payload + (size_t)index * job->clip_bytes, job->clip_bytes);
  const uint32_t start = m3net_board_counter();
  const int8_t* output = require(sequence_run());
  const uint32_t cost = (m3net_board_counter() - start) * m3net_board_info.counter_scale;
  m3net_console_begin("clip ");
  m3net_console_u32(index);
  m3net_console_field("label", 0);
  m3net_console_text(" out=");
  m3net_console_hex(output, M3NET_MODEL_CLASS_COUNT);
  m3net_console_field("model_instr", cost);
  m3net_console_field("frames", 1);
  m3net_console_end();
  return m3net_crc32(crc, output, M3NET_MODEL_CLASS_COUNT);
}

int main(void) {
  m3net_board_init();
  m3net_job job;
  m3net_job_problem problem;
  const m3net_status status =
      m3net_job_read(m3net_board_info.job, m3net_board_info.job_capacity_bytes,
                     M3NET_MODEL_INPUT_BYTES, 1, &job, &problem);
  if (status != M3NET_OK) {
    m3net_platform_panic(problem.code, problem.text, problem.actual);
  }
  int8_t* input = sequence_begin();
  (void)require(input);
  uint32_t crc = 0;
  for (uint32_t index = 0; index < job.clip_count; ++index) {
    crc = run(&job, input, index, crc);
  }
  m3net_console_begin("memory");
  m3net_console_field("arena_used", sequence_arena_bytes());
  m3net_console_end();
  m3net_console_begin("done");
  m3net_console_field("clips", job.clip_count);
  m3net_console_text(" crc=");
  m3net_console_hex32(crc);
  m3net_console_end();
  m3net_platform_halt();
}
