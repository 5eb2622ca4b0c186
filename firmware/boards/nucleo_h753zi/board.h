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
#define BOARD_TIMESTAMP_PORT GPIOG
#define BOARD_WATCHDOG_BASE IWDG1_BASE

/// Widths of DMA transfers.
typedef enum { BOARD_DMA_16_BITS = 1, BOARD_DMA_32_BITS = 2 } board_dma_width;

/// Lets DMA 1, stream 0 fill a buffer over and over and raise an interrupt at each half.
void board_dma_start(uint32_t request, const volatile void* from, volatile void* buffer,
                     uint32_t count, board_dma_width width);

/// Stops the DMA.
void board_dma_stop(void);

/// Called when half 0 or 1 of the buffer is full; defined by the microphone.
void board_microphone_half(uint32_t half);

#endif  // M3NET_BOARD_H_
