// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include "cortex_m.h"
#include "platform.h"
#include "stm32.h"

#define FUNCTION_USART2 7u

const m3net_vector m3net_board_interrupts[] = {
    [DMA1_Stream3_IRQn] = m3net_stm32_dma_half,
    [USART2_IRQn] = m3net_stm32_uart_received,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

// 168 MHz from the crystal: 8 MHz / 8 * 336 / 2; APB1 at 42 MHz, APB2 at 84 MHz. Returns what
// failed, with the chip still on its internal oscillator, or null.
static const char* start_clocks(void) {
  RCC->APB1ENR |= RCC_APB1ENR_PWREN;
  PWR->CR |= PWR_CR_VOS;
  RCC->CR |= RCC_CR_HSEON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) return "the crystal does not start;";
  RCC->PLLCFGR = (BOARD_CRYSTAL_MHZ << RCC_PLLCFGR_PLLM_Pos) | (336u << RCC_PLLCFGR_PLLN_Pos) |
                 (0u << RCC_PLLCFGR_PLLP_Pos) | (7u << RCC_PLLCFGR_PLLQ_Pos) |
                 RCC_PLLCFGR_PLLSRC_HSE;
  RCC->CR |= RCC_CR_PLLON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) return "the PLL does not lock;";
  FLASH->ACR = FLASH_ACR_LATENCY_5WS | FLASH_ACR_PRFTEN | FLASH_ACR_ICEN | FLASH_ACR_DCEN;
  RCC->CFGR = RCC_CFGR_PPRE1_DIV4 | RCC_CFGR_PPRE2_DIV2;
  RCC->CFGR |= RCC_CFGR_SW_PLL;
  if (!m3net_wait_for(&RCC->CFGR, RCC_CFGR_SWS, RCC_CFGR_SWS_PLL)) {
    return "the clock does not change over to the PLL;";
  }
  return NULL;
}

static void start_uart(uint32_t clock_hz) {
  RCC->AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
  RCC->APB1ENR |= RCC_APB1ENR_USART2EN;
  m3net_stm32_pin_function(GPIOA, BOARD_UART_TX_PIN, FUNCTION_USART2);
  m3net_stm32_pin_function(GPIOA, BOARD_UART_RX_PIN, FUNCTION_USART2);
  m3net_stm32_uart_start(clock_hz);
}

static void start_timestamp_pin(void) {
  RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
  m3net_stm32_timestamp_start();
}

void m3net_board_init(void) {
  m3net_stm32_reset_read();
  const char* failed = start_clocks();
  start_uart(failed ? BOARD_HSI_HZ : BOARD_CLOCK_HZ / 4u);
  if (failed) m3net_platform_panic("clock", failed, RCC->CR);
  start_timestamp_pin();
  m3net_systick_start(BOARD_CLOCK_HZ);
  m3net_cycles_start();
}
