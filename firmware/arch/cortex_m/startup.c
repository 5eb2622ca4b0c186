// SPDX-License-Identifier: Apache-2.0
// Reset and the vector table of Cortex-M cores (ARMv7-M and later).

#include <stdint.h>

#include "cortex_m.h"
#include "platform.h"

extern uint32_t m3net_guard_start[], m3net_stack_bottom[], m3net_stack_top[];
extern uint32_t m3net_data_start[], m3net_data_end[], m3net_data_load[];
extern uint32_t m3net_bss_start[], m3net_bss_end[];
extern void (*__init_array_start[])(void);
extern void (*__init_array_end[])(void);

int main(void);
void m3net_reset(void);

#define STACK_PAINT 0xA5A5A5A5u
#define INTERRUPT_COUNT 240

#define CPACR (*(volatile uint32_t*)0xE000ED88u)
#define SHCSR (*(volatile uint32_t*)0xE000ED24u)
#define VTOR (*(volatile uint32_t*)0xE000ED08u)
#define CCR (*(volatile uint32_t*)0xE000ED14u)
#define MPU_TYPE (*(volatile uint32_t*)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t*)0xE000ED94u)
#define MPU_RNR (*(volatile uint32_t*)0xE000ED98u)
#define MPU_RBAR (*(volatile uint32_t*)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t*)0xE000EDA0u)

// A board that serves interrupts fills its entries from board.c by defining this table.
__attribute__((weak)) const m3net_vector m3net_board_interrupts[1] = {0};
__attribute__((weak)) const uint32_t m3net_board_interrupt_count = 0;

static void other_interrupt(void);

// The core reads words 0 and 1 at reset, the rest on exceptions; 16 core entries, then the
// interrupts of the chip, all of which go through one dispatcher.
__attribute__((section(".vectors"),
               used)) static const m3net_vector vectors[16 + INTERRUPT_COUNT] = {
    (m3net_vector)(uintptr_t)m3net_stack_top,
    m3net_reset,
    m3net_fault_entry,  // NMI
    m3net_fault_entry,  // HardFault
    m3net_fault_entry,  // MemManage
    m3net_fault_entry,  // BusFault
    m3net_fault_entry,  // UsageFault
    m3net_fault_entry,
    m3net_fault_entry,
    m3net_fault_entry,
    m3net_fault_entry,
    m3net_fault_entry,  // SVCall
    m3net_fault_entry,  // DebugMonitor
    m3net_fault_entry,
    m3net_fault_entry,  // PendSV
    m3net_fault_entry,  // SysTick
    [16 ... 16 + INTERRUPT_COUNT - 1] = other_interrupt,
};

static void other_interrupt(void) {
  uint32_t exception = 0;
  __asm volatile("mrs %0, ipsr" : "=r"(exception));
  const uint32_t interrupt = (exception & 0x1FFu) - 16u;
  if (interrupt < m3net_board_interrupt_count && m3net_board_interrupts[interrupt]) {
    m3net_board_interrupts[interrupt]();
    return;
  }
  m3net_platform_panic("interrupt", "an interrupt that no driver serves; see board.c", interrupt);
}

// Makes the 32 KB below the stack inaccessible where the core has an MPU (PMSAv7), so that an
// overflow faults at once, even if a large frame steps over some of it.
static void guard_stack(void) {
  const uint32_t regions = (MPU_TYPE >> 8) & 0xFFu;
  if (regions == 0u) return;
  MPU_RNR = 0;
  MPU_RBAR = (uint32_t)(uintptr_t)m3net_guard_start;
  MPU_RASR = (1u << 28) | (14u << 1) | 1u;  // no execution, no access, 2^15 bytes, on
  MPU_CTRL = 4u | 1u;                       // the default map elsewhere
  __asm volatile("dsb\n\tisb" ::: "memory");
}

// Runs before any variable has its value: only registers, linker symbols and the stack.
__attribute__((noreturn)) void m3net_reset(void) {
  CPACR |= 0xFu << 20;  // full access to the FPU
  __asm volatile("dsb\n\tisb" ::: "memory");
  VTOR = (uint32_t)(uintptr_t)vectors;
  SHCSR |= 7u << 16;  // MemManage, BusFault and UsageFault under their own names
  CCR |= 1u << 4;     // division by zero is a fault, not a zero

  const uint32_t* load = m3net_data_load;
  for (uint32_t* word = m3net_data_start; word < m3net_data_end; ++word) *word = *load++;
  for (uint32_t* word = m3net_bss_start; word < m3net_bss_end; ++word) *word = 0u;
  uint32_t* top = 0;
  __asm volatile("mov %0, sp" : "=r"(top));
  for (uint32_t* word = m3net_stack_bottom; word < top - 8; ++word) *word = STACK_PAINT;
  guard_stack();

  for (void (**one)(void) = __init_array_start; one < __init_array_end; ++one) (*one)();
  (void)main();
  for (;;) {
  }
}

size_t m3net_platform_stack_size(void) {
  return (size_t)((uintptr_t)m3net_stack_top - (uintptr_t)m3net_stack_bottom);
}

size_t m3net_platform_stack_used(void) {
  const uint32_t* word = m3net_stack_bottom;
  while (word < m3net_stack_top && *word == STACK_PAINT) ++word;
  return (size_t)((uintptr_t)m3net_stack_top - (uintptr_t)word);
}
