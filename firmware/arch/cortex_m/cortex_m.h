// SPDX-License-Identifier: Apache-2.0
// What boards with a Cortex-M core have in addition to arch.h.
#ifndef M3NET_ARCH_CORTEX_M_H_
#define M3NET_ARCH_CORTEX_M_H_

#include <stdint.h>

#include "arch.h"

/// Entry of all unexpected exceptions: reports the cause and stops.
void m3net_fault_entry(void);

/// The NMI; by default m3net_fault_entry(). A board whose watchdog raises it defines its own.
void m3net_nmi(void);

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
