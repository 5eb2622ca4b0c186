// SPDX-License-Identifier: Apache-2.0
// Comparisons of short texts. The C library's are made for long ones: they take 860 bytes of flash
// on a Cortex-M4.
#ifndef M3NET_CORE_TEXT_H_
#define M3NET_CORE_TEXT_H_

#include <stdbool.h>

static inline bool m3net_text_equal(const char* text, const char* expected) {
  for (; *text == *expected; ++text, ++expected) {
    if (*text == '\0') return true;
  }
  return false;
}

static inline bool m3net_text_starts(const char* text, const char* start) {
  for (; *start != '\0'; ++text, ++start) {
    if (*text != *start) return false;
  }
  return true;
}

#endif  // M3NET_CORE_TEXT_H_
