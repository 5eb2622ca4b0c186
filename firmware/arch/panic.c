// SPDX-License-Identifier: Apache-2.0
// The end of a program that cannot continue.

#include "arch.h"
#include "console.h"

void m3net_platform_panic(const char* code, const char* text, uint32_t value) {
  m3net_reset_note(M3NET_RESET_FAULT);
  m3net_console_error_begin(code);
  m3net_console_text(text);
  m3net_console_text(" value=");
  m3net_console_u32(value);
  m3net_console_end();
  m3net_platform_halt();
}
