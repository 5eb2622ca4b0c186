// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include "platform.h"

typedef struct {
  volatile uint32_t data;
  volatile uint32_t state;
  volatile uint32_t control;
  volatile uint32_t interrupt;
  volatile uint32_t baud_divider;
} cmsdk_uart;

typedef struct {
  volatile uint32_t control;
  volatile uint32_t value;
  volatile uint32_t reload;
  volatile uint32_t interrupt;
} cmsdk_timer;

#define UART ((cmsdk_uart*)BOARD_UART_BASE)
#define TIMER ((cmsdk_timer*)BOARD_TIMER_BASE)

#define UART_STATE_TX_FULL 1u
#define UART_CONTROL_TX_ON 1u
#define TIMER_CONTROL_ON 1u
#define TIMER_START 0xFFFFFFFFu

const m3net_board m3net_board_info = {
    .name = BOARD_NAME,
    .counter_unit = BOARD_COUNTER_UNIT,
    .counter_scale = BOARD_COUNTER_SCALE,
    .job = (const uint8_t*)BOARD_JOB_ADDRESS,
    .job_capacity_bytes = BOARD_JOB_CAPACITY_BYTES,
};

void m3net_board_init(void) {
  UART->baud_divider = BOARD_CLOCK_HZ / BOARD_UART_BAUD;
  UART->control = UART_CONTROL_TX_ON;
  TIMER->control = 0;
  TIMER->reload = TIMER_START;
  TIMER->value = TIMER_START;
  TIMER->control = TIMER_CONTROL_ON;
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (UART->state & UART_STATE_TX_FULL) {
    }
    UART->data = (uint8_t)bytes[i];
  }
}

uint32_t m3net_board_counter(void) { return TIMER_START - TIMER->value; }
