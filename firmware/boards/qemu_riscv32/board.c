// SPDX-License-Identifier: Apache-2.0

#include "board_config.h"
#include "clint.h"
#include "ns16550.h"
#include "platform.h"
#include "riscv.h"

#define FINISHER (*(volatile uint32_t*)BOARD_FINISHER_BASE)
#define FINISHER_RESET 0x7777u
#define TICKS_A_US (BOARD_TIMER_HZ / 1000000u)

const m3net_vector m3net_board_interrupts[] = {
    [BOARD_UART_RX_INTERRUPT] = m3net_ns16550_received,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

void m3net_board_init(void) {
  m3net_ns16550_start();
  m3net_clint_start();
  const m3net_reset_reason noted = m3net_reset_take_note();
  m3net_reset_keep(noted == M3NET_RESET_UNKNOWN ? M3NET_RESET_POWER : noted);
  m3net_reset_note(M3NET_RESET_PIN);
}

uint32_t m3net_board_counter(void) { return m3net_instructions(); }

uint64_t m3net_board_time_us(void) { return m3net_clint_ticks() / TICKS_A_US; }

void m3net_core_restart(void) {
  FINISHER = FINISHER_RESET;
  for (;;) {
  }
}
