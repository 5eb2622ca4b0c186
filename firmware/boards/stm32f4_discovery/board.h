// SPDX-License-Identifier: Apache-2.0
// Declarations for the code of the STM32F4DISCOVERY; its facts are in board.toml.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "board_config.h"
#include "stm32f407xx.h"

#define BOARD_UART USART2
#define BOARD_UART_INTERRUPT USART2_IRQn
#define BOARD_DMA_STREAM DMA1_Stream3
#define BOARD_DMA_INTERRUPT DMA1_Stream3_IRQn
#define BOARD_DMA_FLAGS_POSITION DMA_LISR_FEIF3_Pos
#define BOARD_TIMESTAMP_PORT GPIOB
#define BOARD_WATCHDOG_BASE IWDG_BASE

#endif  // M3NET_BOARD_H_
