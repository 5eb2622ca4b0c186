// SPDX-License-Identifier: Apache-2.0
// What is alike on all boards, and what a board says that leaves out an optional feature.

#include "platform.h"

const char* m3net_reset_reason_name(m3net_reset_reason reason) {
  static const char* const names[] = {"unknown", "power", "pin", "software", "watchdog", "fault"};
  return (unsigned)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : names[0];
}

__attribute__((weak)) int m3net_board_set_baud(uint32_t baud) {
  (void)baud;
  return -1;
}

__attribute__((weak)) bool m3net_board_timestamp_pin(void) { return false; }
