// SPDX-License-Identifier: Apache-2.0
// What start-up code, fault handlers and boards with a Cortex-M core share.
#ifndef M3NET_ARCH_CORTEX_M_H_
#define M3NET_ARCH_CORTEX_M_H_

#include <stdint.h>

/// An entry of the vector table.
typedef void (*m3net_vector)(void);

/// Interrupt handlers of the chip, by interrupt number; a board that uses interrupts defines both.
/// An empty entry means that the interrupt is not expected.
extern const m3net_vector m3net_board_interrupts[];
extern const uint32_t m3net_board_interrupt_count;

/// Common entry of all exceptions that nobody serves: reports what failed and stops.
void m3net_fault_entry(void);

#endif  // M3NET_ARCH_CORTEX_M_H_
