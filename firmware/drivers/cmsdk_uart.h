// SPDX-License-Identifier: Apache-2.0
// The UART of the CMSDK, which Arm's FPGA boards have, as the console: board.toml says where
// (BOARD_UART_BASE), at which clock (BOARD_UART_CLOCK_HZ) and speed (BOARD_UART_BAUD), and by which
// interrupt it receives (BOARD_UART_RX_INTERRUPT).
#ifndef M3NET_DRIVERS_CMSDK_UART_H_
#define M3NET_DRIVERS_CMSDK_UART_H_

/// Starts the UART.
void m3net_cmsdk_uart_start(void);

/// Interrupt handler for the board's table.
void m3net_cmsdk_uart_received(void);

#endif  // M3NET_DRIVERS_CMSDK_UART_H_
