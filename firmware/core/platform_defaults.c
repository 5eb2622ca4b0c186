// SPDX-License-Identifier: Apache-2.0
// What a board says that leaves out an optional feature.

#include "platform.h"

__attribute__((weak)) int m3net_board_set_baud(uint32_t baud) {
  (void)baud;
  return -1;
}

__attribute__((weak)) bool m3net_board_timestamp_pin(void) { return false; }
