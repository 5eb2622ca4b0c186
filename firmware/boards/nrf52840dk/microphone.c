// SPDX-License-Identifier: Apache-2.0
// A PDM microphone: the chip converts its bits to samples, and EasyDMA writes them to the
// caller's buffer. 1.28 MHz at 80 bits per sample are exactly 16 kHz.

#include "board.h"
#include "cortex_m.h"
#include "platform.h"

#define PIN_OUTPUT 1u
#define MAX_SAMPLES 32767u
#define GAIN_0_DB 40u
#define ON_STARTED_AND_END (PDM_INTENSET_STARTED_Msk | PDM_INTENSET_END_Msk)

static struct {
  int16_t* halves;  // 2 * half_samples
  uint32_t half_samples;
  uint32_t started, ended;  // halves so far
  uint64_t last_end_us;
  m3net_half_ready half_ready;
  void* context;
} audio;
static volatile uint32_t overruns;

static int16_t* half(uint32_t number) { return audio.halves + (number & 1u) * audio.half_samples; }

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  if (sample_rate_hz != BOARD_MICROPHONE_RATE_HZ || half_samples == 0u ||
      half_samples > MAX_SAMPLES) {
    return M3NET_ERROR_UNSUPPORTED;
  }
  if (((uintptr_t)ping_pong | 2u * half_samples) % 4u != 0u) {
    return M3NET_ERROR_ARGUMENT;  // EasyDMA writes words
  }
  m3net_board_audio_stop();
  audio.halves = ping_pong;
  audio.half_samples = (uint32_t)half_samples;
  audio.started = 0;
  audio.ended = 0;
  audio.half_ready = half_ready;
  audio.context = context;

  NRF_P0->OUTCLR = 1u << BOARD_MICROPHONE_CLOCK_PIN;
  NRF_P0->PIN_CNF[BOARD_MICROPHONE_CLOCK_PIN] = PIN_OUTPUT;
  NRF_P0->PIN_CNF[BOARD_MICROPHONE_DATA_PIN] = 0;
  NRF_PDM->PSEL.CLK = BOARD_MICROPHONE_CLOCK_PIN;
  NRF_PDM->PSEL.DIN = BOARD_MICROPHONE_DATA_PIN;
  NRF_PDM->PDMCLKCTRL = PDM_PDMCLKCTRL_FREQ_1280K;
  NRF_PDM->RATIO = PDM_RATIO_RATIO_Ratio80;
  NRF_PDM->MODE = PDM_MODE_OPERATION_Mono;
  NRF_PDM->GAINL = GAIN_0_DB + BOARD_MICROPHONE_GAIN_HALF_DB;
  NRF_PDM->GAINR = GAIN_0_DB + BOARD_MICROPHONE_GAIN_HALF_DB;
  NRF_PDM->SAMPLE.PTR = (uint32_t)(uintptr_t)half(0);
  NRF_PDM->SAMPLE.MAXCNT = (uint32_t)half_samples;
  NRF_PDM->EVENTS_STARTED = 0;
  NRF_PDM->EVENTS_END = 0;
  NRF_PDM->INTENSET = ON_STARTED_AND_END;
  NRF_PDM->ENABLE = PDM_ENABLE_ENABLE_Enabled;
  audio.last_end_us = m3net_board_time_us();
  NRF_PDM->TASKS_START = 1;
  m3net_interrupt_enable(PDM_IRQn, 2);
  return M3NET_OK;
}

// Without a clock the microphone sleeps.
void m3net_board_audio_stop(void) {
  m3net_interrupt_disable(PDM_IRQn);
  if (!(NRF_PDM->ENABLE & PDM_ENABLE_ENABLE_Msk)) return;
  NRF_PDM->INTENCLR = ON_STARTED_AND_END;
  NRF_PDM->EVENTS_STOPPED = 0;
  NRF_PDM->TASKS_STOP = 1;
  (void)m3net_wait_for(&NRF_PDM->EVENTS_STOPPED, 1u, 1u);
  NRF_PDM->ENABLE = 0;
}

uint32_t m3net_board_audio_overruns(void) { return overruns; }

// The events have no counter, so missed halves are computed from the time.
static void count_overruns(void) {
  const uint64_t now_us = m3net_board_time_us();
  const uint64_t period_us = (uint64_t)audio.half_samples * 1000000u / BOARD_MICROPHONE_RATE_HZ;
  const uint64_t periods = (now_us - audio.last_end_us + period_us / 2u) / period_us;
  if (audio.ended > 0u && periods > 1u) overruns = overruns + (uint32_t)(periods - 1u);
  audio.last_end_us = now_us;
}

void board_microphone_interrupt(void) {
  const bool ended = NRF_PDM->EVENTS_END != 0u;
  // The address for the half after the next one can be given once the next one has started.
  if (NRF_PDM->EVENTS_STARTED) {
    NRF_PDM->EVENTS_STARTED = 0;
    ++audio.started;
    NRF_PDM->SAMPLE.PTR = (uint32_t)(uintptr_t)half(audio.started);
  }
  if (ended) {
    NRF_PDM->EVENTS_END = 0;
    count_overruns();
    const int16_t* ready = half(audio.ended);
    ++audio.ended;
    audio.half_ready(audio.context, ready);
  }
}
