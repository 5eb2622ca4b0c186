// SPDX-License-Identifier: Apache-2.0
// Interface between start-up code, fault handlers and boards with a Cortex-M core.
#ifndef M3NET_ARCH_CORTEX_M_H_
#define M3NET_ARCH_CORTEX_M_H_

#include <stdbool.h>
#include <stdint.h>

#include "platform.h"

/// An entry of the vector table.
typedef void (*m3net_vector)(void);

/// Interrupt handlers of the chip, by interrupt number; a board that uses interrupts defines both.
/// An empty entry means that the interrupt is not expected.
extern const m3net_vector m3net_board_interrupts[];
extern const uint32_t m3net_board_interrupt_count;

/// Entry of all unexpected exceptions: reports the cause and stops.
void m3net_fault_entry(void);

/// The NMI; by default m3net_fault_entry(). A board whose watchdog raises it defines its own.
void m3net_nmi(void);

/// Notes the reason of the next reset. The note survives a reset, but not a power cycle.
void m3net_reset_note(m3net_reset_reason reason);

/// Returns and clears the note of the last start; M3NET_RESET_UNKNOWN if there is none.
m3net_reset_reason m3net_reset_take_note(void);

/// Keeps the reason of the last reset, which m3net_board_reset_reason() returns.
void m3net_reset_keep(m3net_reset_reason reason);

/// Restarts core and peripherals.
__attribute__((noreturn)) void m3net_core_restart(void);

/// Enables an interrupt of the chip at a priority from 0 (highest) to 15, or to the core's lowest.
void m3net_interrupt_enable(uint32_t interrupt, uint32_t priority);

/// Disables an interrupt of the chip and clears its pending state.
void m3net_interrupt_disable(uint32_t interrupt);

/// Waits for bits of a register; false if they do not appear within a million reads.
bool m3net_wait_for(const volatile uint32_t* address, uint32_t mask, uint32_t value);

/// Sleeps until an interrupt is pending.
static inline void m3net_core_sleep(void) { __asm volatile("dsb\n\twfi" ::: "memory"); }

/// Starts the cycle counter of the DWT; it stops while the core sleeps.
void m3net_cycles_start(void);

/// Cycles since m3net_cycles_start(), modulo 2^32.
static inline uint32_t m3net_cycles(void) { return *(volatile uint32_t*)0xE0001004u; }

/// Starts SysTick as a clock; the core's clock must be a multiple of 1 MHz.
void m3net_systick_start(uint32_t clock_hz);

/// Microseconds since m3net_systick_start(); never goes back.
uint64_t m3net_systick_time_us(void);

/// Makes 2^size_log2 bytes from `base`, a multiple of 2^size_log2, uncached for a DMA; PMSAv7 only.
void m3net_mpu_uncached(uintptr_t base, uint32_t size_log2);

#endif  // M3NET_ARCH_CORTEX_M_H_
