// SPDX-License-Identifier: Apache-2.0
// MPS3 with the AN547 image: Cortex-M55 at 32 MHz in an SSE-300. QEMU runs it as machine
// mps3-an547. The firmware stays in the secure state, so all addresses are the secure ones.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#define BOARD_NAME "mps3_an547"
#define BOARD_CPU_CORE "cortex-m55"
#define BOARD_CLOCK_HZ 32000000u

// CMSDK UART 0; the manual gives its receive interrupt the number 33, QEMU 34.
#define BOARD_UART_BASE 0x59303000u
#define BOARD_UART_RX_INTERRUPT 33
#define BOARD_UART_RX_INTERRUPT_QEMU 34
#define BOARD_UART_CLOCK_HZ 25000000u
#define BOARD_UART_BAUD 115200u

// The watchdog of the 32 kHz domain.
#define BOARD_WATCHDOG_BASE 0x5802E000u
#define BOARD_WATCHDOG_HZ 32768u

// The 64-bit system counter: control and status frame.
#define BOARD_COUNTER_CONTROL_BASE 0x58100000u
#define BOARD_COUNTER_BASE 0x58101000u

// 16 MB of DDR hold the job image.
#define BOARD_JOB_ADDRESS 0x70000000u
#define BOARD_JOB_CAPACITY_BYTES 0x01000000u

// Under `-icount shift=0` QEMU takes one nanosecond for each instruction, and the counter runs at
// 32 MHz: 125 instructions in 4 ticks. The board itself counts 1 clock cycle a tick.
#define BOARD_COUNTER_UNIT "instructions"
#define BOARD_COUNTER_UNITS 125u
#define BOARD_COUNTER_TICKS 4u

#endif  // M3NET_BOARD_H_
