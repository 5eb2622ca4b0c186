// SPDX-License-Identifier: Apache-2.0
// The USART of STM32 chips as the console.

#include "byte_ring.h"
#include "cortex_m.h"
#include "platform.h"
#include "stm32.h"

#define UART BOARD_UART

#ifdef USART_SR_TXE  // STM32F4
#define UART_STATUS (UART->SR)
#define UART_OUT (UART->DR)
#define UART_IN (UART->DR)
#define UART_CAN_SEND USART_SR_TXE
#define UART_SENT USART_SR_TC
#define UART_RECEIVED USART_SR_RXNE
#define UART_OVERRUN USART_SR_ORE
#define UART_RECEIVED_INTERRUPT USART_CR1_RXNEIE

// Reading the status and the byte clears it.
static void clear_overrun(uint32_t status) {
  if (!(status & UART_RECEIVED)) (void)UART_IN;
}

static void write_divider(uint32_t divider) { UART->BRR = divider; }
#else  // STM32H7
#define UART_STATUS (UART->ISR)
#define UART_OUT (UART->TDR)
#define UART_IN (UART->RDR)
#define UART_CAN_SEND USART_ISR_TXE_TXFNF
#define UART_SENT USART_ISR_TC
#define UART_RECEIVED USART_ISR_RXNE_RXFNE
#define UART_OVERRUN USART_ISR_ORE
#define UART_RECEIVED_INTERRUPT USART_CR1_RXNEIE_RXFNEIE

static void clear_overrun(uint32_t status) {
  (void)status;
  UART->ICR = USART_ICR_ORECF;
}

// The divider may be written only while the port is off.
static void write_divider(uint32_t divider) {
  UART->CR1 &= ~USART_CR1_UE;
  UART->BRR = divider;
  UART->CR1 |= USART_CR1_UE;
}
#endif

static uint32_t uart_clock_hz;
static m3net_byte_ring received;

static uint32_t divider_of(uint32_t baud) { return (uart_clock_hz + baud / 2u) / baud; }

void m3net_stm32_uart_start(uint32_t clock_hz) {
  uart_clock_hz = clock_hz;
  UART->BRR = divider_of(BOARD_UART_BAUD);
  UART->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | UART_RECEIVED_INTERRUPT;
  m3net_interrupt_enable(BOARD_UART_INTERRUPT, 1);
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (!(UART_STATUS & UART_CAN_SEND)) {
    }
    UART_OUT = (uint8_t)bytes[i];
  }
}

void m3net_stm32_uart_received(void) {
  const uint32_t status = UART_STATUS;
  if (status & UART_OVERRUN) {
    clear_overrun(status);
    received.lost = received.lost + 1u;
  }
  if (status & UART_RECEIVED) m3net_byte_ring_put(&received, (uint8_t)UART_IN);
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

m3net_status m3net_board_set_baud(uint32_t baud) {
  if (baud == 0u) return M3NET_ERROR_UNSUPPORTED;
  const uint32_t divider = divider_of(baud);
  if (divider < 16u || divider > 0xFFFFu) return M3NET_ERROR_UNSUPPORTED;
  while (!(UART_STATUS & UART_SENT)) {
  }
  write_divider(divider);
  return M3NET_OK;
}
