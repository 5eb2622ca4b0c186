// SPDX-License-Identifier: Apache-2.0

#include "board_config.h"
#include "cmsdk_uart.h"
#include "cortex_m.h"
#include "platform.h"

typedef struct {
  volatile uint32_t low, high;
} sse_counter;

#define COUNTER ((sse_counter*)BOARD_COUNTER_BASE)
#define COUNTER_CONTROL (*(volatile uint32_t*)BOARD_COUNTER_CONTROL_BASE)
#define TICKS_A_US (BOARD_CLOCK_HZ / 1000000u)

const m3net_vector m3net_board_interrupts[] = {
    [BOARD_UART_RX_INTERRUPT] = m3net_cmsdk_uart_received,
    [BOARD_UART_RX_INTERRUPT_QEMU] = m3net_cmsdk_uart_received,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

static uint64_t ticks(void) {
  uint32_t high, low;
  do {
    high = COUNTER->high;
    low = COUNTER->low;
  } while (high != COUNTER->high);
  return ((uint64_t)high << 32) | low;
}

void m3net_board_init(void) {
  m3net_cmsdk_uart_start();
  m3net_interrupt_enable(BOARD_UART_RX_INTERRUPT_QEMU, 1);
  COUNTER_CONTROL |= 1u;
  m3net_systick_start(BOARD_CLOCK_HZ);  // wakes the core in time to feed the watchdog
  const m3net_reset_reason noted = m3net_reset_take_note();
  m3net_reset_keep(noted == M3NET_RESET_UNKNOWN ? M3NET_RESET_POWER : noted);
  m3net_reset_note(M3NET_RESET_PIN);
}

uint32_t m3net_board_counter(void) {
  return (uint32_t)(ticks() * BOARD_COUNTER_UNITS / BOARD_COUNTER_TICKS);
}

uint64_t m3net_board_time_us(void) { return ticks() / TICKS_A_US; }
