// SPDX-License-Identifier: Apache-2.0
// The core-local timer of RISC-V chips, at BOARD_CLINT_BASE, which counts BOARD_TIMER_HZ: the
// board's clock, and a watchdog (platform.h).
//
// The watchdog is an interrupt: it resets a board whose main loop hangs or that has stopped after
// an error, but not one that hangs while it holds interrupts back. A board whose chip has a
// watchdog uses that one.
#ifndef M3NET_DRIVERS_CLINT_H_
#define M3NET_DRIVERS_CLINT_H_

#include <stdint.h>

/// Starts the clock's interrupt, which ends m3net_board_idle() in time.
void m3net_clint_start(void);

/// Steps since the chip's reset.
uint64_t m3net_clint_ticks(void);

#endif  // M3NET_DRIVERS_CLINT_H_
