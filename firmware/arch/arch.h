// SPDX-License-Identifier: Apache-2.0
// Interface between boards and the architecture of their core. A folder here implements what its
// comments leave to the architecture, and the functions m3net_platform_* of platform.h.
#ifndef M3NET_ARCH_H_
#define M3NET_ARCH_H_

#include <stdbool.h>
#include <stdint.h>

#include "platform.h"

/// A handler of interrupts or exceptions.
typedef void (*m3net_vector)(void);

/// Interrupt handlers of the chip, by interrupt number; a board that uses interrupts defines both.
/// An empty entry means that the interrupt is not expected.
extern const m3net_vector m3net_board_interrupts[];
extern const uint32_t m3net_board_interrupt_count;

/// Calls the board's handler of an interrupt; an interrupt without one ends in a panic.
void m3net_serve_interrupt(uint32_t interrupt);

/// Enables an interrupt of the chip at a priority from 0 (highest) to 15, or to the lowest of the
/// interrupt controller, which the architecture or a driver has.
void m3net_interrupt_enable(uint32_t interrupt, uint32_t priority);

/// Disables an interrupt of the chip and clears its pending state.
void m3net_interrupt_disable(uint32_t interrupt);

/// Initialises variables, paints the stack for its watermark, and calls main(). The architecture's
/// reset code calls it on that stack, once the core is set up.
__attribute__((noreturn)) void m3net_start(void);

/// Notes the reason of the next reset. The note survives a reset, but not a power cycle.
void m3net_reset_note(m3net_reset_reason reason);

/// Returns and clears the note of the last start; M3NET_RESET_UNKNOWN if there is none.
m3net_reset_reason m3net_reset_take_note(void);

/// Keeps the reason of the last reset, which m3net_board_reset_reason() returns.
void m3net_reset_keep(m3net_reset_reason reason);

/// Restarts core and peripherals. The architecture has it, or the board.
__attribute__((noreturn)) void m3net_core_restart(void);

/// Sleeps until an interrupt is pending; by the architecture.
void m3net_core_sleep(void);

/// Makes a word that was written survive a reset, which discards what is only in a cache; by the
/// architecture.
void m3net_core_write_back(const volatile uint32_t* word);

/// Waits for bits of a register; false if they do not appear within a million reads.
bool m3net_wait_for(const volatile uint32_t* address, uint32_t mask, uint32_t value);

#endif  // M3NET_ARCH_H_
