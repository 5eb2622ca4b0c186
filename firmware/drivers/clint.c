// SPDX-License-Identifier: Apache-2.0

#include "clint.h"

#include "board_config.h"
#include "riscv.h"

typedef struct {
  volatile uint32_t low, high;
} clint_time;

#define DUE ((clint_time*)(BOARD_CLINT_BASE + 0x4000u))
#define NOW ((const clint_time*)(BOARD_CLINT_BASE + 0xBFF8u))

#define LONGEST_SLEEP_TICKS ((uint64_t)BOARD_TIMER_HZ)  // a second
#define NEVER UINT64_MAX

static struct {
  uint64_t timeout_ticks;
  volatile uint64_t end_ticks;  // when it resets the board
} watchdog = {0, NEVER};

uint64_t m3net_clint_ticks(void) {
  uint32_t high, low;
  do {
    high = NOW->high;
    low = NOW->low;
  } while (high != NOW->high);
  return ((uint64_t)high << 32) | low;
}

// The interrupt is pending while the time is at or after DUE: no step may lower it on the way.
static void set_due(void) {
  const uint64_t wake_ticks = m3net_clint_ticks() + LONGEST_SLEEP_TICKS;
  const uint64_t due = wake_ticks < watchdog.end_ticks ? wake_ticks : watchdog.end_ticks;
  DUE->high = UINT32_MAX;
  DUE->low = (uint32_t)due;
  DUE->high = (uint32_t)(due >> 32);
}

void m3net_clint_start(void) {
  set_due();
  M3NET_CSR_SET(mie, 1u << M3NET_CAUSE_TIMER);
}

void m3net_timer_interrupt(void) {
  if (m3net_clint_ticks() >= watchdog.end_ticks) m3net_core_restart();
  set_due();
}

void m3net_board_watchdog_start(uint32_t timeout_ms) {
  m3net_reset_note(M3NET_RESET_WATCHDOG);
  watchdog.timeout_ticks = (uint64_t)timeout_ms * BOARD_TIMER_HZ / 1000u;
  m3net_board_watchdog_feed();
}

void m3net_board_watchdog_feed(void) {
  if (watchdog.timeout_ticks == 0u) return;
  const uint32_t state = m3net_platform_lock();
  watchdog.end_ticks = m3net_clint_ticks() + watchdog.timeout_ticks;
  set_due();
  m3net_platform_unlock(state);
}
