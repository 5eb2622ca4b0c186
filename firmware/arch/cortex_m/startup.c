// SPDX-License-Identifier: Apache-2.0
// Reset and the vector table of Cortex-M cores (ARMv7-M and later).

#include <stdint.h>

#include "board_config.h"
#include "cortex_m.h"
#include "platform.h"

extern uint32_t m3net_guard_start[], m3net_stack_bottom[], m3net_stack_top[];

void m3net_reset(void);

#ifdef BOARD_INTERRUPTS
#define INTERRUPT_COUNT BOARD_INTERRUPTS
#else
#define INTERRUPT_COUNT 240  // the most
#endif

#define CPACR (*(volatile uint32_t*)0xE000ED88u)
#define SHCSR (*(volatile uint32_t*)0xE000ED24u)
#define VTOR (*(volatile uint32_t*)0xE000ED08u)
#define CCR (*(volatile uint32_t*)0xE000ED14u)
#define MPU_TYPE (*(volatile uint32_t*)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t*)0xE000ED94u)
#define MPU_RNR (*(volatile uint32_t*)0xE000ED98u)
#define MPU_RBAR (*(volatile uint32_t*)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t*)0xE000EDA0u)

#define CCR_TRAP_DIVISION_BY_ZERO (1u << 4)
#define CCR_LOW_OVERHEAD_LOOPS (1u << 19)  // ARMv8.1-M

// A jump: m3net_fault_entry needs the core's frame on top of the stack.
__attribute__((weak, naked)) void m3net_nmi(void) { __asm volatile("b m3net_fault_entry"); }

void m3net_systick_interrupt(void);
static void other_interrupt(void);

// The core reads words 0 and 1 at reset, the rest on exceptions; 16 core entries, then the
// interrupts of the chip, all of which go through one dispatcher.
__attribute__((section(".start"), used)) static const m3net_vector vectors[16 + INTERRUPT_COUNT] = {
    (m3net_vector)(uintptr_t)m3net_stack_top,
    m3net_reset,
    m3net_nmi,
    m3net_fault_entry,  // HardFault
    m3net_fault_entry,  // MemManage
    m3net_fault_entry,  // BusFault
    m3net_fault_entry,  // UsageFault
    m3net_fault_entry,  // SecureFault
    m3net_fault_entry,
    m3net_fault_entry,
    m3net_fault_entry,
    m3net_fault_entry,  // SVCall
    m3net_fault_entry,  // DebugMonitor
    m3net_fault_entry,
    m3net_fault_entry,  // PendSV
    m3net_systick_interrupt,
    [16 ... 16 + INTERRUPT_COUNT - 1] = other_interrupt,
};

static void other_interrupt(void) {
  uint32_t exception = 0;
  __asm volatile("mrs %0, ipsr" : "=r"(exception));
  m3net_serve_interrupt((exception & 0x1FFu) - 16u);
}

// Blocks access below the stack, so that an overflow faults at once: by the stack limit if the core
// has one (ARMv8-M), otherwise by an MPU region (PMSAv7) of 32 KB, which is larger than any frame.
static void guard_stack(void) {
#if __ARM_ARCH >= 8
  __asm volatile("msr msplim, %0" ::"r"(m3net_stack_bottom));
#else
  const uint32_t regions = (MPU_TYPE >> 8) & 0xFFu;
  if (regions == 0u) return;
  MPU_RNR = 0;
  MPU_RBAR = (uint32_t)(uintptr_t)m3net_guard_start;
  MPU_RASR = (1u << 28) | (14u << 1) | 1u;  // no execution, no access, 2^15 bytes, on
  MPU_CTRL = 4u | 1u;                       // the default map elsewhere
#endif
  __asm volatile("dsb\n\tisb" ::: "memory");
}

#if __ARM_ARCH < 8
void m3net_mpu_uncached(uintptr_t base, uint32_t size_log2) {
  MPU_RNR = 1;
  MPU_RBAR = (uint32_t)base;
  // No execution, full access, normal memory, shared and uncached, on.
  MPU_RASR = (1u << 28) | (3u << 24) | (1u << 19) | (1u << 18) | ((size_log2 - 1u) << 1) | 1u;
  MPU_CTRL = 4u | 1u;
  __asm volatile("dsb\n\tisb" ::: "memory");
}
#endif

// Runs before variables are initialised: uses only registers, linker symbols and the stack.
__attribute__((noreturn)) void m3net_reset(void) {
  CPACR |= 0xFu << 20;  // full access to the FPU and to the vector unit
  __asm volatile("dsb\n\tisb" ::: "memory");
  VTOR = (uint32_t)(uintptr_t)vectors;
  SHCSR |= 15u << 16;  // MemManage, BusFault, UsageFault and SecureFault under their own names
  CCR |= CCR_TRAP_DIVISION_BY_ZERO;
#if defined(__ARM_FEATURE_MVE)
  CCR |= CCR_LOW_OVERHEAD_LOOPS;
#endif
  guard_stack();
  m3net_start();
}
