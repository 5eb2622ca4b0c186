// SPDX-License-Identifier: Apache-2.0
// What the code of the STM32F4DISCOVERY shares; its facts are in board.toml.
#ifndef M3NET_BOARD_H_
#define M3NET_BOARD_H_

#include <stdint.h>

#include "board_config.h"
#include "stm32f407xx.h"

#define BOARD_WATCHDOG_BASE IWDG_BASE

/// Served in microphone.c.
void board_microphone_interrupt(void);

/// Makes pins of a port an alternate function.
void board_pin_function(GPIO_TypeDef* port, uint32_t pin, uint32_t function);

#endif  // M3NET_BOARD_H_
