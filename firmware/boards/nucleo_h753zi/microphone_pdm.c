// SPDX-License-Identifier: Apache-2.0
// A PDM microphone on DFSDM 1: its filter is the CIC of drivers/pdm.h, whose second stage follows
// in the interrupt. 49.152 MHz / 48 are 1.024 MHz, 64 bits per sample.

#include "board.h"
#include "cortex_m.h"
#include "pdm.h"
#include "ping_pong.h"
#include "platform.h"
#include "stm32.h"

#define FUNCTION_DFSDM1 3u
#define CHANNEL 3u
#define CLOCK_DIVIDER 48u

#define BLOCKS 4u  // in a half of the DMA's buffer: 4 ms
#define HALF_VALUES (BLOCKS * M3NET_PDM_BLOCK_VALUES)

__attribute__((section(".dma"))) static volatile int32_t raw[2u * HALF_VALUES];
static m3net_pdm pdm;
static m3net_ping_pong output;

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  if (sample_rate_hz != BOARD_MICROPHONE_RATE_HZ || half_samples == 0u) {
    return M3NET_ERROR_UNSUPPORTED;
  }
  m3net_board_audio_stop();
  const m3net_status status = m3net_pdm_init(&pdm, &m3net_pdm_default_filter, BOARD_PDM_GAIN);
  if (status != M3NET_OK) return status;
  m3net_ping_pong_start(&output, ping_pong, half_samples, half_ready, context);

  RCC->AHB4ENR |= RCC_AHB4ENR_GPIOEEN;
  RCC->D2CCIP1R = (RCC->D2CCIP1R & ~RCC_D2CCIP1R_SAI1SEL) | RCC_D2CCIP1R_SAI1SEL_0;  // PLL 2
  RCC->APB2ENR |= RCC_APB2ENR_DFSDM1EN;
  (void)RCC->APB2ENR;
  m3net_stm32_pin_function(GPIOE, BOARD_PDM_CLOCK_PIN, FUNCTION_DFSDM1);
  m3net_stm32_pin_function(GPIOE, BOARD_PDM_DATA_PIN, FUNCTION_DFSDM1);
  m3net_stm32_dma_start(BOARD_DMA_REQUEST_DFSDM1, &DFSDM1_Filter0->FLTRDATAR, raw, 2u * HALF_VALUES,
                        M3NET_STM32_DMA_32_BITS);

  // Bits on the rising edge of the chip's own clock, no offset, no shift.
  DFSDM1_Channel3->CHCFGR1 = DFSDM_CHCFGR1_SPICKSEL_0;
  DFSDM1_Channel3->CHCFGR2 = 0;
  DFSDM1_Channel3->CHCFGR1 |= DFSDM_CHCFGR1_CHEN;
  DFSDM1_Channel0->CHCFGR1 =
      DFSDM_CHCFGR1_CKOUTSRC | ((CLOCK_DIVIDER - 1u) << DFSDM_CHCFGR1_CKOUTDIV_Pos);
  DFSDM1_Channel0->CHCFGR1 |= DFSDM_CHCFGR1_DFSDMEN;
  DFSDM1_Filter0->FLTFCR = (M3NET_PDM_CIC_ORDER << DFSDM_FLTFCR_FORD_Pos) |
                           ((M3NET_PDM_CIC_FACTOR - 1u) << DFSDM_FLTFCR_FOSR_Pos);
  DFSDM1_Filter0->FLTCR1 =
      (CHANNEL << DFSDM_FLTCR1_RCH_Pos) | DFSDM_FLTCR1_RCONT | DFSDM_FLTCR1_RDMAEN;
  DFSDM1_Filter0->FLTCR1 |= DFSDM_FLTCR1_DFEN;
  DFSDM1_Filter0->FLTCR1 |= DFSDM_FLTCR1_RSWSTART;
  return M3NET_OK;
}

// Without a clock the microphone sleeps.
void m3net_board_audio_stop(void) {
  RCC->APB2ENR |= RCC_APB2ENR_DFSDM1EN;
  (void)RCC->APB2ENR;
  DFSDM1_Filter0->FLTCR1 &= ~DFSDM_FLTCR1_DFEN;
  DFSDM1_Channel0->CHCFGR1 &= ~DFSDM_CHCFGR1_DFSDMEN;
  DFSDM1_Channel3->CHCFGR1 = 0;
  m3net_stm32_dma_stop();
  RCC->APB2ENR &= ~RCC_APB2ENR_DFSDM1EN;
}

void m3net_stm32_microphone_half(uint32_t half) {
  const volatile int32_t* from = &raw[half * HALF_VALUES];
  for (uint32_t block = 0; block < BLOCKS; ++block) {
    int32_t values[M3NET_PDM_BLOCK_VALUES];
    int16_t samples[M3NET_PDM_BLOCK_SAMPLES];
    // The upper 24 bits; below them is the number of the channel.
    for (uint32_t i = 0; i < M3NET_PDM_BLOCK_VALUES; ++i) {
      values[i] = *from++ >> DFSDM_FLTRDATAR_RDATA_Pos;
    }
    m3net_pdm_run_values(&pdm, values, samples);
    m3net_ping_pong_put(&output, samples, M3NET_PDM_BLOCK_SAMPLES);
  }
}
