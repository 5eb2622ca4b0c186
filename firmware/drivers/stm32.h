// SPDX-License-Identifier: Apache-2.0
// Drivers of STM32 boards. The board's board.h includes the chip's registers and says which port is
// the console (BOARD_UART, BOARD_UART_INTERRUPT), which stream of DMA 1 is the microphone's
// (BOARD_DMA_STREAM, BOARD_DMA_INTERRUPT, BOARD_DMA_FLAGS_POSITION, with a DMAMUX also
// BOARD_DMA_REQUESTS), which pin is the energy meter's (BOARD_TIMESTAMP_PORT) and where the
// watchdog is (BOARD_WATCHDOG_BASE).
#ifndef M3NET_DRIVERS_STM32_H_
#define M3NET_DRIVERS_STM32_H_

#include "board.h"

/// Makes a pin of a port an alternate function.
void m3net_stm32_pin_function(GPIO_TypeDef* port, uint32_t pin, uint32_t function);

/// Starts the console, once its clock and pins are on.
/// @param clock_hz of the bus that feeds it.
void m3net_stm32_uart_start(uint32_t clock_hz);

/// Interrupt handler for the board's table.
void m3net_stm32_uart_received(void);

/// Widths of DMA transfers.
typedef enum { M3NET_STM32_DMA_16_BITS = 1, M3NET_STM32_DMA_32_BITS = 2 } m3net_stm32_dma_width;

/// Lets the microphone's DMA fill a buffer over and over and raise an interrupt at each half.
/// @param request the channel of the stream, or the request's number in the DMAMUX.
/// @param count of transfers, of both halves.
void m3net_stm32_dma_start(uint32_t request, const volatile void* from, volatile void* buffer,
                           uint32_t count, m3net_stm32_dma_width width);

/// Stops the DMA.
void m3net_stm32_dma_stop(void);

/// Interrupt handler for the board's table.
void m3net_stm32_dma_half(void);

/// Called when half 0 or 1 of the buffer is full; the microphone defines it.
void m3net_stm32_microphone_half(uint32_t half);

/// Reads the cause of the last reset; once, at start.
void m3net_stm32_reset_read(void);

/// Raises the energy meter's pin, once the clock of its port is on.
void m3net_stm32_timestamp_start(void);

#endif  // M3NET_DRIVERS_STM32_H_
