// SPDX-License-Identifier: Apache-2.0

#include "cmsdk_uart.h"

#include "board_config.h"
#include "byte_ring.h"
#include "cortex_m.h"
#include "platform.h"

typedef struct {
  volatile uint32_t data;
  volatile uint32_t state;
  volatile uint32_t control;
  volatile uint32_t interrupt;
  volatile uint32_t baud_divider;
} cmsdk_uart;

#define UART ((cmsdk_uart*)BOARD_UART_BASE)

#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_STATE_RX_OVERRUN 8u
#define UART_CONTROL_TX_ON 1u
#define UART_CONTROL_RX_ON 2u
#define UART_CONTROL_RX_INTERRUPT 8u
#define UART_INTERRUPT_RX 2u
#define UART_LEAST_DIVIDER 16u

static m3net_byte_ring received;

void m3net_cmsdk_uart_start(void) {
  UART->baud_divider = BOARD_UART_CLOCK_HZ / BOARD_UART_BAUD;
  UART->control = UART_CONTROL_TX_ON | UART_CONTROL_RX_ON | UART_CONTROL_RX_INTERRUPT;
  m3net_interrupt_enable(BOARD_UART_RX_INTERRUPT, 1);
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (UART->state & UART_STATE_TX_FULL) {
    }
    UART->data = (uint8_t)bytes[i];
  }
}

void m3net_cmsdk_uart_received(void) {
  if (UART->state & UART_STATE_RX_OVERRUN) {
    UART->state = UART_STATE_RX_OVERRUN;
    ++received.lost;
  }
  while (UART->state & UART_STATE_RX_FULL) {
    UART->interrupt = UART_INTERRUPT_RX;  // before reading: the next byte raises it again
    m3net_byte_ring_put(&received, (uint8_t)UART->data);
  }
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

m3net_status m3net_board_set_baud(uint32_t baud) {
  if (baud == 0u || BOARD_UART_CLOCK_HZ / baud < UART_LEAST_DIVIDER) return M3NET_ERROR_UNSUPPORTED;
  while (UART->state & UART_STATE_TX_FULL) {
  }
  UART->baud_divider = BOARD_UART_CLOCK_HZ / baud;
  return M3NET_OK;
}
