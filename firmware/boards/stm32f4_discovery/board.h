// SPDX-License-Identifier: Apache-2.0
// STM32F4DISCOVERY: STM32F407VG (Cortex-M4F), crystal of 8 MHz, MP45DT02 microphone.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "stm32f407xx.h"

#define BOARD_NAME "stm32f4_discovery"
#define BOARD_CPU_CORE "cortex-m4f"
#define BOARD_CLOCK_HZ 168000000u
#define BOARD_HSI_HZ 16000000u  // until the crystal runs
#define BOARD_CRYSTAL_MHZ 8u

// The console: USART2, PA2 out, PA3 in. The board's ST-LINK has no port for it: a USB-serial
// adapter does.
#define BOARD_UART_BAUD 115200u
#define BOARD_UART_TX_PIN 2u
#define BOARD_UART_RX_PIN 3u

// The energy meter's pin: PB0.
#define BOARD_TIMESTAMP_PIN 0u
#define BOARD_PIN_LOW_US 100u

// The microphone: clock PB10, bits PC3, read as I2S2 by DMA 1, stream 3, channel 0.
#define BOARD_MICROPHONE_CLOCK_PIN 10u
#define BOARD_MICROPHONE_DATA_PIN 3u
#define BOARD_MICROPHONE_GAIN 8.0f

#define BOARD_WATCHDOG_BASE IWDG_BASE

// The core-coupled memory holds the job image: one clip of a second and more.
#define BOARD_JOB_ADDRESS 0x10000000u
#define BOARD_JOB_CAPACITY_BYTES 0x00010000u

/// Served in microphone.c.
void board_microphone_interrupt(void);

/// Makes pins of a port an alternate function.
void board_pin_function(GPIO_TypeDef* port, uint32_t pin, uint32_t function);

#endif  // M3NET_BOARD_H_
