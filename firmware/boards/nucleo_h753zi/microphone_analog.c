// SPDX-License-Identifier: Apache-2.0
// An analog microphone on ADC 1: timer 6 starts each conversion, the DMA fetches it, the interrupt
// removes the offset.

#include "board.h"
#include "cortex_m.h"
#include "ping_pong.h"
#include "platform.h"
#include "stm32.h"

#define SAMPLES 64u  // in a half of the DMA's buffer
#define TIMER_CLOCK_HZ (2u * BOARD_BUS_HZ)
#define TRIGGER_TIMER_6 13u
#define CLOCK_FROM_PER 2u  // the internal 64 MHz
#define DIVIDE_BY_4 2u     // of the ADC's clock
#define SAMPLE_64_CYCLES 5u
#define CIRCULAR_DMA 3u
#define MIDDLE 32768.0f
#define DC_POLE 0.992f

__attribute__((section(".dma"))) static volatile uint16_t raw[2u * SAMPLES];
static m3net_ping_pong output;
static float dc_input, dc_output;

static m3net_status start_adc(void) {
  RCC->D3CCIPR = (RCC->D3CCIPR & ~RCC_D3CCIPR_ADCSEL) | (CLOCK_FROM_PER << RCC_D3CCIPR_ADCSEL_Pos);
  RCC->AHB1ENR |= RCC_AHB1ENR_ADC12EN;
  (void)RCC->AHB1ENR;
  ADC12_COMMON->CCR = DIVIDE_BY_4 << ADC_CCR_PRESC_Pos;
  ADC1->CR &= ~ADC_CR_DEEPPWD;
  ADC1->CR |= ADC_CR_ADVREGEN | ADC_CR_BOOST_1;
  if (!m3net_wait_for(&ADC1->ISR, ADC_ISR_LDORDY, ADC_ISR_LDORDY)) return M3NET_ERROR_HARDWARE;
  ADC1->CR |= ADC_CR_ADCAL | ADC_CR_ADCALLIN;
  if (!m3net_wait_for(&ADC1->CR, ADC_CR_ADCAL, 0u)) return M3NET_ERROR_HARDWARE;
  ADC1->ISR = ADC_ISR_ADRDY;
  ADC1->CR |= ADC_CR_ADEN;
  if (!m3net_wait_for(&ADC1->ISR, ADC_ISR_ADRDY, ADC_ISR_ADRDY)) return M3NET_ERROR_HARDWARE;
  ADC1->PCSEL = 1u << BOARD_ANALOG_CHANNEL;
  ADC1->SMPR2 = SAMPLE_64_CYCLES << (3u * (BOARD_ANALOG_CHANNEL - 10u));
  ADC1->SQR1 = BOARD_ANALOG_CHANNEL << ADC_SQR1_SQ1_Pos;
  ADC1->CFGR = (CIRCULAR_DMA << ADC_CFGR_DMNGT_Pos) | (TRIGGER_TIMER_6 << ADC_CFGR_EXTSEL_Pos) |
               ADC_CFGR_EXTEN_0 | ADC_CFGR_OVRMOD;
  return M3NET_OK;
}

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  if (sample_rate_hz < 4000u || sample_rate_hz > 48000u || half_samples == 0u ||
      TIMER_CLOCK_HZ % sample_rate_hz != 0u) {
    return M3NET_ERROR_UNSUPPORTED;
  }
  m3net_board_audio_stop();
  RCC->AHB4ENR |= RCC_AHB4ENR_GPIOAEN;
  RCC->APB1LENR |= RCC_APB1LENR_TIM6EN;
  (void)RCC->APB1LENR;
  GPIOA->MODER |= 3u << (2u * BOARD_ANALOG_PIN);
  const m3net_status status = start_adc();
  if (status != M3NET_OK) return status;
  dc_input = 0.0f;
  dc_output = 0.0f;
  m3net_ping_pong_start(&output, ping_pong, half_samples, half_ready, context);
  m3net_stm32_dma_start(BOARD_DMA_REQUEST_ADC1, &ADC1->DR, raw, 2u * SAMPLES,
                        M3NET_STM32_DMA_16_BITS);
  ADC1->CR |= ADC_CR_ADSTART;
  TIM6->ARR = TIMER_CLOCK_HZ / sample_rate_hz - 1u;
  TIM6->CR2 = TIM_CR2_MMS_1;  // each overflow is a trigger
  TIM6->CR1 = TIM_CR1_CEN;
  return M3NET_OK;
}

void m3net_board_audio_stop(void) {
  RCC->APB1LENR |= RCC_APB1LENR_TIM6EN;
  RCC->AHB1ENR |= RCC_AHB1ENR_ADC12EN;
  (void)RCC->AHB1ENR;
  TIM6->CR1 = 0;
  if (ADC1->CR & ADC_CR_ADSTART) {
    ADC1->CR |= ADC_CR_ADSTP;
    (void)m3net_wait_for(&ADC1->CR, ADC_CR_ADSTP, 0u);
  }
  m3net_stm32_dma_stop();
  if (ADC1->CR & ADC_CR_ADEN) {
    ADC1->CR |= ADC_CR_ADDIS;
    (void)m3net_wait_for(&ADC1->CR, ADC_CR_ADEN, 0u);
  }
  ADC1->CR = ADC_CR_DEEPPWD;
  RCC->AHB1ENR &= ~RCC_AHB1ENR_ADC12EN;
}

void m3net_stm32_microphone_half(uint32_t half) {
  int16_t samples[SAMPLES];
  for (uint32_t i = 0; i < SAMPLES; ++i) {
    const float input = ((float)raw[half * SAMPLES + i] - MIDDLE) * BOARD_ANALOG_GAIN;
    dc_output = input - dc_input + DC_POLE * dc_output;
    dc_input = input;
    const float limited = dc_output > 32767.0f    ? 32767.0f
                          : dc_output < -32768.0f ? -32768.0f
                                                  : dc_output;
    samples[i] = (int16_t)limited;
  }
  m3net_ping_pong_put(&output, samples, SAMPLES);
}
