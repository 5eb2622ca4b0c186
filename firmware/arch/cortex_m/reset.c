// SPDX-License-Identifier: Apache-2.0
// Sleep and restart on Cortex-M.

#include "cortex_m.h"

#define AIRCR (*(volatile uint32_t*)0xE000ED0Cu)
#define AIRCR_KEY 0x05FA0000u
#define AIRCR_RESET (1u << 2)
#define CCR (*(volatile uint32_t*)0xE000ED14u)
#define CCR_DATA_CACHE (1u << 16)
#define DCCMVAC (*(volatile uint32_t*)0xE000EF68u)  // writes the cache line of an address back

void m3net_core_sleep(void) { __asm volatile("dsb\n\twfi" ::: "memory"); }

void m3net_core_write_back(const volatile uint32_t* word) {
  if (CCR & CCR_DATA_CACHE) {
    __asm volatile("dsb" ::: "memory");
    DCCMVAC = (uint32_t)(uintptr_t)word;
  }
  __asm volatile("dsb" ::: "memory");
}

void m3net_core_restart(void) {
  __asm volatile("dsb" ::: "memory");
  AIRCR = AIRCR_KEY | AIRCR_RESET;
  for (;;) {
  }
}
