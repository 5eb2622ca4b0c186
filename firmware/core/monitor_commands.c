// SPDX-License-Identifier: Apache-2.0
// The monitor's table of commands, and those that need neither stream nor input.

#include "console.h"
#include "model_data.h"
#include "monitor_parts.h"
#include "platform.h"
#include "saved_thresholds.h"
#include "text.h"

#define LEAST_BAUD 1200u

typedef struct {
  const char* name;
  uint32_t min_words;
  uint32_t max_words;
  void (*run)(m3net_monitor* monitor, const m3net_monitor_words* words);
  const char* usage;
} command;

// --- facts -----------------------------------------------------------------------------------

static void command_version(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  m3net_monitor_ok("version");
  m3net_console_field("protocol", M3NET_MONITOR_PROTOCOL);
  m3net_monitor_text_field("board", m3net_board_info.name);
  m3net_monitor_text_field("core", m3net_board_info.cpu_core);
  m3net_console_field("clock_hz", m3net_board_info.clock_hz);
  m3net_monitor_text_field("counter", m3net_board_info.counter_unit);
  m3net_console_field("audio", m3net_board_info.has_audio ? 1u : 0u);
  m3net_console_field("baud", monitor->baud);
  m3net_monitor_text_field("reset", m3net_reset_reason_name(m3net_board_reset_reason()));
  m3net_console_end();
}

static void command_info(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  m3net_console_begin("model name=");
  m3net_console_text(m3net_model_name());
  m3net_monitor_text_field("sha256", m3net_model_sha256());
  m3net_console_field("bytes", M3NET_MODEL_SIZE_BYTES);
  m3net_console_field("input_bytes", M3NET_MODEL_INPUT_BYTES);
  m3net_console_field("classes", M3NET_MODEL_CLASS_COUNT);
  m3net_console_end();
  m3net_console_begin("frontend");
  m3net_console_field("rate_hz", M3NET_FRONTEND_SAMPLE_RATE_HZ);
  m3net_console_field("frame_samples", M3NET_FRONTEND_FRAME_SAMPLES);
  m3net_console_field("hop_samples", M3NET_FRONTEND_HOP_SAMPLES);
  m3net_console_field("bins", M3NET_FRONTEND_FEATURE_BINS);
  m3net_console_field("frames", M3NET_FRONTEND_FRAMES);
  m3net_console_end();
  for (uint32_t label = 0; label < M3NET_DETECTOR_CLASS_COUNT; ++label) {
    m3net_monitor_begin_item("label ");
    m3net_console_u32(label);
    m3net_console_text(" ");
    m3net_console_text(m3net_live_label(monitor->live, label));
    m3net_console_end();
  }
  m3net_monitor_ok("info");
  m3net_console_field("block_bytes", M3NET_MONITOR_BLOCK_BYTES);
  m3net_console_field("buffer_bytes", monitor->buffer_bytes);
  m3net_console_end();
}

static void command_memory(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  m3net_monitor_ok("memory");
  m3net_console_field("arena_used", (uint32_t)m3net_model_arena_used(monitor->recognizer->model));
  m3net_console_field("arena_size", monitor->arena_bytes);
  m3net_console_field("stack_used", (uint32_t)m3net_platform_stack_used());
  m3net_console_field("stack_size", (uint32_t)m3net_platform_stack_size());
  m3net_console_field("frontend_bytes", (uint32_t)m3net_recognizer_frontend_bytes());
  m3net_console_field("live_bytes", sizeof(m3net_live));
  m3net_console_field("monitor_bytes", sizeof(m3net_monitor));
  m3net_console_field("buffer_bytes", monitor->buffer_bytes);
  m3net_console_end();
}

static void command_stat(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  const m3net_live_statistics* statistics = &monitor->live->statistics;
  m3net_monitor_ok("stat");
  m3net_console_field("uptime_ms", (uint32_t)(m3net_board_time_us() / 1000u));
  m3net_console_field("awake_ppm", m3net_duty_awake_ppm(&monitor->duty));
  m3net_console_field("streaming", monitor->live->on ? 1u : 0u);
  m3net_console_field("hops", statistics->hops);
  m3net_console_field("lost_hops", statistics->lost_hops);
  m3net_console_field("columns", statistics->columns);
  m3net_console_field("runs", monitor->live->listener.detector.runs);
  m3net_console_field("skipped_runs", monitor->live->listener.detector.skipped_runs);
  m3net_console_field("events", statistics->events);
  m3net_console_field("latency_us", statistics->latency_us);
  m3net_console_field("max_latency_us", statistics->max_latency_us);
  m3net_console_field("max_run_us", statistics->max_run_us);
  m3net_console_field("max_queue_hops", statistics->max_queue_hops);
  m3net_console_field("audio_overruns", m3net_board_audio_overruns());
  m3net_console_field("uart_overruns", m3net_board_read_overruns());
  m3net_console_field("commands", monitor->commands);
  m3net_console_field("bad_commands", monitor->bad_commands);
  m3net_console_field("blocks", monitor->blocks);
  m3net_console_field("bad_blocks", monitor->bad_blocks);
  m3net_console_end();
}

// --- the board -------------------------------------------------------------------------------

// Asks the board for a speed, then returns to the present one.
static m3net_status try_baud(const m3net_monitor* monitor, uint32_t baud) {
  const m3net_status status = m3net_board_set_baud(baud);
  if (status == M3NET_OK) (void)m3net_board_set_baud(monitor->baud);
  return status;
}

static void set_baud(m3net_monitor* monitor, uint32_t baud) {
  monitor->baud = baud;
  (void)m3net_board_set_baud(baud);  // try_baud() has succeeded, or it is the present speed
}

// The answer is sent at the old speed.
static void command_baud(m3net_monitor* monitor, const m3net_monitor_words* words) {
  uint32_t baud = 0;
  if (m3net_monitor_number(words->word[1], &baud) != M3NET_OK || baud < LEAST_BAUD) {
    m3net_monitor_bad_number(monitor);
    return;
  }
  if (try_baud(monitor, baud) != M3NET_OK) {
    m3net_monitor_error(monitor, "baud", "the board cannot do this speed: choose another one");
    return;
  }
  m3net_monitor_ok("baud");
  m3net_console_field("baud", baud);
  m3net_console_end();
  set_baud(monitor, baud);
}

// The answer is sent at the old speed, the benchmark's lines at the new one.
static void command_mode(m3net_monitor* monitor, const m3net_monitor_words* words) {
  const bool energy = m3net_monitor_is(words->word[1], "energy");
  if (!energy && !m3net_monitor_is(words->word[1], "performance")) {
    m3net_monitor_error(monitor, "usage", "say mode performance, or mode energy");
    return;
  }
  if (energy && m3net_board_timestamp_pin() != M3NET_OK) {
    m3net_monitor_error(monitor, "no_pin",
                        "the board has no energy-meter pin: see docs/guide/monitor.md");
    return;
  }
  monitor->eembc.energy = energy;
  uint32_t baud = energy ? M3NET_EEMBC_ENERGY_BAUD : m3net_board_info.uart_baud;
  if (try_baud(monitor, baud) != M3NET_OK) baud = monitor->baud;  // a board of one speed
  m3net_monitor_ok("mode");
  m3net_console_field("baud", baud);
  m3net_console_end();
  set_baud(monitor, baud);
  m3net_eembc_boot(&monitor->eembc);
}

static void command_reset(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)words;
  m3net_live_stop(monitor->live);
  m3net_monitor_ok("reset");
  m3net_console_end();
  m3net_board_reset();
}

// --- the table -------------------------------------------------------------------------------

static void command_help(m3net_monitor* monitor, const m3net_monitor_words* words);

static const command commands[] = {
    {"version", 1, 1, command_version, "version"},
    {"info", 1, 1, command_info, "info"},
    {"memory", 1, 1, command_memory, "memory"},
    {"stat", 1, 1, command_stat, "stat"},
    {"load", 2, 3, m3net_monitor_load, "load features | load pcm SAMPLES"},
    {M3NET_MONITOR_BLOCK_WORD, 0, M3NET_MONITOR_MAX_WORDS + 1u, m3net_monitor_block,
     "block OFFSET BYTES CRC, then the bytes"},
    {"infer", 1, 2, m3net_monitor_infer, "infer [RUNS]"},
    {"results", 1, 1, m3net_monitor_results, "results"},
    {"profile", 1, 1, m3net_monitor_profile, "profile"},
    {"stream", 2, 5, m3net_monitor_stream, "stream mic|host|off [columns] [scores] [audio]"},
    {"threshold", 1, 4, m3net_monitor_threshold, "threshold [LABEL VALUE [RELEASE]]"},
    {"save", 1, 2, m3net_monitor_save, M3NET_CAN_SAVE_THRESHOLDS ? "save [clear]" : "save"},
#if M3NET_PROTOTYPE_SLOTS > 0
    {"enrol", 2, 2, m3net_monitor_enrol, "enrol NAME"},
    {"forget", 2, 2, m3net_monitor_forget, "forget NAME"},
    {"list", 1, 1, m3net_monitor_list, "list"},
#endif
#if M3NET_NORMAL_PROTOTYPES > 0
    {"calibrate", 1, 1, m3net_monitor_calibrate, "calibrate"},
#endif
#if M3NET_CAN_UPDATE
    {"model", 1, 3, m3net_monitor_model, "model [begin BYTES|commit|abort|return]"},
#endif
    {"record", 2, 2, m3net_monitor_record, "record SAMPLES"},
    {"read", 3, 3, m3net_monitor_read, "read OFFSET BYTES"},
    {"baud", 2, 2, command_baud, "baud SPEED"},
    {"mode", 2, 2, command_mode, "mode performance|energy"},
    {"help", 1, 1, command_help, "help"},
    {"reset", 1, 1, command_reset, "reset"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void command_help(m3net_monitor* monitor, const m3net_monitor_words* words) {
  (void)monitor;
  (void)words;
  for (uint32_t i = 0; i < COMMAND_COUNT; ++i) {
    m3net_console_begin("help ");
    m3net_console_text(commands[i].usage);
    m3net_console_end();
  }
  m3net_monitor_ok("help");
  m3net_console_end();
}

static void print_usage(m3net_monitor* monitor, const command* entry) {
  ++monitor->bad_commands;
  m3net_console_error_begin("usage");
  m3net_console_text("say ");
  m3net_console_text(entry->usage);
  m3net_console_end();
}

void m3net_monitor_run_line(m3net_monitor* monitor) {
  const m3net_monitor_words words = m3net_monitor_split(monitor->line);
  if (words.count == 0u) return;
  ++monitor->commands;
  for (uint32_t i = 0; i < COMMAND_COUNT; ++i) {
    if (!m3net_monitor_is(words.word[0], commands[i].name)) continue;
    if (words.count < commands[i].min_words || words.count > commands[i].max_words) {
      print_usage(monitor, &commands[i]);
    } else {
      commands[i].run(monitor, &words);
    }
    return;
  }
  if (m3net_text_starts(words.word[0], M3NET_MONITOR_BLOCK_WORD)) {
    m3net_monitor_drain_block(monitor);  // a damaged header, and its bytes follow
  } else {
    m3net_monitor_error(monitor, "command", "unknown command: say help");
  }
}
