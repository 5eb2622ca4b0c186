// SPDX-License-Identifier: Apache-2.0
// MPS2 with the AN385 image: Cortex-M3 at 25 MHz. QEMU runs it as machine mps2-an385.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#define BOARD_NAME "mps2_an385"
#define BOARD_CPU_CORE "cortex-m3"
#define BOARD_CLOCK_HZ 25000000u

// CMSDK APB UART 0, timers 0 and 1 and watchdog; the LEDs of the FPGA's I/O block.
#define BOARD_UART_BASE 0x40004000u
#define BOARD_UART_RX_INTERRUPT 0
#define BOARD_UART_CLOCK_HZ BOARD_CLOCK_HZ
#define BOARD_UART_BAUD 115200u
#define BOARD_TIMER_BASE 0x40000000u
#define BOARD_AUDIO_TIMER_BASE 0x40001000u
#define BOARD_AUDIO_TIMER_INTERRUPT 9
#define BOARD_WATCHDOG_BASE 0x40008000u
#define BOARD_WATCHDOG_HZ BOARD_CLOCK_HZ
#define BOARD_FPGAIO_BASE 0x40028000u

// LED 0 is the energy meter's pin.
#define BOARD_PIN_LOW_US 100u

// 16 MB of PSRAM hold the job image.
#define BOARD_JOB_ADDRESS 0x21000000u
#define BOARD_JOB_CAPACITY_BYTES 0x01000000u

// Under `-icount shift=0` QEMU takes one nanosecond for each instruction, and the timer runs at
// 25 MHz: 40 instructions a tick. The board itself counts 1 clock cycle a tick.
#define BOARD_COUNTER_UNIT "instructions"
#define BOARD_COUNTER_SCALE 40u

#endif  // M3NET_BOARD_H_
