// SPDX-License-Identifier: Apache-2.0
// The independent watchdog of STM32 chips, at BOARD_WATCHDOG_BASE. It has its
// own clock of about 32 kHz and cannot be stopped once it runs.

#include "board.h"
#include "cortex_m.h"

typedef struct {
  volatile uint32_t key;
  volatile uint32_t prescaler;  // divides by 4 << value
  volatile uint32_t reload;
  volatile uint32_t status;
} stm32_watchdog;

#define WATCHDOG ((stm32_watchdog*)BOARD_WATCHDOG_BASE)

#define TICKS_A_MS 32u
#define KEY_START 0xCCCCu
#define KEY_WRITE 0x5555u
#define KEY_FEED 0xAAAAu
#define PRESCALER_MAX 6u
#define RELOAD_MAX 0xFFFu

void m3net_board_watchdog_start(uint32_t timeout_ms) {
  const uint64_t ticks = (uint64_t)timeout_ms * TICKS_A_MS;
  uint32_t prescaler = 0;
  while (prescaler < PRESCALER_MAX && (ticks >> (2u + prescaler)) > RELOAD_MAX) ++prescaler;
  const uint64_t reload = ticks >> (2u + prescaler);
  WATCHDOG->key = KEY_START;
  WATCHDOG->key = KEY_WRITE;
  WATCHDOG->prescaler = prescaler;
  WATCHDOG->reload = reload > RELOAD_MAX ? RELOAD_MAX : (uint32_t)reload;
  (void)m3net_wait_for(&WATCHDOG->status, 3u,
                       0u);  // both values have reached the slow clock domain
  WATCHDOG->key = KEY_FEED;
}

void m3net_board_watchdog_feed(void) { WATCHDOG->key = KEY_FEED; }
