// SPDX-License-Identifier: Apache-2.0
// nRF52840 DK (PCA10056): Cortex-M4F at 64 MHz, crystal of 32 MHz.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "nrf52840.h"
#include "nrf52840_bitfields.h"

#define BOARD_NAME "nrf52840dk"
#define BOARD_CPU_CORE "cortex-m4f"
#define BOARD_CLOCK_HZ 64000000u

// The console: UARTE 0, P0.06 out, P0.08 in, which is the serial port of the debugger.
#define BOARD_UART_BAUD 115200u
#define BOARD_UART_TX_PIN 6u
#define BOARD_UART_RX_PIN 8u

// The energy meter's pin: P0.03, A0 of the Arduino header.
#define BOARD_TIMESTAMP_PIN 3u
#define BOARD_PIN_LOW_US 100u

// A PDM microphone: clock P0.30 (A4), bits P0.31 (A5).
#define BOARD_MICROPHONE_CLOCK_PIN 30u
#define BOARD_MICROPHONE_DATA_PIN 31u
#define BOARD_MICROPHONE_GAIN_HALF_DB 36u

// The last 64 KB of RAM hold the job image: one clip of a second and more.
#define BOARD_JOB_ADDRESS 0x20030000u
#define BOARD_JOB_CAPACITY_BYTES 0x00010000u

/// Served in microphone.c.
void board_microphone_interrupt(void);

#endif  // M3NET_BOARD_H_
