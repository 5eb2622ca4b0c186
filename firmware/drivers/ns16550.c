// SPDX-License-Identifier: Apache-2.0

#include "ns16550.h"

#include "arch.h"
#include "board_config.h"
#include "byte_ring.h"
#include "platform.h"

typedef struct {
  volatile uint8_t data;           // the divider's low byte while LINE_DIVIDER is set
  volatile uint8_t interrupts_on;  // its high byte
  volatile uint8_t fifo;
  volatile uint8_t line;
  volatile uint8_t modem;
  volatile uint8_t state;
} ns16550;

#define UART ((ns16550*)BOARD_UART_BASE)

#define INTERRUPT_RECEIVED 1u
#define FIFO_ON_AND_EMPTY 7u
#define LINE_8_BITS 3u
#define LINE_DIVIDER 0x80u
#define STATE_RECEIVED 1u
#define STATE_OVERRUN 2u
#define STATE_CAN_SEND 0x20u
#define STATE_ALL_SENT 0x40u
#define CLOCKS_A_BIT 16u

static m3net_byte_ring received;

static void set_divider(uint32_t divider) {
  UART->line = LINE_DIVIDER | LINE_8_BITS;
  UART->data = (uint8_t)divider;
  UART->interrupts_on = (uint8_t)(divider >> 8);
  UART->line = LINE_8_BITS;
}

void m3net_ns16550_start(void) {
  UART->interrupts_on = 0;
  set_divider(BOARD_UART_CLOCK_HZ / (CLOCKS_A_BIT * BOARD_UART_BAUD));
  UART->fifo = FIFO_ON_AND_EMPTY;
  UART->interrupts_on = INTERRUPT_RECEIVED;
  m3net_interrupt_enable(BOARD_UART_RX_INTERRUPT, 1);
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (!(UART->state & STATE_CAN_SEND)) {
    }
    UART->data = (uint8_t)bytes[i];
  }
}

void m3net_ns16550_received(void) {
  uint32_t state;
  while ((state = UART->state) & STATE_RECEIVED) {
    if (state & STATE_OVERRUN) ++received.lost;
    m3net_byte_ring_put(&received, UART->data);
  }
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

m3net_status m3net_board_set_baud(uint32_t baud) {
  const uint32_t divider = baud == 0u ? 0u : BOARD_UART_CLOCK_HZ / CLOCKS_A_BIT / baud;
  if (divider == 0u || divider > UINT16_MAX) return M3NET_ERROR_UNSUPPORTED;
  while (!(UART->state & STATE_ALL_SENT)) {
  }
  const uint32_t state = m3net_platform_lock();
  const uint8_t interrupts_on = UART->interrupts_on;
  set_divider(divider);
  UART->interrupts_on = interrupts_on;
  m3net_platform_unlock(state);
  return M3NET_OK;
}
