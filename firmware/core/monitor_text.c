// SPDX-License-Identifier: Apache-2.0
// The monitor's text: the words of a line, and the fields of an answer.

#include "console.h"
#include "crc32.h"
#include "monitor_parts.h"
#include "platform.h"
#include "text.h"

m3net_monitor_words m3net_monitor_split(char* line) {
  m3net_monitor_words words = {.count = 0};
  while (*line != '\0') {
    if (*line == ' ' || *line == '\t') {
      *line++ = '\0';
      continue;
    }
    if (words.count == M3NET_MONITOR_MAX_WORDS) {
      words.count = M3NET_MONITOR_MAX_WORDS + 1u;
      break;
    }
    words.word[words.count++] = line;
    while (*line != '\0' && *line != ' ' && *line != '\t') ++line;
  }
  return words;
}

bool m3net_monitor_is(const char* word, const char* text) { return m3net_text_equal(word, text); }

m3net_status m3net_monitor_number(const char* text, uint32_t* value) {
  const bool hexadecimal = text[0] == '0' && text[1] == 'x';
  const uint32_t base = hexadecimal ? 16u : 10u;
  if (hexadecimal) text += 2;
  if (*text == '\0') return M3NET_ERROR_ARGUMENT;
  uint64_t sum = 0;
  for (; *text != '\0'; ++text) {
    uint32_t digit = 16;
    if (*text >= '0' && *text <= '9') digit = (uint32_t)(*text - '0');
    if (*text >= 'a' && *text <= 'f') digit = (uint32_t)(*text - 'a') + 10u;
    if (digit >= base) return M3NET_ERROR_ARGUMENT;
    sum = sum * base + digit;
    if (sum > UINT32_MAX) return M3NET_ERROR_ARGUMENT;
  }
  *value = (uint32_t)sum;
  return M3NET_OK;
}

void m3net_monitor_begin_item(const char* word) {
  m3net_board_watchdog_feed();
  m3net_console_begin(word);
}

void m3net_monitor_ok(const char* name) {
  m3net_console_begin("ok ");
  m3net_console_text(name);
}

void m3net_monitor_error(m3net_monitor* monitor, const char* code, const char* text) {
  ++monitor->bad_commands;
  m3net_console_error_begin(code);
  m3net_console_text(text);
  m3net_console_end();
}

void m3net_monitor_bad_number(m3net_monitor* monitor) {
  m3net_monitor_error(monitor, "number",
                      "not a number in its range: see help and docs/guide/monitor.md");
}

void m3net_monitor_text_field(const char* name, const char* value) {
  m3net_console_text(" ");
  m3net_console_text(name);
  m3net_console_text("=");
  m3net_console_text(value);
}

void m3net_monitor_hex_field(const char* name, const void* bytes, size_t count) {
  m3net_monitor_text_field(name, "");
  m3net_console_hex(bytes, count);
}

void m3net_monitor_crc_field(const void* bytes, size_t count) {
  m3net_monitor_text_field("crc", "");
  m3net_console_hex32(m3net_crc32(0, bytes, count));
}
