// SPDX-License-Identifier: Apache-2.0
// The monitor's runs of the model on the input that was loaded.

#include <string.h>

#include "console.h"
#include "monitor_parts.h"
#include "platform.h"

static uint32_t cost(uint32_t steps) { return steps * m3net_board_info.counter_scale; }

static void print_result(const m3net_monitor* monitor) {
  uint32_t best = 0;
  for (uint32_t label = 1; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    if (monitor->result[label] > monitor->result[best]) best = label;
  }
  m3net_console_field("label", best);
  m3net_monitor_hex_field("out", monitor->result, sizeof(monitor->result));
  m3net_monitor_crc_field(monitor->result, sizeof(monitor->result));
}

// Call it before each run: the model may overwrite its input. One command may ask for many runs, so
// the watchdog is fed here.
static void prepare_run(m3net_monitor* monitor) {
  m3net_board_watchdog_feed();
  if (monitor->load == M3NET_LOAD_FEATURES) {
    m3net_recognizer_load_features(monitor->recognizer, (const int8_t*)monitor->buffer);
  } else {
    m3net_recognizer_load_window(monitor->recognizer);
  }
}

static void print_model_error(m3net_monitor* monitor, m3net_status status) {
  m3net_monitor_error(monitor, m3net_status_name(status), "the model failed: export it again");
}

void m3net_monitor_infer(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t runs = 1;
  if (words->count > 1u && (m3net_monitor_number(words->word[1], &runs) != M3NET_OK || runs == 0u ||
                            runs > M3NET_MONITOR_MAX_RUNS)) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  if (!m3net_monitor_has_input(monitor)) {
    m3net_monitor_error(monitor, "no_input",
                        "the input is not complete: say load, then send its blocks");
    return;
  }
  uint32_t steps = 0;
  const uint64_t start_us = m3net_board_time_us();
  for (uint32_t i = 0; i < runs; ++i) {
    prepare_run(monitor);
    const uint32_t start = m3net_board_counter();
    const m3net_status status = m3net_recognizer_run(monitor->recognizer);
    steps = m3net_board_counter() - start;
    if (status != M3NET_OK) {
      print_model_error(monitor, status);
      return;
    }
  }
  const uint64_t all_us = m3net_board_time_us() - start_us;
  memcpy(monitor->result, m3net_model_output(monitor->recognizer->model), sizeof(monitor->result));
  monitor->has_result = true;
  m3net_monitor_ok("infer");
  m3net_console_field("runs", runs);
  m3net_console_field("us", (uint32_t)all_us);
  m3net_console_field("model_cost", cost(steps));
  m3net_console_field("frontend_cost", cost(monitor->frontend_steps));
  m3net_console_field("frames", monitor->load == M3NET_LOAD_PCM ? monitor->frames : 0u);
  print_result(monitor);
  m3net_console_end();
}

void m3net_monitor_results(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  if (!monitor->has_result) {
    m3net_monitor_error(monitor, "no_result", "the model did not run yet: say infer");
    return;
  }
  m3net_monitor_ok("results");
  print_result(monitor);
  m3net_console_end();
}

static void print_layer(void* context, uint32_t index, const char* name, uint32_t steps) {
  (void)context;
  m3net_monitor_begin_item("layer ");
  m3net_console_u32(index);
  m3net_monitor_text_field("op", name == NULL ? "?" : name);
  m3net_console_field("cost", cost(steps));
  m3net_console_end();
}

void m3net_monitor_profile(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  if (!m3net_monitor_has_input(monitor)) {
    // The cost of an operator hardly depends on the input, so silence will do.
    m3net_live_stop(monitor->live);
    monitor->load = M3NET_LOAD_NONE;
    m3net_recognizer_reset(monitor->recognizer);
  }
  prepare_run(monitor);
  const m3net_status status = m3net_model_profile(monitor->recognizer->model, print_layer, NULL);
  if (status != M3NET_OK) {
    print_model_error(monitor, status);
    return;
  }
  prepare_run(monitor);
  const uint32_t start = m3net_board_counter();
  (void)m3net_recognizer_run(monitor->recognizer);  // it has just run without an error
  const uint32_t steps = m3net_board_counter() - start;
  m3net_monitor_ok("profile");
  m3net_console_field("total", cost(steps));
  m3net_monitor_text_field("unit", m3net_board_info.counter_unit);
  m3net_console_end();
}
