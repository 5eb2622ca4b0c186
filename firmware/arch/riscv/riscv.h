// SPDX-License-Identifier: Apache-2.0
// What boards with a RISC-V core have in addition to arch.h. The firmware runs in machine mode.
#ifndef M3NET_ARCH_RISCV_H_
#define M3NET_ARCH_RISCV_H_

#include <stdint.h>

#include "arch.h"

#define M3NET_CSR_READ(name)                             \
  __extension__({                                        \
    uint32_t csr_value;                                  \
    __asm volatile("csrr %0, " #name : "=r"(csr_value)); \
    csr_value;                                           \
  })
#define M3NET_CSR_WRITE(name, value) \
  __asm volatile("csrw " #name ", %0" ::"r"((uint32_t)(value)) : "memory")
#define M3NET_CSR_SET(name, bits) \
  __asm volatile("csrs " #name ", %0" ::"r"((uint32_t)(bits)) : "memory")
#define M3NET_CSR_CLEAR(name, bits) \
  __asm volatile("csrc " #name ", %0" ::"r"((uint32_t)(bits)) : "memory")

/// Causes of interrupts in mcause; each is also the number of a bit in mie.
#define M3NET_CAUSE_TIMER 7u
#define M3NET_CAUSE_EXTERNAL 11u

/// Interrupts of the core's timer and of the chip. Drivers of the timer and of the interrupt
/// controller have them; a cause without a driver ends in a panic.
void m3net_timer_interrupt(void);
void m3net_external_interrupt(void);

/// Executed instructions, modulo 2^32.
static inline uint32_t m3net_instructions(void) { return M3NET_CSR_READ(minstret); }

#endif  // M3NET_ARCH_RISCV_H_
