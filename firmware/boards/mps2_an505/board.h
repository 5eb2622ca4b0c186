// SPDX-License-Identifier: Apache-2.0
// MPS2 with the AN505 image: Cortex-M33 at 20 MHz in an IoT Kit. QEMU runs it as machine
// mps2-an505. The firmware stays in the secure state, so all addresses are the secure ones.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#define BOARD_NAME "mps2_an505"
#define BOARD_CPU_CORE "cortex-m33"
#define BOARD_CLOCK_HZ 20000000u

// CMSDK APB UART 0; timers 0 and 1 and the secure watchdog of the IoT Kit; the LEDs of the FPGA's
// I/O block.
#define BOARD_UART_BASE 0x50200000u
#define BOARD_UART_RX_INTERRUPT 32
#define BOARD_UART_CLOCK_HZ BOARD_CLOCK_HZ
#define BOARD_UART_BAUD 115200u
#define BOARD_TIMER_BASE 0x50000000u
#define BOARD_AUDIO_TIMER_BASE 0x50001000u
#define BOARD_AUDIO_TIMER_INTERRUPT 4
#define BOARD_WATCHDOG_BASE 0x50081000u
#define BOARD_WATCHDOG_HZ BOARD_CLOCK_HZ
#define BOARD_FPGAIO_BASE 0x50302000u

// LED 0 is the energy meter's pin.
#define BOARD_PIN_LOW_US 100u

// 16 MB of PSRAM hold the job image.
#define BOARD_JOB_ADDRESS 0x80000000u
#define BOARD_JOB_CAPACITY_BYTES 0x01000000u

// Under `-icount shift=0` QEMU takes one nanosecond for each instruction, and the timer runs at
// 20 MHz: 50 instructions a tick. The board itself counts 1 clock cycle a tick.
#define BOARD_COUNTER_UNIT "instructions"
#define BOARD_COUNTER_SCALE 50u

#endif  // M3NET_BOARD_H_
