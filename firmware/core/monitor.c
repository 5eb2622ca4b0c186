// SPDX-License-Identifier: Apache-2.0

#include "monitor.h"

#include <string.h>

#include "console.h"
#include "crc32.h"
#include "platform.h"

#define HOP M3NET_FRONTEND_HOP_SAMPLES
#define HOP_BYTES (2u * HOP)
#define WINDOW_SAMPLES \
  ((M3NET_FRONTEND_FRAMES - 1u) * M3NET_FRONTEND_HOP_SAMPLES + M3NET_FRONTEND_FRAME_SAMPLES)
#define MAX_CLIP_SAMPLES 0x00FFFFFFu
#define MAX_WORDS 6u
#define BLOCK "block"
#define BLOCK_USAGE "say block OFFSET BYTES CRC, up to 256 bytes"
#define RECORD_SLACK_US 1000000u
#define LEAST_BAUD 1200u
#define NUMBER_BITS_A_BYTE 10u  // of the UART: start, eight, stop

typedef struct {
  char* word[MAX_WORDS];
  uint32_t count;  // MAX_WORDS + 1 if there were more
} words;

typedef struct {
  const char* name;
  uint32_t min_words;
  uint32_t max_words;
  void (*run)(m3net_monitor* monitor, const words* given);
  const char* usage;
} command;

// --- answers ---------------------------------------------------------------------------------

static void ok(const char* name) {
  m3net_console_begin("ok ");
  m3net_console_text(name);
}

static void error(m3net_monitor* monitor, const char* code, const char* text) {
  ++monitor->bad_commands;
  m3net_console_error_begin(code);
  m3net_console_text(text);
  m3net_console_end();
}

static void crc_field(const void* bytes, size_t count) {
  m3net_console_text(" crc=");
  m3net_console_hex32(m3net_crc32(0, bytes, count));
}

static void text_field(const char* name, const char* value) {
  m3net_console_text(" ");
  m3net_console_text(name);
  m3net_console_text("=");
  m3net_console_text(value);
}

static void hex_field(const char* name, const void* bytes, size_t count) {
  m3net_console_text(" ");
  m3net_console_text(name);
  m3net_console_text("=");
  m3net_console_hex(bytes, count);
}

// --- words -----------------------------------------------------------------------------------

static words split(char* line) {
  words found = {.count = 0};
  while (*line != '\0') {
    if (*line == ' ' || *line == '\t') {
      *line++ = '\0';
      continue;
    }
    if (found.count == MAX_WORDS) {
      found.count = MAX_WORDS + 1u;
      break;
    }
    found.word[found.count++] = line;
    while (*line != '\0' && *line != ' ' && *line != '\t') ++line;
  }
  return found;
}

// A decimal number, or a hexadecimal one behind 0x; false if it is none or exceeds 32 bits.
static bool number(const char* text, uint32_t* value) {
  const bool hexadecimal = text[0] == '0' && text[1] == 'x';
  const uint32_t base = hexadecimal ? 16u : 10u;
  if (hexadecimal) text += 2;
  if (*text == '\0') return false;
  uint64_t sum = 0;
  for (; *text != '\0'; ++text) {
    uint32_t digit = 16;
    if (*text >= '0' && *text <= '9') digit = (uint32_t)(*text - '0');
    if (*text >= 'a' && *text <= 'f') digit = (uint32_t)(*text - 'a') + 10u;
    if (digit >= base) return false;
    sum = sum * base + digit;
    if (sum > UINT32_MAX) return false;
  }
  *value = (uint32_t)sum;
  return true;
}

static bool is(const char* word, const char* wanted) { return strcmp(word, wanted) == 0; }

// --- live ------------------------------------------------------------------------------------

static void stop_stream(m3net_monitor* monitor) { m3net_live_stop(monitor->live); }

static void tell_hop(m3net_monitor* monitor, const m3net_live_result* heard) {
  const m3net_live_statistics* statistics = &monitor->live->statistics;
  const uint32_t column = statistics->columns - 1u;
  const uint32_t audio_overruns = m3net_board_audio_overruns();
  if (statistics->lost_hops != monitor->lost_hops_told ||
      audio_overruns != monitor->audio_overruns_told) {
    monitor->lost_hops_told = statistics->lost_hops;
    monitor->audio_overruns_told = audio_overruns;
    m3net_console_begin("overrun");
    m3net_console_field("lost_hops", statistics->lost_hops);
    m3net_console_field("audio_overruns", audio_overruns);
    m3net_console_end();
  }
  if (monitor->stream_audio) {
    m3net_console_begin("audio");
    m3net_console_field("offset", (statistics->hops - 1u) * HOP);
    m3net_console_field("bytes", HOP_BYTES);
    crc_field(heard->hop, HOP_BYTES);
    m3net_console_end();
    m3net_board_write((const char*)heard->hop, HOP_BYTES);
    m3net_console_end();
  }
  if (heard->has_column && monitor->stream_columns) {
    m3net_console_begin("column");
    m3net_console_field("column", column);
    hex_field("values", heard->column, sizeof(heard->column));
    m3net_console_end();
  }
  if (heard->status != M3NET_OK) {
    stop_stream(monitor);
    m3net_console_begin("stopped");
    text_field("status", m3net_status_name(heard->status));
    m3net_console_end();
    return;
  }
  if (heard->ran && monitor->stream_scores) {
    m3net_console_begin("scores");
    m3net_console_field("column", column);
    hex_field("out", m3net_model_output(monitor->recognizer->model), M3NET_MODEL_CLASS_COUNT);
    m3net_console_end();
  }
  if (heard->has_event) {
    m3net_console_begin("event");
    m3net_console_field("column", heard->event.column);
    m3net_console_field("label", heard->event.label);
    m3net_console_field("score", heard->event.score);
    m3net_console_field("latency_us", heard->latency_us);
    m3net_console_end();
  }
}

static bool work_on_hop(m3net_monitor* monitor) {
  m3net_live_result heard;
  if (!m3net_live_step(monitor->live, &heard)) return false;
  tell_hop(monitor, &heard);
  return true;
}

// --- blocks ----------------------------------------------------------------------------------

static uint32_t cost(uint32_t steps) { return steps * m3net_board_info.counter_scale; }

// Hears the hop that was put together from blocks.
static void hear_hop(m3net_monitor* monitor) {
  monitor->hop_bytes = 0;
  if (monitor->live->on) {
    (void)m3net_live_hear(monitor->live, monitor->hop);
    while (work_on_hop(monitor)) {
    }
  } else if (monitor->frames < monitor->frames_wanted) {
    const uint32_t start = m3net_board_counter();
    monitor->frames += m3net_recognizer_push(monitor->recognizer, monitor->hop) ? 1u : 0u;
    monitor->frontend_steps += m3net_board_counter() - start;
  }
}

static void take_samples(m3net_monitor* monitor, const uint8_t* bytes, uint32_t count) {
  while (count > 0u) {
    const uint32_t room = HOP_BYTES - monitor->hop_bytes;
    const uint32_t taken = count < room ? count : room;
    memcpy((uint8_t*)monitor->hop + monitor->hop_bytes, bytes, taken);
    monitor->hop_bytes += taken;
    bytes += taken;
    count -= taken;
    if (monitor->hop_bytes == HOP_BYTES) hear_hop(monitor);
  }
}

static void take_block(m3net_monitor* monitor) {
  if (m3net_crc32(0, monitor->block, monitor->block_bytes) != monitor->block_crc) {
    ++monitor->bad_blocks;
    error(monitor, "block_crc", "the block was damaged on the way: send it again");
    return;
  }
  const bool streaming = monitor->live->on && !monitor->live->microphone;
  if (!streaming && monitor->load == M3NET_LOAD_NONE) {
    error(monitor, "no_load", "nothing is to be loaded: say load or stream host first");
    return;
  }
  // The answer to a block may get lost: the same one may come again, and changes nothing then.
  const bool again = monitor->block_offset + monitor->block_bytes == monitor->next;
  if (!again && monitor->block_offset != monitor->next) {
    ++monitor->bad_blocks;
    m3net_console_error_begin("block_offset");
    m3net_console_text("this is not the next block; next=");
    m3net_console_u32(monitor->next);
    m3net_console_end();
    return;
  }
  if (!again) {
    const bool features = !streaming && monitor->load == M3NET_LOAD_FEATURES;
    if ((!streaming && monitor->block_bytes > monitor->load_bytes - monitor->next) ||
        (!features && monitor->block_bytes % 2u != 0u)) {
      error(monitor, "block_bytes", "half a sample, or more than load announced: send the rest");
      return;
    }
    if (features) {
      memcpy(monitor->buffer + monitor->next, monitor->block, monitor->block_bytes);
    } else {
      take_samples(monitor, monitor->block, monitor->block_bytes);
    }
    monitor->next += monitor->block_bytes;
    if (!streaming && monitor->load == M3NET_LOAD_PCM && monitor->next == monitor->load_bytes &&
        monitor->hop_bytes > 0u) {
      // No complete frame of the clip reaches into this silence.
      memset((uint8_t*)monitor->hop + monitor->hop_bytes, 0, HOP_BYTES - monitor->hop_bytes);
      hear_hop(monitor);
    }
  }
  ++monitor->blocks;
  ok("block");
  m3net_console_field("next", monitor->next);
  m3net_console_end();
}

static void drain(m3net_monitor* monitor, const char* code, const char* text) {
  monitor->state = M3NET_MONITOR_DRAIN;
  monitor->drain_code = code;
  monitor->drain_text = text;
}

static void command_block(m3net_monitor* monitor, const words* given) {
  const bool good = given->count == 4u && number(given->word[1], &monitor->block_offset) &&
                    number(given->word[2], &monitor->block_bytes) &&
                    number(given->word[3], &monitor->block_crc) && monitor->block_bytes > 0u &&
                    monitor->block_bytes <= M3NET_MONITOR_BLOCK_BYTES;
  if (!good) {
    // Its bytes follow all the same and must not be taken for commands.
    ++monitor->bad_blocks;
    drain(monitor, "block_header", BLOCK_USAGE);
    return;
  }
  monitor->block_filled = 0;
  monitor->state = M3NET_MONITOR_BLOCK;
}

// --- commands --------------------------------------------------------------------------------

static void usage(m3net_monitor* monitor, const command* given) {
  ++monitor->bad_commands;
  m3net_console_error_begin("usage");
  m3net_console_text("say ");
  m3net_console_text(given->usage);
  m3net_console_end();
}

static void bad_number(m3net_monitor* monitor) {
  error(monitor, "number", "a number is none, or out of range: see help and docs/monitor.md");
}

static void command_version(m3net_monitor* monitor, const words* given) {
  (void)monitor;
  (void)given;
  ok("version");
  m3net_console_field("protocol", M3NET_MONITOR_PROTOCOL);
  text_field("board", m3net_board_info.name);
  text_field("core", m3net_board_info.cpu_core);
  m3net_console_field("clock_hz", m3net_board_info.clock_hz);
  text_field("counter", m3net_board_info.counter_unit);
  m3net_console_field("audio", m3net_board_info.has_audio ? 1u : 0u);
  m3net_console_field("baud", monitor->baud);
  text_field("reset", m3net_reset_reason_name(m3net_board_reset_reason()));
  m3net_console_end();
}

static void command_info(m3net_monitor* monitor, const words* given) {
  (void)given;
  m3net_console_begin("model name=");
  m3net_console_text(M3NET_MODEL_NAME);
  text_field("sha256", M3NET_MODEL_SHA256);
  m3net_console_field("bytes", M3NET_MODEL_SIZE_BYTES);
  m3net_console_field("input_bytes", M3NET_MODEL_INPUT_BYTES);
  m3net_console_field("classes", M3NET_MODEL_CLASS_COUNT);
  m3net_console_end();
  m3net_console_begin("frontend");
  m3net_console_field("rate_hz", M3NET_FRONTEND_SAMPLE_RATE_HZ);
  m3net_console_field("frame_samples", M3NET_FRONTEND_FRAME_SAMPLES);
  m3net_console_field("hop_samples", HOP);
  m3net_console_field("bins", M3NET_FRONTEND_FEATURE_BINS);
  m3net_console_field("frames", M3NET_FRONTEND_FRAMES);
  m3net_console_end();
  for (uint32_t label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    m3net_console_begin("label ");
    m3net_console_u32(label);
    m3net_console_text(" ");
    m3net_console_text(m3net_model_labels[label]);
    m3net_console_end();
  }
  ok("info");
  m3net_console_field("block_bytes", M3NET_MONITOR_BLOCK_BYTES);
  m3net_console_field("buffer_bytes", monitor->buffer_bytes);
  m3net_console_end();
}

static void command_memory(m3net_monitor* monitor, const words* given) {
  (void)given;
  ok("memory");
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

static void command_stat(m3net_monitor* monitor, const words* given) {
  (void)given;
  const m3net_live_statistics* statistics = &monitor->live->statistics;
  ok("stat");
  m3net_console_field("uptime_ms", (uint32_t)(m3net_board_time_us() / 1000u));
  m3net_console_field("awake_ppm", m3net_duty_awake_ppm(&monitor->duty));
  m3net_console_field("streaming", monitor->live->on ? 1u : 0u);
  m3net_console_field("hops", statistics->hops);
  m3net_console_field("lost_hops", statistics->lost_hops);
  m3net_console_field("columns", statistics->columns);
  m3net_console_field("runs", monitor->live->detector.runs);
  m3net_console_field("skipped_runs", monitor->live->detector.skipped_runs);
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

// Both protocols and recordings fill the same buffer.
static void forget_input(m3net_monitor* monitor) {
  monitor->load = M3NET_LOAD_NONE;
  monitor->eembc.size = 0;
  monitor->eembc.position = 0;
}

static void command_load(m3net_monitor* monitor, const words* given) {
  uint32_t samples = 0;
  stop_stream(monitor);
  forget_input(monitor);
  if (is(given->word[1], "features") && given->count == 2u) {
    monitor->load = M3NET_LOAD_FEATURES;
    monitor->load_bytes = M3NET_MODEL_INPUT_BYTES;
  } else if (is(given->word[1], "pcm") && given->count == 3u) {
    if (!number(given->word[2], &samples) || samples < WINDOW_SAMPLES ||
        samples > MAX_CLIP_SAMPLES) {
      m3net_console_error_begin("number");
      m3net_console_text("the clip must have 2^24 samples at most, and at least ");
      m3net_console_u32(WINDOW_SAMPLES);
      m3net_console_end();
      return;
    }
    monitor->load = M3NET_LOAD_PCM;
    monitor->load_bytes = 2u * samples;
    m3net_recognizer_reset(monitor->recognizer);
  } else {
    error(monitor, "usage", "say load features, or load pcm SAMPLES");
    return;
  }
  monitor->next = 0;
  monitor->hop_bytes = 0;
  monitor->frames = 0;
  monitor->frames_wanted = samples == 0u ? 0u : 1u + (samples - M3NET_FRONTEND_FRAME_SAMPLES) / HOP;
  monitor->frontend_steps = 0;
  ok("load");
  m3net_console_field("bytes", monitor->load_bytes);
  m3net_console_end();
}

static void print_result(m3net_monitor* monitor) {
  uint32_t best = 0;
  for (uint32_t label = 1; label < M3NET_MODEL_CLASS_COUNT; ++label) {
    if (monitor->result[label] > monitor->result[best]) best = label;
  }
  m3net_console_field("label", best);
  hex_field("out", monitor->result, sizeof(monitor->result));
  crc_field(monitor->result, sizeof(monitor->result));
}

static void load_input(m3net_monitor* monitor) {
  if (monitor->load == M3NET_LOAD_FEATURES) {
    m3net_recognizer_load_features(monitor->recognizer, (const int8_t*)monitor->buffer);
  } else {
    m3net_recognizer_load_window(monitor->recognizer);
  }
}

// Whether an input is there in full; says so if not.
static bool loaded(m3net_monitor* monitor) {
  if (monitor->load != M3NET_LOAD_NONE && monitor->next == monitor->load_bytes) return true;
  error(monitor, "no_input", "the input is not complete: say load, then send its blocks");
  return false;
}

static void command_infer(m3net_monitor* monitor, const words* given) {
  uint32_t runs = 1;
  if (given->count > 1u &&
      (!number(given->word[1], &runs) || runs == 0u || runs > M3NET_MONITOR_MAX_RUNS)) {
    bad_number(monitor);
    return;
  }
  if (!loaded(monitor)) return;
  uint32_t steps = 0;
  const uint64_t start_us = m3net_board_time_us();
  for (uint32_t i = 0; i < runs; ++i) {
    load_input(monitor);
    const uint32_t start = m3net_board_counter();
    const m3net_status status = m3net_recognizer_run(monitor->recognizer);
    steps = m3net_board_counter() - start;
    if (status != M3NET_OK) {
      error(monitor, m3net_status_name(status), "the model failed: export it again");
      return;
    }
  }
  const uint64_t all_us = m3net_board_time_us() - start_us;
  memcpy(monitor->result, m3net_model_output(monitor->recognizer->model), sizeof(monitor->result));
  monitor->has_result = true;
  ok("infer");
  m3net_console_field("runs", runs);
  m3net_console_field("us", (uint32_t)all_us);
  m3net_console_field("model_cost", cost(steps));
  m3net_console_field("frontend_cost", cost(monitor->frontend_steps));
  m3net_console_field("frames", monitor->load == M3NET_LOAD_PCM ? monitor->frames : 0u);
  print_result(monitor);
  m3net_console_end();
}

static void command_results(m3net_monitor* monitor, const words* given) {
  (void)given;
  if (!monitor->has_result) {
    error(monitor, "no_result", "the model did not run yet: say infer");
    return;
  }
  ok("results");
  print_result(monitor);
  m3net_console_end();
}

static void print_layer(uint32_t index, const char* name, uint32_t steps) {
  m3net_console_begin("layer ");
  m3net_console_u32(index);
  text_field("op", name == NULL ? "?" : name);
  m3net_console_field("cost", cost(steps));
  m3net_console_end();
}

static void command_profile(m3net_monitor* monitor, const words* given) {
  (void)given;
  if (monitor->load == M3NET_LOAD_NONE || monitor->next != monitor->load_bytes) {
    // What an operator costs hardly hangs on the input: silence will do.
    stop_stream(monitor);
    monitor->load = M3NET_LOAD_NONE;
    m3net_recognizer_reset(monitor->recognizer);
  }
  load_input(monitor);
  const m3net_status status = m3net_model_profile(monitor->recognizer->model, print_layer);
  if (status != M3NET_OK) {
    error(monitor, m3net_status_name(status), "the model failed: export it again");
    return;
  }
  load_input(monitor);
  const uint32_t start = m3net_board_counter();
  (void)m3net_recognizer_run(monitor->recognizer);
  const uint32_t steps = m3net_board_counter() - start;
  ok("profile");
  m3net_console_field("total", cost(steps));
  text_field("unit", m3net_board_info.counter_unit);
  m3net_console_end();
}

static void command_stream(m3net_monitor* monitor, const words* given) {
  bool columns = false, scores = false, audio = false;
  const bool microphone = is(given->word[1], "mic");
  for (uint32_t i = 2; i < given->count; ++i) {
    columns = columns || is(given->word[i], "columns");
    scores = scores || is(given->word[i], "scores");
    audio = audio || is(given->word[i], "audio");
    if (!is(given->word[i], "columns") && !is(given->word[i], "scores") &&
        !is(given->word[i], "audio")) {
      error(monitor, "usage", "a stream has columns, scores and audio besides events");
      return;
    }
  }
  if (!microphone && !is(given->word[1], "host") && !is(given->word[1], "off")) {
    error(monitor, "usage", "say stream mic, stream host or stream off");
    return;
  }
  stop_stream(monitor);
  monitor->load = M3NET_LOAD_NONE;
  monitor->next = 0;
  monitor->hop_bytes = 0;
  if (is(given->word[1], "off")) {
    ok("stream");
    m3net_console_end();
    return;
  }
  // A quarter more than the samples alone, for lines and checksums.
  const uint32_t needed_baud = M3NET_FRONTEND_SAMPLE_RATE_HZ * 2u * NUMBER_BITS_A_BYTE / 4u * 5u;
  if (audio && monitor->baud < needed_baud) {
    m3net_console_error_begin("slow");
    m3net_console_text("audio does not fit the line: say baud first, with at least ");
    m3net_console_u32(needed_baud);
    m3net_console_end();
    return;
  }
  monitor->stream_columns = columns;
  monitor->stream_scores = scores;
  monitor->stream_audio = audio;
  monitor->lost_hops_told = 0;
  monitor->audio_overruns_told = m3net_board_audio_overruns();
  m3net_duty_start(&monitor->duty);
  if (m3net_live_start(monitor->live, microphone) != 0) {
    error(monitor, "no_audio", "the board hears nothing: see docs/monitor.md, or stream host");
    return;
  }
  ok("stream");
  m3net_console_end();
}

static void print_class(const m3net_monitor* monitor, uint32_t label) {
  const m3net_detector_class* settings = &monitor->live->detector.config.classes[label];
  m3net_console_field("label", label);
  m3net_console_field("threshold", settings->threshold);
  m3net_console_field("release", settings->release);
  m3net_console_field("suppression_columns", settings->suppression_columns);
  m3net_console_field("window_runs", settings->window_runs);
  m3net_console_field("hits", settings->hits);
  m3net_console_end();
}

static void command_threshold(m3net_monitor* monitor, const words* given) {
  uint32_t label = 0, threshold = 0, release = 0;
  if (given->count == 1u) {
    for (; label < M3NET_MODEL_CLASS_COUNT; ++label) {
      m3net_console_begin("class");
      print_class(monitor, label);
    }
    ok("threshold");
    m3net_console_end();
    return;
  }
  if (given->count < 3u) {
    error(monitor, "usage", "say threshold, or threshold LABEL VALUE [RELEASE]");
    return;
  }
  if (!number(given->word[1], &label) || label >= M3NET_MODEL_CLASS_COUNT ||
      !number(given->word[2], &threshold) || threshold > UINT16_MAX) {
    bad_number(monitor);
    return;
  }
  m3net_detector_class settings = monitor->live->detector.config.classes[label];
  release = settings.release < threshold ? settings.release : threshold;
  if (given->count == 4u && (!number(given->word[3], &release) || release > UINT16_MAX)) {
    bad_number(monitor);
    return;
  }
  settings.threshold = (uint16_t)threshold;
  settings.release = (uint16_t)release;
  if (m3net_detector_set_class(&monitor->live->detector, label, &settings) != M3NET_OK) {
    error(monitor, "range", "the detector refuses that: 0 < RELEASE <= VALUE <= 65535");
    return;
  }
  ok("threshold");
  print_class(monitor, label);
}

// Where the recording goes; the microphone's callback has no argument of its own.
static struct {
  uint8_t* buffer;
  uint32_t bytes;
  volatile uint32_t filled;
} recording;

static void record_half(const int16_t* half) {
  const uint32_t left = recording.bytes - recording.filled;
  const uint32_t count = left < HOP_BYTES ? left : HOP_BYTES;
  memcpy(recording.buffer + recording.filled, half, count);
  recording.filled += count;
}

static void command_record(m3net_monitor* monitor, const words* given) {
  uint32_t samples = 0;
  if (!number(given->word[1], &samples) || samples == 0u || samples > monitor->buffer_bytes / 2u) {
    m3net_console_error_begin("number");
    m3net_console_text("the recording must have at least one sample and at most ");
    m3net_console_u32(monitor->buffer_bytes / 2u);
    m3net_console_end();
    return;
  }
  stop_stream(monitor);
  forget_input(monitor);
  recording.buffer = monitor->buffer;
  recording.bytes = 2u * samples;
  recording.filled = 0;
  const uint64_t give_up_us = m3net_board_time_us() + RECORD_SLACK_US +
                              (uint64_t)samples * 1000000u / M3NET_FRONTEND_SAMPLE_RATE_HZ;
  if (m3net_board_audio_start(M3NET_FRONTEND_SAMPLE_RATE_HZ, monitor->live->halves, HOP,
                              record_half) != 0) {
    error(monitor, "no_audio", "the board hears nothing: see docs/monitor.md");
    return;
  }
  while (m3net_board_time_us() < give_up_us) {
    const uint32_t state = m3net_platform_lock();
    const bool full = recording.filled == recording.bytes;
    if (!full) m3net_duty_sleep(&monitor->duty);
    m3net_platform_unlock(state);
    if (full) break;
  }
  m3net_board_audio_stop();
  if (recording.filled < recording.bytes) {
    error(monitor, "silent", "the microphone gave too few samples: check its wiring");
    return;
  }
  ok("record");
  m3net_console_field("bytes", recording.bytes);
  m3net_console_end();
}

static void command_read(m3net_monitor* monitor, const words* given) {
  uint32_t offset = 0, bytes = 0;
  if (!number(given->word[1], &offset) || !number(given->word[2], &bytes) || bytes == 0u ||
      bytes > M3NET_MONITOR_BLOCK_BYTES || offset > monitor->buffer_bytes ||
      bytes > monitor->buffer_bytes - offset) {
    bad_number(monitor);
    return;
  }
  m3net_console_begin("data");
  m3net_console_field("offset", offset);
  m3net_console_field("bytes", bytes);
  crc_field(monitor->buffer + offset, bytes);
  m3net_console_end();
  m3net_board_write((const char*)monitor->buffer + offset, bytes);
  m3net_console_end();
  ok("read");
  m3net_console_end();
}

// Whether the board can do a speed; it stays at the one it has.
static bool can_do_baud(m3net_monitor* monitor, uint32_t baud) {
  if (m3net_board_set_baud(baud) != 0) return false;
  (void)m3net_board_set_baud(monitor->baud);
  return true;
}

static void set_baud(m3net_monitor* monitor, uint32_t baud) {
  monitor->baud = baud;
  (void)m3net_board_set_baud(baud);
}

// The answer comes at the old speed.
static void command_baud(m3net_monitor* monitor, const words* given) {
  uint32_t baud = 0;
  if (!number(given->word[1], &baud) || baud < LEAST_BAUD) {
    bad_number(monitor);
    return;
  }
  if (!can_do_baud(monitor, baud)) {
    error(monitor, "baud", "the board cannot do this speed: choose another one");
    return;
  }
  ok("baud");
  m3net_console_field("baud", baud);
  m3net_console_end();
  set_baud(monitor, baud);
}

// The answer comes at the old speed, the benchmark's lines at the new one.
static void command_mode(m3net_monitor* monitor, const words* given) {
  const bool energy = is(given->word[1], "energy");
  if (!energy && !is(given->word[1], "performance")) {
    error(monitor, "usage", "say mode performance, or mode energy");
    return;
  }
  if (energy && !m3net_board_timestamp_pin()) {
    error(monitor, "no_pin", "the board has no pin for an energy meter: see docs/monitor.md");
    return;
  }
  monitor->eembc.energy = energy;
  uint32_t baud = energy ? M3NET_EEMBC_ENERGY_BAUD : m3net_board_info.uart_baud;
  if (!can_do_baud(monitor, baud)) baud = monitor->baud;  // a board of one speed
  ok("mode");
  m3net_console_field("baud", baud);
  m3net_console_end();
  set_baud(monitor, baud);
  m3net_eembc_boot(&monitor->eembc);
}

static void command_reset(m3net_monitor* monitor, const words* given) {
  (void)given;
  stop_stream(monitor);
  ok("reset");
  m3net_console_end();
  m3net_board_reset();
}

static void command_help(m3net_monitor* monitor, const words* given);

static const command commands[] = {
    {"version", 1, 1, command_version, "version"},
    {"info", 1, 1, command_info, "info"},
    {"memory", 1, 1, command_memory, "memory"},
    {"stat", 1, 1, command_stat, "stat"},
    {"load", 2, 3, command_load, "load features | load pcm SAMPLES"},
    {BLOCK, 0, MAX_WORDS + 1u, command_block, "block OFFSET BYTES CRC, then the bytes"},
    {"infer", 1, 2, command_infer, "infer [RUNS]"},
    {"results", 1, 1, command_results, "results"},
    {"profile", 1, 1, command_profile, "profile"},
    {"stream", 2, 5, command_stream, "stream mic|host|off [columns] [scores] [audio]"},
    {"threshold", 1, 4, command_threshold, "threshold [LABEL VALUE [RELEASE]]"},
    {"record", 2, 2, command_record, "record SAMPLES"},
    {"read", 3, 3, command_read, "read OFFSET BYTES"},
    {"baud", 2, 2, command_baud, "baud SPEED"},
    {"mode", 2, 2, command_mode, "mode performance|energy"},
    {"help", 1, 1, command_help, "help"},
    {"reset", 1, 1, command_reset, "reset"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void command_help(m3net_monitor* monitor, const words* given) {
  (void)monitor;
  (void)given;
  for (uint32_t i = 0; i < COMMAND_COUNT; ++i) {
    m3net_console_begin("help ");
    m3net_console_text(commands[i].usage);
    m3net_console_end();
  }
  ok("help");
  m3net_console_end();
}

static void run_line(m3net_monitor* monitor) {
  const words given = split(monitor->line);
  if (given.count == 0u) return;
  ++monitor->commands;
  for (uint32_t i = 0; i < COMMAND_COUNT; ++i) {
    if (!is(given.word[0], commands[i].name)) continue;
    if (given.count < commands[i].min_words || given.count > commands[i].max_words) {
      usage(monitor, &commands[i]);
    } else {
      commands[i].run(monitor, &given);
    }
    return;
  }
  if (strncmp(given.word[0], BLOCK, sizeof(BLOCK) - 1u) == 0) {
    drain(monitor, "block_header", BLOCK_USAGE);  // a damaged header, and its bytes follow
  } else {
    error(monitor, "command", "unknown command: say help");
  }
}

// --- bytes -----------------------------------------------------------------------------------

static bool line_starts_block(const m3net_monitor* monitor) {
  const size_t length = sizeof(BLOCK) - 1u;
  return monitor->line_length >= length && memcmp(monitor->line, BLOCK, length) == 0;
}

static void receive_in_line(m3net_monitor* monitor, char byte) {
  if (byte == '%' && !line_starts_block(monitor)) {
    monitor->line[monitor->line_length] = '\0';
    const bool too_long = monitor->line_length >= M3NET_EEMBC_COMMAND_BYTES;
    monitor->line_length = 0;
    ++monitor->commands;
    stop_stream(monitor);
    monitor->load = M3NET_LOAD_NONE;  // see forget_input()
    if (too_long) {
      m3net_eembc_too_long();
    } else {
      m3net_eembc_command(&monitor->eembc, monitor->line);
    }
  } else if (byte == '\n') {
    monitor->line[monitor->line_length] = '\0';
    monitor->line_length = 0;
    run_line(monitor);
  } else if (byte == '\r' || byte == '\0') {
    return;
  } else if (monitor->line_length == M3NET_MONITOR_LINE_BYTES) {
    monitor->line_length = 0;
    drain(monitor, "line", "a line was too long, or its end got lost: send it again");
  } else {
    monitor->line[monitor->line_length++] = byte;
  }
}

void m3net_monitor_init(m3net_monitor* monitor, m3net_recognizer* recognizer, m3net_live* live,
                        uint8_t* buffer, uint32_t buffer_bytes, uint32_t arena_bytes) {
  memset(monitor, 0, sizeof(*monitor));
  monitor->recognizer = recognizer;
  monitor->live = live;
  monitor->buffer = buffer;
  monitor->buffer_bytes = buffer_bytes;
  monitor->arena_bytes = arena_bytes;
  monitor->baud = m3net_eembc_start_console();
  m3net_duty_start(&monitor->duty);
  m3net_eembc_init(&monitor->eembc, recognizer, buffer, buffer_bytes);
}

void m3net_monitor_greet(m3net_monitor* monitor) {
  m3net_console_begin("ready");
  m3net_console_field("protocol", M3NET_MONITOR_PROTOCOL);
  m3net_console_end();
  m3net_eembc_boot(&monitor->eembc);
}

void m3net_monitor_receive(m3net_monitor* monitor, const uint8_t* bytes, size_t count) {
  if (count > 0u) monitor->last_byte_us = m3net_board_time_us();
  for (; count > 0u; --count, ++bytes) {
    if (monitor->state == M3NET_MONITOR_LINE) {
      receive_in_line(monitor, (char)*bytes);
    } else if (monitor->state == M3NET_MONITOR_BLOCK) {
      monitor->block[monitor->block_filled++] = *bytes;
      if (monitor->block_filled == monitor->block_bytes) {
        monitor->state = M3NET_MONITOR_LINE;
        take_block(monitor);
      }
    }
  }
}

bool m3net_monitor_poll(m3net_monitor* monitor) {
  const uint64_t quiet_us = m3net_board_time_us() - monitor->last_byte_us;
  if (monitor->state == M3NET_MONITOR_DRAIN && quiet_us >= M3NET_MONITOR_QUIET_US) {
    monitor->state = M3NET_MONITOR_LINE;
    error(monitor, monitor->drain_code, monitor->drain_text);
  } else if (monitor->state == M3NET_MONITOR_BLOCK && quiet_us >= M3NET_MONITOR_BLOCK_TIMEOUT_US) {
    monitor->state = M3NET_MONITOR_LINE;
    ++monitor->bad_blocks;
    error(monitor, "block_short", "bytes of the block got lost: send it again");
  }
  return work_on_hop(monitor);
}

void m3net_monitor_work(m3net_monitor* monitor) {
  uint8_t bytes[64];
  m3net_board_watchdog_feed();
  bool busy = m3net_monitor_poll(monitor);
  // With interrupts held back, nothing can come between the last look and the sleep.
  const uint32_t state = m3net_platform_lock();
  const size_t count = m3net_board_read(bytes, sizeof(bytes));
  busy = busy || count > 0u || m3net_live_waiting(monitor->live);
  if (!busy) m3net_duty_sleep(&monitor->duty);
  m3net_platform_unlock(state);
  m3net_monitor_receive(monitor, bytes, count);
}
