// SPDX-License-Identifier: Apache-2.0
// Text output without printf, heap or buffer. Lines start with "m3net " and end in CR LF, so that a
// program can read them.
#ifndef M3NET_CORE_CONSOLE_H_
#define M3NET_CORE_CONSOLE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Starts a line: "m3net <word>".
void m3net_console_begin(const char* word);

/// Starts a line: "m3net error <code> "; the text, which says how to fix it, follows.
void m3net_console_error_begin(const char* code);

/// Ends a line.
void m3net_console_end(void);

/// Writes text as it is.
void m3net_console_text(const char* text);

/// Writes a decimal number.
void m3net_console_u32(uint32_t value);

/// Writes 0x and eight hexadecimal digits.
void m3net_console_hex32(uint32_t value);

/// Writes each byte as two hexadecimal digits.
void m3net_console_hex(const void* bytes, size_t count);

/// Writes " <name>=<decimal>".
void m3net_console_field(const char* name, uint32_t value);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_CONSOLE_H_
