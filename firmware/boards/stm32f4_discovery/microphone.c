// SPDX-License-Identifier: Apache-2.0
// The MP45DT02: I2S2 as master clocks it and receives its bits, 16 per word; DMA 1 fills two blocks
// in turn, and the interrupt converts one to samples while the other one fills.

#include "board.h"
#include "cortex_m.h"
#include "pdm.h"
#include "ping_pong.h"
#include "platform.h"
#include "stm32.h"

#define FUNCTION_SPI2 5u
#define DMA_CHANNEL_SPI2_RX 0u
#define BLOCKS 4u  // of m3net_pdm_run() in a half of the DMA's buffer: 4 ms
#define HALF_WORDS (BLOCKS * M3NET_PDM_BLOCK_WORDS)

// 64 bits per sample are 1.024 MHz: 1 MHz * 256 / 2 / (2 * 62 + 1), exactly.
#define PLL_MULTIPLIER 256u
#define PLL_DIVIDER 2u
#define I2S_DIVIDER 62u

static uint16_t bits[2u * HALF_WORDS];
static m3net_pdm pdm;
static m3net_ping_pong output;

static bool start_i2s_clock(void) {
  RCC->CR &= ~RCC_CR_PLLI2SON;
  RCC->PLLI2SCFGR =
      (PLL_MULTIPLIER << RCC_PLLI2SCFGR_PLLI2SN_Pos) | (PLL_DIVIDER << RCC_PLLI2SCFGR_PLLI2SR_Pos);
  RCC->CR |= RCC_CR_PLLI2SON;
  return m3net_wait_for(&RCC->CR, RCC_CR_PLLI2SRDY, RCC_CR_PLLI2SRDY);
}

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  if (sample_rate_hz != BOARD_MICROPHONE_RATE_HZ || half_samples == 0u) {
    return M3NET_ERROR_UNSUPPORTED;
  }
  m3net_board_audio_stop();
  const m3net_status status =
      m3net_pdm_init(&pdm, &m3net_pdm_default_filter, BOARD_MICROPHONE_GAIN);
  if (status != M3NET_OK) return status;
  if (!start_i2s_clock()) return M3NET_ERROR_HARDWARE;
  m3net_ping_pong_start(&output, ping_pong, half_samples, half_ready, context);

  RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN | RCC_AHB1ENR_GPIOCEN;
  RCC->APB1ENR |= RCC_APB1ENR_SPI2EN;
  m3net_stm32_pin_function(GPIOB, BOARD_MICROPHONE_CLOCK_PIN, FUNCTION_SPI2);
  m3net_stm32_pin_function(GPIOC, BOARD_MICROPHONE_DATA_PIN, FUNCTION_SPI2);
  m3net_stm32_dma_start(DMA_CHANNEL_SPI2_RX, &SPI2->DR, bits, 2u * HALF_WORDS,
                        M3NET_STM32_DMA_16_BITS);

  // Master, receiving 16 of 16 bits; the microphone's bit is read where its clock rises.
  SPI2->I2SPR = SPI_I2SPR_ODD | I2S_DIVIDER;
  SPI2->CR2 = SPI_CR2_RXDMAEN;
  SPI2->I2SCFGR =
      SPI_I2SCFGR_I2SMOD | SPI_I2SCFGR_I2SCFG | SPI_I2SCFGR_I2SSTD_1 | SPI_I2SCFGR_CKPOL;
  SPI2->I2SCFGR |= SPI_I2SCFGR_I2SE;
  return M3NET_OK;
}

// Without a clock the microphone sleeps.
void m3net_board_audio_stop(void) {
  RCC->APB1ENR |= RCC_APB1ENR_SPI2EN;
  SPI2->I2SCFGR = 0;
  SPI2->CR2 = 0;
  m3net_stm32_dma_stop();
  RCC->APB1ENR &= ~RCC_APB1ENR_SPI2EN;
  RCC->CR &= ~RCC_CR_PLLI2SON;
}

void m3net_stm32_microphone_half(uint32_t half) {
  const uint16_t* words = &bits[half * HALF_WORDS];
  for (uint32_t block = 0; block < BLOCKS; ++block, words += M3NET_PDM_BLOCK_WORDS) {
    int16_t samples[M3NET_PDM_BLOCK_SAMPLES];
    m3net_pdm_run(&pdm, words, samples);
    m3net_ping_pong_put(&output, samples, M3NET_PDM_BLOCK_SAMPLES);
  }
}
