// SPDX-License-Identifier: Apache-2.0
// Drivers of STM32 boards. The board's board.h includes the chip's registers and says which port is
// the console (BOARD_UART, BOARD_UART_INTERRUPT), which pin is the energy meter's
// (BOARD_TIMESTAMP_PORT) and where the watchdog is (BOARD_WATCHDOG_BASE).
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

/// Reads the cause of the last reset; once, at start.
void m3net_stm32_reset_read(void);

/// Raises the energy meter's pin, once the clock of its port is on.
void m3net_stm32_timestamp_start(void);

#endif  // M3NET_DRIVERS_STM32_H_
