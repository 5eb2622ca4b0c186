// SPDX-License-Identifier: Apache-2.0
// Traps: interrupts go to their drivers, exceptions are reported over the console and end the
// program.

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "platform.h"
#include "riscv.h"

#define CAUSE_IS_INTERRUPT (1u << 31)
#define CAUSE_LOAD_ACCESS 5u
#define CAUSE_STORE_ACCESS 7u

extern uint8_t m3net_guard_start[], m3net_stack_bottom[];

void m3net_trap_entry(void);

// The reports have a stack of their own, as the usual one may have failed.
__attribute__((used)) uint64_t m3net_fault_stack[128];

// By the codes of mcause.
static const char* const causes[] = {
    "misaligned instruction address",
    "instruction fetch from a bad address",
    "illegal instruction",
    "breakpoint",
    "misaligned load",
    "load from a bad address",
    "misaligned store",
    "store to a bad address",
};

static void field(const char* name, uint32_t value) {
  m3net_console_text(name);
  m3net_console_hex32(value);
}

// Called by m3net_trap_entry with the stack pointer and the return address of the exception, on
// m3net_fault_stack.
__attribute__((used, noreturn)) static void report_fault(uintptr_t sp, uintptr_t ra) {
  const uint32_t cause = M3NET_CSR_READ(mcause);
  const uintptr_t address = M3NET_CSR_READ(mtval);
  const bool overflow = (cause == CAUSE_LOAD_ACCESS || cause == CAUSE_STORE_ACCESS) &&
                        address >= (uintptr_t)m3net_guard_start &&
                        address < (uintptr_t)m3net_stack_bottom;
  m3net_reset_note(M3NET_RESET_FAULT);
  m3net_console_error_begin(overflow ? "stack_overflow" : "exception");
  if (overflow) {
    m3net_console_text("the stack of ");
    m3net_console_u32((uint32_t)m3net_platform_stack_size());
    m3net_console_text(" bytes overflowed: raise stack_bytes in the board's board.toml;");
  } else {
    m3net_console_text(cause < sizeof(causes) / sizeof(causes[0]) ? causes[cause]
                                                                  : "unknown cause");
    m3net_console_text(";");
  }
  field(" pc=", M3NET_CSR_READ(mepc));
  field(" ra=", (uint32_t)ra);
  field(" mcause=", cause);
  field(" mtval=", (uint32_t)address);
  field(" sp=", (uint32_t)sp);
  m3net_console_end();
  m3net_platform_halt();
}

// The attribute saves the registers that the handlers may change, and returns with mret.
__attribute__((used, interrupt("machine"))) static void serve_trap(void) {
  const uint32_t cause = M3NET_CSR_READ(mcause) & ~CAUSE_IS_INTERRUPT;
  if (cause == M3NET_CAUSE_TIMER) {
    m3net_timer_interrupt();
  } else if (cause == M3NET_CAUSE_EXTERNAL) {
    m3net_external_interrupt();
  } else {
    m3net_platform_panic("interrupt", "an interrupt of the core that no driver serves;", cause);
  }
}

// The sign of mcause tells interrupts from exceptions. An exception may come from a stack that is
// full: its report switches to another one first, and never returns. mtvec needs the alignment.
__attribute__((naked, aligned(64))) void m3net_trap_entry(void) {
  __asm volatile(
      "csrw mscratch, t0              \n"
      "csrr t0, mcause                \n"
      "bgez t0, 1f                    \n"
      "csrr t0, mscratch              \n"
      "j %0                           \n"
      "1:                             \n"
      "mv a0, sp                      \n"
      "mv a1, ra                      \n"
      "la sp, m3net_fault_stack+1024  \n"
      "j %1                           \n" ::"i"(serve_trap),
      "i"(report_fault));
}

__attribute__((weak)) void m3net_timer_interrupt(void) {
  m3net_platform_panic("interrupt", "an interrupt of the core that no driver serves;",
                       M3NET_CAUSE_TIMER);
}

__attribute__((weak)) void m3net_external_interrupt(void) {
  m3net_platform_panic("interrupt", "an interrupt of the core that no driver serves;",
                       M3NET_CAUSE_EXTERNAL);
}

void m3net_platform_halt(void) {
  M3NET_CSR_CLEAR(mie, ~(1u << M3NET_CAUSE_TIMER));  // it may be the watchdog
  m3net_platform_unlock(1);
  for (;;) m3net_core_sleep();
}
