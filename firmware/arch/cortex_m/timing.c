// SPDX-License-Identifier: Apache-2.0
// Time and cost on every Cortex-M core: SysTick, and the cycle counter of the DWT.

#include "cortex_m.h"

#define SYST_CSR (*(volatile uint32_t*)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t*)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t*)0xE000E018u)
#define ICSR (*(volatile uint32_t*)0xE000ED04u)
#define DEMCR (*(volatile uint32_t*)0xE000EDFCu)
#define DWT_CTRL (*(volatile uint32_t*)0xE0001000u)
#define DWT_CYCCNT (*(volatile uint32_t*)0xE0001004u)
#define DWT_LAR (*(volatile uint32_t*)0xE0001FB0u)

#define SYST_PERIOD (1u << 24)
#define SYST_CORE_CLOCK_INTERRUPT_ON 7u
#define ICSR_SYSTICK_PENDING (1u << 26)
#define DEMCR_TRACE_ON (1u << 24)
#define DWT_UNLOCK 0xC5ACCE55u  // a Cortex-M7 locks it

static volatile uint32_t wraps;
static uint32_t cycles_a_us = 1;

void m3net_systick_interrupt(void);

void m3net_systick_interrupt(void) { ++wraps; }

void m3net_systick_start(uint32_t clock_hz) {
  cycles_a_us = clock_hz / 1000000u;
  wraps = 0;
  SYST_RVR = SYST_PERIOD - 1u;
  SYST_CVR = 0;
  SYST_CSR = SYST_CORE_CLOCK_INTERRUPT_ON;
}

uint64_t m3net_systick_time_us(void) {
  const uint32_t state = m3net_platform_lock();
  uint32_t high = wraps;
  uint32_t left = SYST_CVR;
  if (ICSR & ICSR_SYSTICK_PENDING) {  // wrapped, and the interrupt is still disabled
    ++high;
    left = SYST_CVR;
  }
  m3net_platform_unlock(state);
  const uint64_t cycles = (uint64_t)high * SYST_PERIOD + ((SYST_PERIOD - left) % SYST_PERIOD);
  return cycles / cycles_a_us;
}

void m3net_cycles_start(void) {
  DEMCR |= DEMCR_TRACE_ON;
  DWT_LAR = DWT_UNLOCK;
  DWT_CYCCNT = 0;
  DWT_CTRL |= 1u;
}
