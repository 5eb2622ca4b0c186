// SPDX-License-Identifier: Apache-2.0
// NUCLEO-H753ZI: STM32H753ZI (Cortex-M7) at 400 MHz from the 8 MHz that the ST-LINK puts out.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdbool.h>
#include <stdint.h>

#include "stm32h753xx.h"

#define BOARD_NAME "nucleo_h753zi"
#define BOARD_CPU_CORE "cortex-m7"
#define BOARD_CLOCK_HZ 400000000u
#define BOARD_BUS_HZ 100000000u  // of APB1 and APB2
#define BOARD_HSI_HZ 64000000u   // until the PLL runs

// The console: USART3, PD8 out, PD9 in, which is the serial port of the ST-LINK.
#define BOARD_UART_BAUD 115200u
#define BOARD_UART_TX_PIN 8u
#define BOARD_UART_RX_PIN 9u

// The energy meter's pin: PG12, D7 of the Arduino header.
#define BOARD_TIMESTAMP_PIN 12u
#define BOARD_PIN_LOW_US 100u

// A PDM microphone: clock PE9 (D6), bits PE4, read by DFSDM 1.
#define BOARD_PDM_CLOCK_PIN 9u
#define BOARD_PDM_DATA_PIN 4u
#define BOARD_PDM_GAIN 8.0f

// An analog microphone with an amplifier, biased at half the supply: PA3 (A0), channel 15 of ADC 1.
#define BOARD_ANALOG_PIN 3u
#define BOARD_ANALOG_CHANNEL 15u
#define BOARD_ANALOG_GAIN 4.0f

#define BOARD_WATCHDOG_BASE IWDG1_BASE

#define BOARD_DMA_BASE 0x30000000u
#define BOARD_DMA_BYTES_LOG2 15u

#define BOARD_JOB_ADDRESS 0x24050000u
#define BOARD_JOB_CAPACITY_BYTES 0x00030000u

/// Requests that DMAMUX 1 knows by these numbers.
#define BOARD_DMA_REQUEST_ADC1 9u
#define BOARD_DMA_REQUEST_DFSDM1 101u

/// Widths of what the DMA moves.
typedef enum { BOARD_DMA_16_BITS = 1, BOARD_DMA_32_BITS = 2 } board_dma_width;

/// Makes a pin of a port an alternate function.
void board_pin_function(GPIO_TypeDef* port, uint32_t pin, uint32_t function);

/// Lets DMA 1, stream 0 fill a buffer over and over and raise an interrupt at each half.
void board_dma_start(uint32_t request, const volatile void* from, volatile void* buffer,
                     uint32_t count, board_dma_width width);

/// Stops it.
void board_dma_stop(void);

/// Served by the microphone: half 0 or 1 of the buffer is full.
void board_microphone_half(uint32_t half);

#endif  // M3NET_BOARD_H_
