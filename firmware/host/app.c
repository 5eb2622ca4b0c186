// SPDX-License-Identifier: Apache-2.0
// The product's application with its real model, on the host.
//
//   m3net_app_host [FILE]   FILE is what the job memory holds; the console is standard input and
//                           output. Ends where a board would halt, or with standard input.
//   m3net_app_host refuse   offers the model unfit memory; prints the statuses

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "inference.h"
#include "platform.h"

int m3net_app_main(void);

void m3net_platform_halt(void) {
  fflush(stdout);
  exit(0);
}

static int refuse(void) {
  static uint8_t memory[2 * M3NET_MODEL_OBJECT_BYTES] __attribute__((aligned(16)));
  static uint8_t arena[1024] __attribute__((aligned(16)));
  const size_t bytes = m3net_model_size();
  m3net_model* model = NULL;
  const m3net_status statuses[] = {
      m3net_model_init(NULL, bytes, arena, sizeof(arena), &model),
      m3net_model_init(memory, bytes, NULL, sizeof(arena), &model),
      m3net_model_init(memory, bytes, arena, sizeof(arena), NULL),
      m3net_model_init(memory + 1, bytes, arena, sizeof(arena), &model),
      m3net_model_init(memory, bytes, arena + 1, sizeof(arena) - 1, &model),
      m3net_model_init(memory, bytes - 1, arena, sizeof(arena), &model),
      m3net_model_init(memory, bytes, arena, 16, &model),
      m3net_model_init(memory, bytes, arena, sizeof(arena), &model),
  };
  for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); ++i) {
    printf("%s ", m3net_status_name(statuses[i]));
  }
  printf("%s\n", m3net_status_name((m3net_status)99));
  return model == NULL ? 0 : 2;
}

int main(int count, char** words) {
  if (count == 2 && strcmp(words[1], "refuse") == 0) return refuse();
  if (count == 2) {
    FILE* file = fopen(words[1], "rb");
    if (file == NULL) {
      fprintf(stderr, "m3net_app_host: %s cannot be read\n", words[1]);
      return 2;
    }
    const size_t taken = fread(host_job, 1, HOST_JOB_BYTES, file);
    fclose(file);
    if (taken == 0u) return 2;
  }
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  (void)setjmp(host_restart);
  return m3net_app_main();
}
