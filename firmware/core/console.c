// SPDX-License-Identifier: Apache-2.0

#include "console.h"

#include <string.h>

#include "platform.h"

static const char kDigits[] = "0123456789abcdef";

void m3net_console_text(const char* text) { m3net_board_write(text, strlen(text)); }

void m3net_console_begin(const char* word) {
  m3net_console_text("m3net ");
  m3net_console_text(word);
}

void m3net_console_error_begin(const char* code) {
  m3net_console_begin("error ");
  m3net_console_text(code);
  m3net_console_text(" ");
}

void m3net_console_end(void) { m3net_console_text("\r\n"); }

void m3net_console_u32(uint32_t value) {
  char text[10];
  size_t first = sizeof(text);
  do {
    text[--first] = kDigits[value % 10u];
    value /= 10u;
  } while (value != 0u);
  m3net_board_write(&text[first], sizeof(text) - first);
}

void m3net_console_hex32(uint32_t value) {
  char text[10] = {'0', 'x'};
  for (int digit = 0; digit < 8; ++digit) {
    text[2 + digit] = kDigits[(value >> (28 - 4 * digit)) & 15u];
  }
  m3net_board_write(text, sizeof(text));
}

void m3net_console_hex(const void* bytes, size_t count) {
  const uint8_t* next = (const uint8_t*)bytes;
  char text[64];
  while (count > 0u) {
    size_t filled = 0;
    for (; filled < sizeof(text) && count > 0u; --count, ++next) {
      text[filled++] = kDigits[*next >> 4];
      text[filled++] = kDigits[*next & 15u];
    }
    m3net_board_write(text, filled);
  }
}

void m3net_console_field(const char* name, uint32_t value) {
  m3net_console_text(" ");
  m3net_console_text(name);
  m3net_console_text("=");
  m3net_console_u32(value);
}
