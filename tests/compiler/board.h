// SPDX-License-Identifier: Apache-2.0
// Start and console of a program on QEMU's boards; included once, by the program.
#ifndef TESTS_COMPILER_BOARD_H_
#define TESTS_COMPILER_BOARD_H_

#include <stdint.h>

#define UART_DATA (*(volatile uint32_t*)BOARD_UART)
#define UART_CONTROL (*(volatile uint32_t*)(BOARD_UART + 8u))
#define UART_RATE (*(volatile uint32_t*)(BOARD_UART + 16u))
#define COPROCESSOR_ACCESS (*(volatile uint32_t*)0xE000ED88u)

/// The program, defined by the file that includes this one.
__attribute__((noinline)) void run_program(void);

static void put(char c) { UART_DATA = (uint8_t)c; }

static void put_hex(uint32_t value, int digits) {
  for (int shift = 4 * digits - 4; shift >= 0; shift -= 4) {
    put("0123456789abcdef"[value >> shift & 15u]);
  }
}

static void exit_emulator(void) {
  register uint32_t operation __asm__("r0") = 0x18;  // SYS_EXIT
  register uint32_t reason __asm__("r1") = 0x20026;  // ADP_Stopped_ApplicationExit
  __asm__ volatile("bkpt 0xab" : : "r"(operation), "r"(reason) : "memory");
}

/// Lets the core use Helium's registers, which the cases' function may do from its start.
static void allow_vectors(void) {
#if defined(__ARM_FEATURE_MVE)
  COPROCESSOR_ACCESS |= 15u << 20;
  __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
}

void board_main(void) {
  allow_vectors();
  UART_RATE = 16;
  UART_CONTROL = 1;
  run_program();
  exit_emulator();
}

extern uint32_t board_stack_top;

static void fault(void) {
  put('!');
  exit_emulator();
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void)) & board_stack_top, board_main, fault, fault, fault, fault, fault};

#endif  // TESTS_COMPILER_BOARD_H_
