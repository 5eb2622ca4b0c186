// SPDX-License-Identifier: Apache-2.0
// Disabling interrupts on Cortex-M: all (PRIMASK; WFI still wakes up) or one.

#include "cortex_m.h"

#define NVIC_ISER ((volatile uint32_t*)0xE000E100u)
#define NVIC_ICER ((volatile uint32_t*)0xE000E180u)
#define NVIC_ICPR ((volatile uint32_t*)0xE000E280u)
#define NVIC_IPR ((volatile uint8_t*)0xE000E400u)

uint32_t m3net_platform_lock(void) {
  uint32_t state = 0;
  __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(state)::"memory");
  return state;
}

void m3net_platform_unlock(uint32_t state) {
  __asm volatile("msr primask, %0\n\tisb" ::"r"(state) : "memory");
}

void m3net_interrupt_enable(uint32_t interrupt, uint32_t priority) {
  NVIC_IPR[interrupt] = (uint8_t)(priority << 4);
  NVIC_ISER[interrupt / 32u] = 1u << (interrupt % 32u);
}

void m3net_interrupt_disable(uint32_t interrupt) {
  NVIC_ICER[interrupt / 32u] = 1u << (interrupt % 32u);
  __asm volatile("dsb\n\tisb" ::: "memory");
  NVIC_ICPR[interrupt / 32u] = 1u << (interrupt % 32u);
}
