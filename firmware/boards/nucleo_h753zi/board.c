// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include "cortex_m.h"
#include "platform.h"
#include "stm32.h"

#define FUNCTION_USART3 7u

const m3net_vector m3net_board_interrupts[] = {
    [DMA1_Stream0_IRQn] = m3net_stm32_dma_half,
    [USART3_IRQn] = m3net_stm32_uart_received,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

// 400 MHz: 8 MHz / 4 * 400 / 2; AXI and AHB at 200 MHz, APB at 100 MHz. PLL 2 makes 49.152 MHz for
// the microphone: 2 MHz * (196 + 4981 / 8192) / 8. Returns what failed, with the chip still on its
// internal oscillator, or null.
static const char* start_clocks(void) {
  // The supply must be chosen once, before the voltage; the second wait reports
  // a regulator that does not become ready.
  PWR->CR3 = (PWR->CR3 & ~PWR_CR3_BYPASS) | PWR_CR3_SCUEN | PWR_CR3_LDOEN;
  (void)m3net_wait_for(&PWR->CSR1, PWR_CSR1_ACTVOSRDY, PWR_CSR1_ACTVOSRDY);
  PWR->D3CR = PWR_D3CR_VOS_0 | PWR_D3CR_VOS_1;
  if (!m3net_wait_for(&PWR->D3CR, PWR_D3CR_VOSRDY, PWR_D3CR_VOSRDY)) {
    return "the core voltage is not reached;";
  }
  RCC->CR |= RCC_CR_HSEBYP;
  RCC->CR |= RCC_CR_HSEON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) return "the ST-LINK gives no clock;";
  RCC->PLLCKSELR =
      RCC_PLLCKSELR_PLLSRC_HSE | (4u << RCC_PLLCKSELR_DIVM1_Pos) | (4u << RCC_PLLCKSELR_DIVM2_Pos);
  RCC->PLL1DIVR = ((400u - 1u) << RCC_PLL1DIVR_N1_Pos) | ((2u - 1u) << RCC_PLL1DIVR_P1_Pos) |
                  ((8u - 1u) << RCC_PLL1DIVR_Q1_Pos) | ((2u - 1u) << RCC_PLL1DIVR_R1_Pos);
  RCC->PLL2DIVR = ((196u - 1u) << RCC_PLL2DIVR_N2_Pos) | ((8u - 1u) << RCC_PLL2DIVR_P2_Pos) |
                  ((8u - 1u) << RCC_PLL2DIVR_Q2_Pos) | ((8u - 1u) << RCC_PLL2DIVR_R2_Pos);
  RCC->PLL2FRACR = 4981u << RCC_PLL2FRACR_FRACN2_Pos;
  // References of 2 to 4 MHz, wide voltage-controlled oscillators; outputs P only.
  RCC->PLLCFGR = RCC_PLLCFGR_PLL1RGE_1 | RCC_PLLCFGR_PLL2RGE_1 | RCC_PLLCFGR_PLL2FRACEN |
                 RCC_PLLCFGR_DIVP1EN | RCC_PLLCFGR_DIVP2EN;
  RCC->CR |= RCC_CR_PLL1ON | RCC_CR_PLL2ON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_PLL1RDY, RCC_CR_PLL1RDY)) return "PLL 1 does not lock;";
  if (!m3net_wait_for(&RCC->CR, RCC_CR_PLL2RDY, RCC_CR_PLL2RDY)) return "PLL 2 does not lock;";
  FLASH->ACR = FLASH_ACR_LATENCY_2WS | FLASH_ACR_WRHIGHFREQ_1;
  RCC->D1CFGR = RCC_D1CFGR_HPRE_DIV2 | RCC_D1CFGR_D1PPRE_DIV2;
  RCC->D2CFGR = RCC_D2CFGR_D2PPRE1_DIV2 | RCC_D2CFGR_D2PPRE2_DIV2;
  RCC->D3CFGR = RCC_D3CFGR_D3PPRE_DIV2;
  RCC->CFGR |= RCC_CFGR_SW_PLL1;
  if (!m3net_wait_for(&RCC->CFGR, RCC_CFGR_SWS, RCC_CFGR_SWS_PLL1)) {
    return "the clock does not change over to the PLL;";
  }
  return NULL;
}

// The DMA's buffers are uncached; all other memory is cached.
static void start_caches(void) {
  RCC->AHB2ENR |= RCC_AHB2ENR_SRAM1EN;
  (void)RCC->AHB2ENR;
  m3net_mpu_uncached(BOARD_DMA_BASE, (uint32_t)__builtin_ctz(BOARD_DMA_BYTES));
  SCB_EnableICache();
  SCB_EnableDCache();
}

static void start_uart(uint32_t clock_hz) {
  RCC->AHB4ENR |= RCC_AHB4ENR_GPIODEN;
  RCC->APB1LENR |= RCC_APB1LENR_USART3EN;
  (void)RCC->APB1LENR;
  m3net_stm32_pin_function(GPIOD, BOARD_UART_TX_PIN, FUNCTION_USART3);
  m3net_stm32_pin_function(GPIOD, BOARD_UART_RX_PIN, FUNCTION_USART3);
  m3net_stm32_uart_start(clock_hz);
}

static void start_timestamp_pin(void) {
  RCC->AHB4ENR |= RCC_AHB4ENR_GPIOGEN;
  (void)RCC->AHB4ENR;
  m3net_stm32_timestamp_start();
}

void m3net_board_init(void) {
  m3net_stm32_reset_read();
  const char* failed = start_clocks();
  start_uart(failed ? BOARD_HSI_HZ : BOARD_BUS_HZ);
  if (failed) m3net_platform_panic("clock", failed, RCC->CR);
  start_caches();
  start_timestamp_pin();
  m3net_systick_start(BOARD_CLOCK_HZ);
  m3net_cycles_start();
}
