// SPDX-License-Identifier: Apache-2.0
// Runs compiled networks, each in an arena of its own, and prints their outputs in hexadecimal.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"

int main(void) {
  for (int i = 0; i < CASES_COUNT; ++i) {
    const test_case* one = &cases[i];
    int8_t* arena = malloc(one->arena_bytes);
    if (arena == NULL) {
      return 1;
    }
    memset(arena, 0x55, one->arena_bytes);
    one->reset(arena);
    for (int j = 0; j < one->inputs; ++j) {
      memcpy(arena + one->input[j].offset, one->input[j].values, one->input[j].bytes);
    }
    one->run(arena);
    for (uint32_t j = 0; j < one->output_bytes; ++j) {
      printf("%02x", (unsigned)(uint8_t)arena[one->output_offset + j]);
    }
    printf("\n");
    free(arena);
  }
  return 0;
}
