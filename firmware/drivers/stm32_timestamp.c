// SPDX-License-Identifier: Apache-2.0
// The energy meter's pin of STM32 boards.

#include "platform.h"
#include "stm32.h"

#define PORT BOARD_TIMESTAMP_PORT
#define PIN BOARD_TIMESTAMP_PIN
#define PIN_OUTPUT 1u

void m3net_stm32_timestamp_start(void) {
  PORT->BSRR = 1u << PIN;
  PORT->MODER = (PORT->MODER & ~(3u << (2u * PIN))) | (PIN_OUTPUT << (2u * PIN));
}

m3net_status m3net_board_timestamp_pin(void) {
  const uint64_t until_us = m3net_board_time_us() + BOARD_PIN_LOW_US;
  PORT->BSRR = 1u << (PIN + 16u);
  while (m3net_board_time_us() < until_us) {
  }
  PORT->BSRR = 1u << PIN;
  return M3NET_OK;
}
