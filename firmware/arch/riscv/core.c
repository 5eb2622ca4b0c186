// SPDX-License-Identifier: Apache-2.0
// Disabling all interrupts (WFI still wakes up) and sleep on RISC-V.

#include "riscv.h"

#define MSTATUS_INTERRUPTS_ON (1u << 3)

uint32_t m3net_platform_lock(void) {
  uint32_t state = 0;
  __asm volatile("csrrc %0, mstatus, %1" : "=r"(state) : "r"(MSTATUS_INTERRUPTS_ON) : "memory");
  return state & MSTATUS_INTERRUPTS_ON;
}

void m3net_platform_unlock(uint32_t state) {
  if (state != 0u) M3NET_CSR_SET(mstatus, MSTATUS_INTERRUPTS_ON);
}

void m3net_core_sleep(void) { __asm volatile("fence\n\twfi" ::: "memory"); }

void m3net_core_write_back(const volatile uint32_t* word) {
  (void)word;  // the boards have no data cache
  __asm volatile("fence" ::: "memory");
}
