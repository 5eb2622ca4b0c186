// SPDX-License-Identifier: Apache-2.0
// Declarations for the code of the STM32F4DISCOVERY; its facts are in board.toml.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "board_config.h"
#include "stm32f407xx.h"

#define BOARD_UART USART2
#define BOARD_UART_INTERRUPT USART2_IRQn
#define BOARD_TIMESTAMP_PORT GPIOB
#define BOARD_WATCHDOG_BASE IWDG_BASE

/// Defined in microphone.c.
void board_microphone_interrupt(void);

#endif  // M3NET_BOARD_H_
