// SPDX-License-Identifier: Apache-2.0
// Runs compiled networks on QEMU's boards: for each case, its number, what it cost in ticks of the
// system timer, and its output bytes, all in hexadecimal.
#include <stdint.h>
#include <string.h>

#include "cases.h"

#define UART_DATA (*(volatile uint32_t*)BOARD_UART)
#define UART_CONTROL (*(volatile uint32_t*)(BOARD_UART + 8u))
#define UART_RATE (*(volatile uint32_t*)(BOARD_UART + 16u))
#define SYSTICK_CONTROL (*(volatile uint32_t*)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t*)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t*)0xE000E018u)
#define COPROCESSOR_ACCESS (*(volatile uint32_t*)0xE000ED88u)
#define FULL 0xFFFFFFu

static int8_t arena[CASES_ARENA_BYTES] __attribute__((aligned(8)));

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

__attribute__((noinline)) static void run_cases(void) {
  UART_RATE = 16;
  UART_CONTROL = 1;
  SYSTICK_RELOAD = FULL;
  SYSTICK_CONTROL = 5;
  for (int i = 0; i < CASES_COUNT; ++i) {
    const test_case* one = &cases[i];
    memset(arena, 0x55, sizeof(arena));
    for (int j = 0; j < one->inputs; ++j) {
      memcpy(arena + one->input[j].offset, one->input[j].values, one->input[j].bytes);
    }
    SYSTICK_VALUE = 0;
    const uint32_t before = SYSTICK_VALUE;
    one->run(arena);
    const uint32_t ticks = (before - SYSTICK_VALUE) & FULL;
    put_hex((uint32_t)i, 8);
    put(' ');
    put_hex(ticks, 8);
    put(' ');
    for (uint32_t j = 0; j < one->output_bytes; ++j) {
      put_hex((uint8_t)arena[one->output_offset + j], 2);
    }
    put('\n');
  }
}

void board_main(void) {
  allow_vectors();
  run_cases();
  exit_emulator();
}

extern uint32_t board_stack_top;

static void fault(void) {
  put('!');
  exit_emulator();
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void)) & board_stack_top, board_main, fault, fault, fault, fault, fault};
