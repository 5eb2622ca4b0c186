// SPDX-License-Identifier: Apache-2.0

#include "eembc.h"

#include <string.h>

#include "console.h"
#include "platform.h"
#include "text.h"

// The build sets them: cmake/eembc.cmake.
#ifndef M3NET_EEMBC_MODEL_ID
#define M3NET_EEMBC_MODEL_ID "kws01"
#endif
// The input is pixels from 0 on, not the tensor's bytes.
#ifndef M3NET_EEMBC_PIXELS
#define M3NET_EEMBC_PIXELS 0
#endif
// The input is floats, and the result is their mean square distance to the output.
#ifndef M3NET_EEMBC_FLOATS
#define M3NET_EEMBC_FLOATS 0
#endif
#ifndef M3NET_EEMBC_STARTS_IN_ENERGY_MODE
#define M3NET_EEMBC_STARTS_IN_ENERGY_MODE 0
#endif

#if M3NET_EEMBC_FLOATS && M3NET_MODEL_CLASS_COUNT != M3NET_MODEL_INPUT_BYTES
#error "the benchmark compares this model's input with its output: both need the same size"
#endif

#define FIRMWARE_VERSION "ULPMark for tinyML Firmware V0.0.1"
#define DEFAULT_RUNS 1
#define DEFAULT_WARMUP 10
#define MAX_SCORE 2000000.0f
// Floats stay in the buffer, with the model's input behind them.
#define ITEM_BYTES (M3NET_EEMBC_FLOATS ? 4u : 1u)
#define BEHIND_BYTES (M3NET_EEMBC_FLOATS ? M3NET_MODEL_INPUT_BYTES : 0u)

static void line(const char* text) {
  m3net_console_text(text);
  m3net_console_end();
}

// Prints received text; characters that cannot be printed become '?'.
static void echo(const char* text) {
  for (; *text != '\0'; ++text) {
    const char letter = *text >= ' ' && *text <= '~' ? *text : '?';
    m3net_board_write(&letter, 1);
  }
}

static void quoted(const char* before, const char* text, const char* after) {
  m3net_console_text(before);
  echo(text);
  line(after);
}

static void number_line(const char* before, uint32_t value) {
  m3net_console_text(before);
  m3net_console_u32(value);
  m3net_console_end();
}

static void ready(void) { line("m-ready"); }

// In performance mode a line, in energy mode a falling edge.
static void timestamp(const m3net_eembc* eembc) {
  if (eembc->energy) {
    (void)m3net_board_timestamp_pin();  // energy mode needs a board with the pin
  } else {
    number_line("m-lap-us-", (uint32_t)m3net_board_time_us());
  }
}

// The next word of `*at`, terminated; NULL if there is none.
static char* next_word(char** at) {
  char* start = *at;
  while (*start == ' ') ++start;
  if (*start == '\0') return NULL;
  char* end = start;
  while (*end != ' ' && *end != '\0') ++end;
  *at = *end == '\0' ? end : end + 1;
  *end = '\0';
  return start;
}

// As atoi(), but limited to [-1, limit + 1] instead of undefined beyond an int.
static int32_t number(const char* text, int32_t limit) {
  const bool negative = *text == '-';
  if (*text == '-' || *text == '+') ++text;
  int32_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    value = value * 10 + (*text - '0');
    if (value > limit) value = limit + 1;
  }
  return negative && value != 0 ? -1 : value;
}

// Adds a hexadecimal digit to the end of `value`.
static m3net_status add_digit(char letter, uint8_t* value) {
  uint32_t digit = 0;
  if (letter >= '0' && letter <= '9') {
    digit = (uint32_t)(letter - '0');
  } else if (letter >= 'a' && letter <= 'f') {
    digit = (uint32_t)(letter - 'a') + 10u;
  } else if (letter >= 'A' && letter <= 'F') {
    digit = (uint32_t)(letter - 'A') + 10u;
  } else {
    return M3NET_ERROR_ARGUMENT;
  }
  *value = (uint8_t)(*value * 16u + digit);
  return M3NET_OK;
}

static float output_real(int8_t value) {
  return ((float)value - (float)M3NET_MODEL_OUTPUT_ZERO_POINT) * M3NET_MODEL_OUTPUT_SCALE;
}

// Three decimals, truncated; 0 to 1 for probabilities. Larger scores are limited to what fits.
static void score(float real) {
  const float size = real < 0.0f ? -real : real;
  const int32_t thousandths = (int32_t)((size < MAX_SCORE ? size : MAX_SCORE) * 1000.0f);
  char decimals[5] = {'.'};
  decimals[1] = (char)('0' + thousandths / 100 % 10);
  decimals[2] = (char)('0' + thousandths / 10 % 10);
  decimals[3] = (char)('0' + thousandths % 10);
  if (real < 0.0f) m3net_console_text("-");
  m3net_console_u32((uint32_t)(thousandths / 1000));
  m3net_console_text(decimals);
}

static void results(const m3net_eembc* eembc) {
  m3net_console_text("m-results-[");
  if (M3NET_EEMBC_FLOATS) {
    score(eembc->distance);
  } else {
    for (uint32_t label = 0; label < M3NET_MODEL_CLASS_COUNT; ++label) {
      if (label > 0u) m3net_console_text(",");
      score(output_real(eembc->scores[label]));
    }
  }
  line("]");
}

static void load(m3net_eembc* eembc, char** rest) {
  const char* word = next_word(rest);
  if (word == NULL) {
    line("e-[Command 'db load' requires the # of bytes]");
    return;
  }
  const uint32_t room = eembc->capacity > BEHIND_BYTES ? eembc->capacity - BEHIND_BYTES : 0u;
  const int32_t limit = room < 0x00FFFFFFu ? (int32_t)room : 0x00FFFFFF;
  const int32_t bytes = number(word, limit);
  eembc->size = 0;
  eembc->position = 0;
  if (bytes <= 0) {
    line("e-[Command 'db load' must be >0 bytes]");
  } else if (bytes > limit) {
    m3net_console_text("Supplied buffer size ");
    echo(word);
    m3net_console_text(" exceeds maximum of ");
    m3net_console_u32((uint32_t)limit);
    m3net_console_text("\n");
  } else {
    eembc->size = (uint32_t)bytes;
    m3net_console_text("m-[Expecting ");
    m3net_console_u32(eembc->size);
    line(" bytes]");
  }
}

static void print_buffer(const m3net_eembc* eembc) {
  uint32_t i = 0;
  for (; i < eembc->size; ++i) {
    m3net_board_watchdog_feed();  // at 9 600 baud this takes minutes
    m3net_console_text(i % 8u == 0u ? "m-buffer-" : "-");
    m3net_console_hex(&eembc->buffer[i], 1);
    if ((i + 1u) % 8u == 0u || i + 1u == eembc->size) m3net_console_end();
  }
  if (i % 8u != 0u) m3net_console_end();
}

static void fill(m3net_eembc* eembc, const char* digits) {
  if (strlen(digits) % 2u != 0u) {
    line("e-[Insufficent number of hex digits]");
    return;
  }
  for (; *digits != '\0'; digits += 2) {
    uint8_t byte = 0;
    if (add_digit(digits[0], &byte) != M3NET_OK || add_digit(digits[1], &byte) != M3NET_OK) {
      const char pair[3] = {digits[0], digits[1], '\0'};
      quoted("e-[Invalid hex digit '", pair, "']");
      return;
    }
    if (eembc->position >= eembc->size) return;  // more than announced, or nothing announced
    eembc->buffer[eembc->position++] = byte;
    if (eembc->position == eembc->size) line("m-load-done");
  }
}

static void buffer_command(m3net_eembc* eembc, char** rest) {
  const char* word = next_word(rest);
  if (word == NULL) {
    line("e-[Command 'db' requires a subcommand]");
  } else if (m3net_text_equal(word, "load")) {
    load(eembc, rest);
  } else if (m3net_text_equal(word, "print")) {
    print_buffer(eembc);
  } else {
    fill(eembc, word);
  }
}

static bool is_features(const m3net_eembc* eembc) {
  return eembc->size == ITEM_BYTES * M3NET_MODEL_INPUT_BYTES;
}

static bool is_pcm(const m3net_eembc* eembc) {
  return !M3NET_EEMBC_FLOATS && eembc->size % 2u == 0u && eembc->size >= 2u * M3NET_WINDOW_SAMPLES;
}

static float float_at(const m3net_eembc* eembc, uint32_t index) {
  float value = 0.0f;
  memcpy(&value, eembc->buffer + ITEM_BYTES * index, sizeof(value));
  return value;
}

// Rounded to the nearest step, halves away from zero, and limited to int8.
static int8_t quantized(float value) {
  const float steps = value / M3NET_MODEL_INPUT_SCALE;
  const float limited = !(steps > -MAX_SCORE) ? -MAX_SCORE : steps > MAX_SCORE ? MAX_SCORE : steps;
  const float half = limited < 0.0f ? -0.5f : 0.5f;
  const int32_t whole = (int32_t)(limited + half) + M3NET_MODEL_INPUT_ZERO_POINT;
  return (int8_t)(whole < -128 ? -128 : whole > 127 ? 127 : whole);
}

// Pixels from 0 on to int8, and back.
static void move_pixels(m3net_eembc* eembc) {
  if (!M3NET_EEMBC_PIXELS || !is_features(eembc)) return;
  for (uint32_t i = 0; i < eembc->size; ++i) eembc->buffer[i] ^= 0x80u;
}

static int8_t* model_bytes(m3net_eembc* eembc) {
  return (int8_t*)eembc->buffer + (M3NET_EEMBC_FLOATS ? eembc->size : 0u);
}

// The model's input of what was received, which the benchmark does not measure.
static void prepare(m3net_eembc* eembc) {
  move_pixels(eembc);
  if (!M3NET_EEMBC_FLOATS) return;
  for (uint32_t i = 0; i < M3NET_MODEL_INPUT_BYTES; ++i) {
    model_bytes(eembc)[i] = quantized(float_at(eembc, i));
  }
}

// Keeps the outputs, or their distance to the input.
static void keep_outputs(m3net_eembc* eembc) {
  memcpy(eembc->scores, m3net_model_output(eembc->recognizer->model), sizeof(eembc->scores));
  if (!M3NET_EEMBC_FLOATS) return;
  float sum = 0.0f;
  for (uint32_t i = 0; i < M3NET_MODEL_CLASS_COUNT; ++i) {
    const float difference = output_real(eembc->scores[i]) - float_at(eembc, i);
    sum += difference * difference;
  }
  eembc->distance = sum / (float)M3NET_MODEL_CLASS_COUNT;
}

// One inference as the benchmark counts it, including the front end if samples were loaded.
static m3net_status infer_once(m3net_eembc* eembc) {
  if (is_features(eembc)) {
    m3net_recognizer_load_features(eembc->recognizer, model_bytes(eembc));
  } else {
    m3net_recognizer_reset(eembc->recognizer);
    const int16_t* samples = (const int16_t*)(const void*)eembc->buffer;
    (void)m3net_recognizer_hear(eembc->recognizer, samples, eembc->size / 2u);
    m3net_recognizer_load_window(eembc->recognizer);
  }
  return m3net_recognizer_run(eembc->recognizer);
}

static m3net_status infer_times(m3net_eembc* eembc, int32_t times) {
  for (int32_t i = 0; i < times; ++i) {
    m3net_board_watchdog_feed();  // one command may ask for many runs
    const m3net_status status = infer_once(eembc);
    if (status != M3NET_OK) {
      line("e-[The model failed]");
      return status;
    }
  }
  return M3NET_OK;
}

static m3net_status measure(m3net_eembc* eembc, int32_t runs, int32_t warmup) {
  number_line("m-warmup-start-", (uint32_t)warmup);
  m3net_status status = infer_times(eembc, warmup);
  if (status != M3NET_OK) return status;
  line("m-warmup-done");
  number_line("m-infer-start-", (uint32_t)runs);
  timestamp(eembc);
  status = infer_times(eembc, runs);
  timestamp(eembc);
  return status;
}

static void infer(m3net_eembc* eembc, char** rest) {
  const char* word = next_word(rest);
  const int32_t runs = word == NULL ? DEFAULT_RUNS : number(word, M3NET_EEMBC_MAX_RUNS);
  word = word == NULL ? NULL : next_word(rest);
  const int32_t warmup = word == NULL ? DEFAULT_WARMUP : number(word, M3NET_EEMBC_MAX_RUNS);
  if (runs <= 0) {
    line("e-[Inference iterations must be >0]");
    return;
  }
  if (warmup < 0) {
    line("e-[Inference warmup must be >=0]");
    return;
  }
  if (runs > M3NET_EEMBC_MAX_RUNS || warmup > M3NET_EEMBC_MAX_RUNS) {
    m3net_console_text("e-[Inference iterations and warmup must be <=");
    m3net_console_u32(M3NET_EEMBC_MAX_RUNS);
    line("]");
    return;
  }
  if (eembc->position != eembc->size || (!is_features(eembc) && !is_pcm(eembc))) {
    m3net_console_text("Input db has ");
    m3net_console_u32(eembc->position);
    m3net_console_text(" elemented, expected ");
    m3net_console_u32(ITEM_BYTES * M3NET_MODEL_INPUT_BYTES);
    m3net_console_text("\n");
    return;
  }
  prepare(eembc);
  const m3net_status status = measure(eembc, runs, warmup);
  move_pixels(eembc);
  if (status != M3NET_OK) return;
  keep_outputs(eembc);
  line("m-infer-done");
  results(eembc);
}

void m3net_eembc_init(m3net_eembc* eembc, m3net_recognizer* recognizer, uint8_t* buffer,
                      uint32_t capacity) {
  memset(eembc, 0, sizeof(*eembc));
  eembc->recognizer = recognizer;
  eembc->buffer = buffer;
  eembc->capacity = capacity;
  eembc->energy = M3NET_EEMBC_STARTS_IN_ENERGY_MODE;
  memset(eembc->scores, M3NET_MODEL_OUTPUT_ZERO_POINT, sizeof(eembc->scores));
}

uint32_t m3net_eembc_start_console(void) {
  if (M3NET_EEMBC_STARTS_IN_ENERGY_MODE &&
      m3net_board_set_baud(M3NET_EEMBC_ENERGY_BAUD) == M3NET_OK) {
    return M3NET_EEMBC_ENERGY_BAUD;
  }
  return m3net_board_info.uart_baud;
}

void m3net_eembc_boot(m3net_eembc* eembc) {
  line(eembc->energy ? "m-timestamp-mode-energy" : "m-timestamp-mode-performance");
  timestamp(eembc);
  line("m-init-done");
  ready();
}

void m3net_eembc_command(m3net_eembc* eembc, char* command) {
  char* rest = command;
  const char* word = next_word(&rest);
  if (word == NULL) word = "";
  if (m3net_text_equal(word, "name")) {
    quoted("m-name-dut-[", m3net_board_info.name, "]");
  } else if (m3net_text_equal(word, "timestamp")) {
    timestamp(eembc);
  } else if (m3net_text_equal(word, "profile")) {
    line("m-profile-[" FIRMWARE_VERSION "]");
    line("m-model-[" M3NET_EEMBC_MODEL_ID "]");
  } else if (m3net_text_equal(word, "help")) {
    line(FIRMWARE_VERSION);
    line("name, timestamp, profile, help, results, infer [N [WARMUP]],");
    line("db load BYTES, db HEX, db print; each ends in a percent sign");
  } else if (m3net_text_equal(word, "results")) {
    results(eembc);
  } else if (m3net_text_equal(word, "infer")) {
    infer(eembc, &rest);
  } else if (m3net_text_equal(word, "db")) {
    buffer_command(eembc, &rest);
  } else {
    quoted("e-[Unknown command: ", word, "]");
  }
  ready();
}

void m3net_eembc_too_long(void) {
  line("e-[Command too long]");
  ready();
}
