// SPDX-License-Identifier: Apache-2.0
// Declarations for the code of the NUCLEO-H753ZI; its facts are in board.toml.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdbool.h>
#include <stdint.h>

#include "board_config.h"
#include "stm32h753xx.h"

#define BOARD_UART USART3
#define BOARD_UART_INTERRUPT USART3_IRQn
#define BOARD_DMA_STREAM DMA1_Stream0
#define BOARD_DMA_INTERRUPT DMA1_Stream0_IRQn
#define BOARD_DMA_FLAGS_POSITION DMA_LISR_FEIF0_Pos
#define BOARD_DMA_REQUESTS DMAMUX1_Channel0
#define BOARD_TIMESTAMP_PORT GPIOG
#define BOARD_WATCHDOG_BASE IWDG1_BASE

#endif  // M3NET_BOARD_H_
