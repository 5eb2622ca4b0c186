// SPDX-License-Identifier: Apache-2.0
// Runs compiled networks, each in an arena of its own, and prints their outputs in hexadecimal.
// Each runs twice: what is in an arena before a run must not matter.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

/// The arena after a run, or NULL.
static int8_t* run(const test_case* one, int fill) {
  int8_t* arena = malloc(one->arena_bytes);
  if (arena == NULL) {
    return NULL;
  }
  memset(arena, fill, one->arena_bytes);
  one->reset(arena);
  for (int j = 0; j < one->inputs; ++j) {
    memcpy(arena + one->input[j].offset, one->input[j].values, one->input[j].bytes);
  }
  one->run(arena);
  return arena;
}

int main(void) {
  for (int i = 0; i < CASES_COUNT; ++i) {
    const test_case* one = &cases[i];
    int8_t* arena = run(one, 0x55);
    int8_t* other = run(one, 0xaa);
    if (arena == NULL || other == NULL) {
      return 1;
    }
    const int8_t* output = arena + one->output_offset;
    if (memcmp(output, other + one->output_offset, one->output_bytes) != 0) {
      fprintf(stderr, "case %d depends on what its arena held before\n", i);
      return 1;
    }
    for (uint32_t j = 0; j < one->output_bytes; ++j) {
      printf("%02x", (unsigned)(uint8_t)output[j]);
    }
    printf("\n");
    free(arena);
    free(other);
  }
  return 0;
}
