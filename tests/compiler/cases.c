// SPDX-License-Identifier: Apache-2.0
// Runs compiled networks on QEMU's boards: for each case, its number, what it cost in ticks of the
// clock, and its output bytes, all in hexadecimal.
#include "cases.h"

#include <stdint.h>
#include <string.h>

#include "board.h"

static union {
  int8_t bytes[CASES_ARENA_BYTES];
  int16_t halves[CASES_ARENA_BYTES / 2];
  int32_t words[CASES_ARENA_BYTES / 4];
} memory __attribute__((aligned(8)));
static int8_t* const arena = memory.bytes;

void run_program(void) {
  for (int i = 0; i < CASES_COUNT; ++i) {
    const test_case* one = &cases[i];
    memset(arena, 0x55, sizeof(memory));
    one->reset(arena);
    for (int j = 0; j < one->inputs; ++j) {
      memcpy(arena + one->input[j].offset, one->input[j].values, one->input[j].bytes);
    }
    start_clock();
    one->run(arena);
    const uint32_t ticks = clock_ticks();
    put_hex((uint32_t)i, 8);
    put(' ');
    put_hex(ticks, 8);
    put(' ');
    for (uint32_t j = 0; j < one->output_bytes; ++j) {
      put_hex((uint8_t)arena[one->output_offset + j], 2);
    }
    put('\n');
  }
}
