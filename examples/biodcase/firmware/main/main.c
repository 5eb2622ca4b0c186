// SPDX-License-Identifier: Apache-2.0
// Prints what the pipeline of BioDCASE-Tiny 2026 reads from the serial monitor: the times of
// set-up, front end and network for one clip, and the RAM of both.

#include <esp_timer.h>
#include <m3net.h>
#include <stdio.h>

static m3net_recognizer recognizer;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));
static int16_t sound[M3NET_WINDOW_SAMPLES];

static unsigned long since(int64_t start_us) {
  return (unsigned long)(esp_timer_get_time() - start_us);
}

static void print_block(const char* name, unsigned long time_us) {
  printf("\"Unique Tag\",\"Total microseconds across all events with that tag.\"\n");
  printf("%s, %lu\n", name, time_us);
  printf("\"total number of microseconds\", %lu\n\n", time_us);
}

// The times do not depend on the samples.
static void make_noise(void) {
  uint32_t noise = 1;
  for (size_t i = 0; i < M3NET_WINDOW_SAMPLES; ++i) {
    noise = noise * 1664525u + 1013904223u;
    sound[i] = (int16_t)((int32_t)noise >> 18);
  }
}

void app_main(void) {
  make_noise();
  int64_t start_us = esp_timer_get_time();
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  print_block("m3net_recognizer_init", since(start_us));
  if (status == M3NET_OK) {
    start_us = esp_timer_get_time();
    m3net_recognizer_hear(&recognizer, sound, M3NET_WINDOW_SAMPLES);
    m3net_recognizer_load_window(&recognizer);
    const unsigned long front_end_us = since(start_us);
    print_block("front end, each column", front_end_us / M3NET_FRONTEND_FRAMES);
    printf("Total * n_windows = %lu\n\n", front_end_us);
    start_us = esp_timer_get_time();
    status = m3net_recognizer_run(&recognizer);
    print_block("network", since(start_us));
    // The front end's buffers are in the recogniser.
    printf("[RecordingMicroAllocator] Arena allocation total %lu bytes\n",
           (unsigned long)(sizeof(arena) + sizeof(recognizer)));
  }
  printf("%s\n", m3net_status_name(status));
}
