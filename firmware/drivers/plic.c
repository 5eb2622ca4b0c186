// SPDX-License-Identifier: Apache-2.0
// The platform-level interrupt controller of RISC-V chips, at BOARD_PLIC_BASE, for machine mode of
// the first core.

#include "board_config.h"
#include "riscv.h"

#define PRIORITIES ((volatile uint32_t*)BOARD_PLIC_BASE)
#define ENABLED ((volatile uint32_t*)(BOARD_PLIC_BASE + 0x2000u))
#define THRESHOLD (*(volatile uint32_t*)(BOARD_PLIC_BASE + 0x200000u))
#define CLAIMED (*(volatile uint32_t*)(BOARD_PLIC_BASE + 0x200004u))

#define HIGHEST_PRIORITY 7u

void m3net_interrupt_enable(uint32_t interrupt, uint32_t priority) {
  PRIORITIES[interrupt] = priority < HIGHEST_PRIORITY ? HIGHEST_PRIORITY - priority : 1u;
  ENABLED[interrupt / 32u] |= 1u << (interrupt % 32u);
  THRESHOLD = 0;
  M3NET_CSR_SET(mie, 1u << M3NET_CAUSE_EXTERNAL);
}

void m3net_interrupt_disable(uint32_t interrupt) {
  ENABLED[interrupt / 32u] &= ~(1u << (interrupt % 32u));
}

// Claiming an interrupt clears its pending state; writing it back lets it come again.
void m3net_external_interrupt(void) {
  for (uint32_t interrupt = CLAIMED; interrupt != 0u; interrupt = CLAIMED) {
    m3net_serve_interrupt(interrupt);
    CLAIMED = interrupt;
  }
}
