// SPDX-License-Identifier: Apache-2.0
// What the portable code asks of its surroundings. An application may define any of these itself.

#include "platform.h"
#include "runtime_log.h"

__attribute__((weak)) uint32_t m3net_board_counter(void) { return 0; }

__attribute__((weak)) void m3net_runtime_log_clear(void) {}

__attribute__((weak)) const char* m3net_runtime_log_message(void) { return ""; }
