// SPDX-License-Identifier: Apache-2.0
// Time, and the causes of resets, for STM32 boards with a microphone.

#include "stm32.h"

#include "cortex_m.h"
#include "platform.h"

#ifdef RCC_RSR_RMVF  // STM32H7
#define RESET_FLAGS (RCC->RSR)
#define CLEAR_FLAGS RCC_RSR_RMVF
#define BY_POWER (RCC_RSR_PORRSTF | RCC_RSR_BORRSTF)
#define BY_WATCHDOG (RCC_RSR_IWDG1RSTF | RCC_RSR_WWDG1RSTF)
#define BY_SOFTWARE RCC_RSR_SFTRSTF
#define BY_PIN RCC_RSR_PINRSTF
#else  // STM32F4
#define RESET_FLAGS (RCC->CSR)
#define CLEAR_FLAGS RCC_CSR_RMVF
#define BY_POWER (RCC_CSR_PORRSTF | RCC_CSR_BORRSTF)
#define BY_WATCHDOG (RCC_CSR_IWDGRSTF | RCC_CSR_WWDGRSTF)
#define BY_SOFTWARE RCC_CSR_SFTRSTF
#define BY_PIN RCC_CSR_PINRSTF
#endif

// Every reset sets the pin's flag too, so that flag is tested last.
static m3net_reset_reason reason_of(uint32_t flags, m3net_reset_reason noted) {
  if (flags & BY_POWER) return M3NET_RESET_POWER;
  if (noted != M3NET_RESET_UNKNOWN) return noted;
  if (flags & BY_WATCHDOG) return M3NET_RESET_WATCHDOG;
  if (flags & BY_SOFTWARE) return M3NET_RESET_SOFTWARE;
  return flags & BY_PIN ? M3NET_RESET_PIN : M3NET_RESET_UNKNOWN;
}

void m3net_stm32_reset_read(void) {
  const uint32_t flags = RESET_FLAGS;
  const m3net_reset_reason noted = m3net_reset_take_note();
  RESET_FLAGS |= CLEAR_FLAGS;
  m3net_reset_keep(reason_of(flags, noted));
}

uint32_t m3net_board_counter(void) { return m3net_cycles(); }

uint64_t m3net_board_time_us(void) { return m3net_systick_time_us(); }
