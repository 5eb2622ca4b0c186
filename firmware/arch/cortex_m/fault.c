// SPDX-License-Identifier: Apache-2.0
// Fault handlers: report cause and place over the console, then stop.

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "cortex_m.h"
#include "platform.h"

#define CFSR (*(volatile uint32_t*)0xE000ED28u)
#define HFSR (*(volatile uint32_t*)0xE000ED2Cu)
#define MMFAR (*(volatile uint32_t*)0xE000ED34u)
#define BFAR (*(volatile uint32_t*)0xE000ED38u)
#define MPU_CTRL (*(volatile uint32_t*)0xE000ED94u)

#define CFSR_MEMORY_STACKING ((1u << 4) | (1u << 5))
#define CFSR_MEMORY_ADDRESS_VALID (1u << 7)
#define CFSR_BUS_STACKING ((1u << 12) | (1u << 13))
#define CFSR_BUS_ADDRESS_VALID (1u << 15)
#define CFSR_STACK_LIMIT (1u << 20)  // ARMv8-M

#define EXCEPTION_NMI 2u

extern uint8_t m3net_ram_start[], m3net_ram_end[];
extern uint8_t m3net_guard_start[], m3net_stack_bottom[], m3net_stack_top[];

// The reports have a stack of their own, as the usual one may have failed.
__attribute__((used)) uint64_t m3net_fault_stack[128];

static const char* fault_name(uint32_t exception) {
  switch (exception) {
    case EXCEPTION_NMI:
      return "nmi";
    case 3:
      return "hard_fault";
    case 4:
      return "memory_fault";
    case 5:
      return "bus_fault";
    case 6:
      return "usage_fault";
    case 7:
      return "secure_fault";
    default:
      return "exception";
  }
}

static const char* usage_cause(uint32_t cfsr) {
  if (cfsr & (1u << 16)) return "undefined instruction";
  if (cfsr & (1u << 17)) return "invalid execution state";
  if (cfsr & (1u << 18)) return "invalid return address";
  if (cfsr & (1u << 19)) return "FPU or coprocessor off";
  if (cfsr & (1u << 24)) return "unaligned access";
  if (cfsr & (1u << 25)) return "division by zero";
  if (cfsr & (1u << 8)) return "instruction fetch from a bad address";
  if (cfsr & ((1u << 9) | (1u << 10))) return "data access to a bad address";
  if (cfsr & (1u << 0)) return "instruction fetch from a protected address";
  if (cfsr & (1u << 1)) return "data access to a protected address";
  return "unknown cause";
}

static void field(const char* name, uint32_t value) {
  m3net_console_text(name);
  m3net_console_hex32(value);
}

// Called by m3net_fault_entry with the frame that the core pushed, on m3net_fault_stack.
__attribute__((used, noreturn)) void m3net_fault_report(const uint32_t* frame,
                                                        uint32_t exc_return) {
  uint32_t exception = 0;
  __asm volatile("mrs %0, ipsr" : "=r"(exception));
  const uint32_t cfsr = CFSR;
  const uintptr_t at = (uintptr_t)frame;
  const bool address_known = (cfsr & (CFSR_MEMORY_ADDRESS_VALID | CFSR_BUS_ADDRESS_VALID)) != 0u;
  const uintptr_t address = (cfsr & CFSR_MEMORY_ADDRESS_VALID) ? MMFAR : BFAR;
  const bool in_guard = address_known && address < (uintptr_t)m3net_stack_bottom &&
                        address >= (uintptr_t)m3net_guard_start;
  const uint32_t stacking = CFSR_MEMORY_STACKING | CFSR_BUS_STACKING | CFSR_STACK_LIMIT;
  const bool overflow = in_guard || (cfsr & stacking) != 0u || at < (uintptr_t)m3net_stack_bottom;
  if ((exception & 0x1FFu) != EXCEPTION_NMI) m3net_reset_note(M3NET_RESET_FAULT);
  MPU_CTRL = 0;  // the guard is no longer needed; the frame may be in its region
  const bool frame_readable =
      at >= (uintptr_t)m3net_ram_start && at + 32u <= (uintptr_t)m3net_ram_end && (at & 3u) == 0u;

  m3net_console_error_begin(overflow ? "stack_overflow" : fault_name(exception & 0x1FFu));
  if (overflow) {
    m3net_console_text("the stack of ");
    m3net_console_u32((uint32_t)m3net_platform_stack_size());
    m3net_console_text(" bytes overflowed: raise stack_bytes in the board's board.toml;");
  } else {
    m3net_console_text(usage_cause(cfsr));
    m3net_console_text(";");
  }
  if (frame_readable) {
    field(" pc=", frame[6]);
    field(" lr=", frame[5]);
  }
  field(" cfsr=", cfsr);
  field(" hfsr=", HFSR);
  if (cfsr & CFSR_MEMORY_ADDRESS_VALID) field(" mmfar=", MMFAR);
  if (cfsr & CFSR_BUS_ADDRESS_VALID) field(" bfar=", BFAR);
  field(" exc_return=", exc_return);
  field(" sp=", (uint32_t)at);
  field(" exception=", exception & 0x1FFu);
  m3net_console_end();
  m3net_platform_halt();
}

// Saves the stacked frame's address, switches to the fault stack, reports.
__attribute__((naked)) void m3net_fault_entry(void) {
  __asm volatile(
      "tst lr, #4                      \n"
      "ite eq                          \n"
      "mrseq r0, msp                   \n"
      "mrsne r0, psp                   \n"
      "mov r1, lr                      \n"
      "ldr r2, =m3net_fault_stack+1024 \n"
      "msr msp, r2                     \n"
      "b m3net_fault_report            \n");
}

void m3net_platform_halt(void) {
  __asm volatile("cpsid i" ::: "memory");
  for (;;) __asm volatile("wfi");
}
