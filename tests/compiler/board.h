// SPDX-License-Identifier: Apache-2.0
// Start and console of a program on QEMU's boards; included once, by the program.
#ifndef TESTS_COMPILER_BOARD_H_
#define TESTS_COMPILER_BOARD_H_

#include <stdint.h>

/// The program, defined by the file that includes this one.
__attribute__((noinline)) void run_program(void);

static void put(char c);

static void put_hex(uint32_t value, int digits) {
  for (int shift = 4 * digits - 4; shift >= 0; shift -= 4) {
    put("0123456789abcdef"[value >> shift & 15u]);
  }
}

#if defined(__riscv)

#define UART_DATA (*(volatile uint8_t*)BOARD_UART)
#define FINISHER (*(volatile uint32_t*)0x100000u)
#define FINISHER_PASS 0x5555u

static void put(char c) { UART_DATA = (uint8_t)c; }

static uint32_t instructions(void) {
  uint32_t count;
  __asm__ volatile("csrr %0, minstret" : "=r"(count));
  return count;
}

static uint32_t clock_start;

static inline void start_clock(void) { clock_start = instructions(); }

/// Ticks since then.
static inline uint32_t clock_ticks(void) { return instructions() - clock_start; }

__attribute__((used)) static void fault(void) {
  put('!');
  FINISHER = FINISHER_PASS;
}

__attribute__((used)) static void start(void) {
  run_program();
  FINISHER = FINISHER_PASS;
}

__attribute__((naked, used, section(".vectors"))) void board_main(void) {
  __asm__ volatile(
      "la sp, board_stack_top\n\t"
      "la t0, fault\n\t"
      "csrw mtvec, t0\n\t"
      "j start\n\t");
}

#else

#define UART_DATA (*(volatile uint32_t*)BOARD_UART)
#define UART_CONTROL (*(volatile uint32_t*)(BOARD_UART + 8u))
#define UART_RATE (*(volatile uint32_t*)(BOARD_UART + 16u))
#define COPROCESSOR_ACCESS (*(volatile uint32_t*)0xE000ED88u)

#define SYSTICK_CONTROL (*(volatile uint32_t*)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t*)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t*)0xE000E018u)
#define FULL 0xFFFFFFu

static void put(char c) { UART_DATA = (uint8_t)c; }

static inline void start_clock(void) {
  SYSTICK_RELOAD = FULL;
  SYSTICK_CONTROL = 5;
  SYSTICK_VALUE = 0;
}

/// Ticks since then.
static inline uint32_t clock_ticks(void) { return (0u - SYSTICK_VALUE) & FULL; }

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

#endif

#endif  // TESTS_COMPILER_BOARD_H_
