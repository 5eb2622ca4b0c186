// SPDX-License-Identifier: Apache-2.0
// Defaults for what a board's code defines in the firmware. An application may define them itself.

#include "platform.h"

__attribute__((weak)) uint64_t m3net_board_time_us(void) { return 0; }

__attribute__((weak)) uint32_t m3net_board_counter(void) { return 0; }
