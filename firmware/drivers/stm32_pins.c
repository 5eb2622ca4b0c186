// SPDX-License-Identifier: Apache-2.0
// Pins of STM32 chips. Their ports are the same in all families.

#include "stm32.h"

#define PIN_ALTERNATE 2u
#define PIN_FAST 2u

void m3net_stm32_pin_function(GPIO_TypeDef* port, uint32_t pin, uint32_t function) {
  const uint32_t shift = 4u * (pin % 8u);
  port->AFR[pin / 8u] = (port->AFR[pin / 8u] & ~(15u << shift)) | (function << shift);
  port->OSPEEDR = (port->OSPEEDR & ~(3u << (2u * pin))) | (PIN_FAST << (2u * pin));
  port->MODER = (port->MODER & ~(3u << (2u * pin))) | (PIN_ALTERNATE << (2u * pin));
}
