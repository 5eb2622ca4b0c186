// SPDX-License-Identifier: Apache-2.0
// A UART as the 16550, with registers of a byte, as the console: board.toml says where
// (BOARD_UART_BASE), at which clock (BOARD_UART_CLOCK_HZ) and speed (BOARD_UART_BAUD), and by which
// interrupt it receives (BOARD_UART_RX_INTERRUPT).
#ifndef M3NET_DRIVERS_NS16550_H_
#define M3NET_DRIVERS_NS16550_H_

/// Starts the UART.
void m3net_ns16550_start(void);

/// Interrupt handler for the board's table.
void m3net_ns16550_received(void);

#endif  // M3NET_DRIVERS_NS16550_H_
