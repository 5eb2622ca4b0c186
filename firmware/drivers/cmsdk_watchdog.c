// SPDX-License-Identifier: Apache-2.0
// The watchdog of the CMSDK, at BOARD_WATCHDOG_BASE, counting BOARD_WATCHDOG_HZ. Its first time-out
// raises an NMI (see the fault report), the second one resets the board.

#include "board_config.h"
#include "cortex_m.h"

typedef struct {
  volatile uint32_t load;
  volatile uint32_t value;
  volatile uint32_t control;
  volatile uint32_t clear;
} cmsdk_watchdog;

#define WATCHDOG ((cmsdk_watchdog*)BOARD_WATCHDOG_BASE)

#define INTERRUPT_AND_RESET 3u

void m3net_board_watchdog_start(uint32_t timeout_ms) {
  const uint64_t half = (uint64_t)timeout_ms * BOARD_WATCHDOG_HZ / 2000u;
  m3net_reset_note(M3NET_RESET_WATCHDOG);
  WATCHDOG->load = half > UINT32_MAX ? UINT32_MAX : (uint32_t)half;
  WATCHDOG->control = INTERRUPT_AND_RESET;
}

void m3net_board_watchdog_feed(void) { WATCHDOG->clear = 1u; }
