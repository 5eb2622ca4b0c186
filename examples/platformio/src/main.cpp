// SPDX-License-Identifier: Apache-2.0
// Prints how long front end and network take on this board, and each kernel of the network.

#include <Arduino.h>
#include <m3net.h>

static m3net_recognizer recognizer;
static M3NET_MODEL_ARENA(M3NET_MODEL_ARENA_BYTES) arena
    __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

uint32_t m3net_board_counter(void) { return micros(); }

static void print_time(const char* name, uint32_t time_us) {
  Serial.print(name);
  Serial.print(": ");
  Serial.print(static_cast<unsigned long>(time_us));
  Serial.println(" us");
}

static void print_kernel(void*, uint32_t, const char* name, uint32_t steps) {
  print_time(name, steps);
}

// Fills the network's window with noise; returns the time of all columns but the first.
static uint32_t hear_noise() {
  static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  uint32_t noise = 1;
  uint32_t time_us = 0;
  for (uint32_t columns = 0; columns < M3NET_FRONTEND_FRAMES;) {
    for (int16_t& sample : hop) {
      noise = noise * 1664525u + 1013904223u;
      sample = static_cast<int16_t>(static_cast<int32_t>(noise) >> 18);
    }
    const uint32_t start_us = micros();
    if (!m3net_recognizer_push(&recognizer, hop)) continue;
    if (columns++ > 0) time_us += micros() - start_us;
  }
  return time_us;
}

void setup() { Serial.begin(115200); }

void loop() {
  const m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status == M3NET_OK) {
    print_time("front end, each column", hear_noise() / (M3NET_FRONTEND_FRAMES - 1));
    m3net_recognizer_load_window(&recognizer);
    const uint32_t start_us = micros();
    m3net_recognizer_run(&recognizer);
    print_time("network", micros() - start_us);
    m3net_recognizer_load_window(&recognizer);
    m3net_model_profile(recognizer.model, print_kernel, nullptr);
  } else {
    Serial.println(m3net_status_name(status));
  }
  delay(5000);
}
