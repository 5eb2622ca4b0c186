// SPDX-License-Identifier: Apache-2.0
// Reset of RISC-V cores, and the guard of the stack.

#include <stdint.h>

#include "platform.h"
#include "riscv.h"

extern uint32_t m3net_guard_start[];

void m3net_reset(void);
void m3net_trap_entry(void);

// A locked entry of the physical memory protection for a naturally aligned region holds in machine
// mode, too. Without permissions it refuses all accesses.
#define PMP_LOCKED (1u << 7)
#define PMP_ALIGNED_REGION (3u << 3)
#define GUARD_BYTES 0x8000u  // as in sections.ld

__attribute__((used, noreturn)) static void start_core(void) {
  M3NET_CSR_WRITE(mtvec, (uintptr_t)m3net_trap_entry);  // one entry for all traps
  M3NET_CSR_WRITE(mie, 0);
  M3NET_CSR_WRITE(pmpaddr0, ((uintptr_t)m3net_guard_start >> 2) | (GUARD_BYTES / 8u - 1u));
  M3NET_CSR_SET(pmpcfg0, PMP_LOCKED | PMP_ALIGNED_REGION);
  m3net_platform_unlock(1);
  m3net_start();
}

// The first instructions. Relaxation is off, because it would write gp in terms of gp.
__attribute__((naked, section(".start"))) void m3net_reset(void) {
  __asm volatile(
      ".option push                 \n"
      ".option norelax              \n"
      "la gp, __global_pointer$     \n"
      ".option pop                  \n"
      "csrw mie, zero               \n"
      "la sp, m3net_stack_top       \n"
      "j %0                         \n" ::"i"(start_core));
}
