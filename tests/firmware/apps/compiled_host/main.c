// SPDX-License-Identifier: Apache-2.0
// The model interface with the compiled engine, on the host: features on standard input; the
// results of init, the profile and the scores on standard output.

#include <stdio.h>
#include <stdlib.h>

#include "inference.h"
#include "platform.h"

_Alignas(M3NET_MODEL_ALIGNMENT) static uint8_t memory[M3NET_MODEL_OBJECT_BYTES + 16];
_Alignas(M3NET_MODEL_ALIGNMENT) static uint8_t arena[M3NET_MODEL_ARENA_BYTES + 16];

// Each look at the counter is a step.
uint32_t m3net_board_counter(void) {
  static uint32_t steps;
  return steps++;
}

static void print_layer(void* context, uint32_t index, const char* name, uint32_t steps) {
  if (context != arena) abort();
  printf("%u %s %u\n", (unsigned)index, name, (unsigned)steps);
}

int main(void) {
  m3net_model* model;
  const size_t bytes = m3net_model_size();
  const size_t size = M3NET_MODEL_ARENA_BYTES;
  const m3net_status statuses[] = {
      m3net_model_init(NULL, bytes, arena, size, &model),
      m3net_model_init(memory, bytes, NULL, size, &model),
      m3net_model_init(memory, bytes, arena, size, NULL),
      m3net_model_init(memory + 1, bytes, arena, size, &model),
      m3net_model_init(memory, bytes, arena + 1, size, &model),
      m3net_model_init(memory, bytes - 1, arena, size, &model),
      m3net_model_init(memory, bytes, arena, size - 1, &model),
      m3net_model_init(memory, bytes, arena, size, &model),
  };
  printf("init");
  for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); ++i) {
    printf(" %d", (int)statuses[i]);
  }
  if (model == NULL) {
    printf("\n");
    return 1;
  }
  printf(" used %zu\n", m3net_model_arena_used(model));
  if (m3net_model_arena_missing() != 0 || m3net_model_message()[0] != '\0') abort();
  if (fread(m3net_model_input(model), M3NET_MODEL_INPUT_BYTES, 1, stdin) != 1) abort();
  if (m3net_model_profile(model, print_layer, arena) != M3NET_OK) abort();
  for (int i = 0; i < M3NET_MODEL_CLASS_COUNT; ++i) printf("%d ", m3net_model_output(model)[i]);
  printf("\n");
  return 0;
}
