// SPDX-License-Identifier: Apache-2.0
// Code of all MPS2 boards with a CMSDK image: timers, and a microphone that plays the job
// memory. UART and watchdog are in cmsdk_uart.c and cmsdk_watchdog.c.

#include <string.h>

#include "board_config.h"
#include "cmsdk_uart.h"
#include "cortex_m.h"
#include "platform.h"

typedef struct {
  volatile uint32_t control;
  volatile uint32_t value;
  volatile uint32_t reload;
  volatile uint32_t interrupt;
} cmsdk_timer;

#define TIMER ((cmsdk_timer*)BOARD_TIMER_BASE)
#define AUDIO_TIMER ((cmsdk_timer*)BOARD_AUDIO_TIMER_BASE)
#define LEDS (*(volatile uint32_t*)BOARD_FPGAIO_BASE)

#define TIMER_CONTROL_ON 1u
#define TIMER_CONTROL_INTERRUPT 8u
#define TIMER_START 0xFFFFFFFFu

static void audio_due(void);

const m3net_vector m3net_board_interrupts[] = {
    [BOARD_UART_RX_INTERRUPT] = m3net_cmsdk_uart_received,
    [BOARD_AUDIO_TIMER_INTERRUPT] = audio_due,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

static struct {
  const uint8_t* next;  // samples of the job memory that were not played yet
  uint32_t left;        // number of them
  int16_t* halves;      // 2 * half_samples
  uint32_t half_samples;
  uint32_t served;  // halves
  m3net_half_ready half_ready;
  void* context;
} audio;

void m3net_board_init(void) {
  m3net_cmsdk_uart_start();
  TIMER->control = 0;
  TIMER->reload = TIMER_START;
  TIMER->value = TIMER_START;
  TIMER->control = TIMER_CONTROL_ON;
  m3net_systick_start(BOARD_CLOCK_HZ);
  LEDS |= 1u;
  const m3net_reset_reason noted = m3net_reset_take_note();
  m3net_reset_keep(noted == M3NET_RESET_UNKNOWN ? M3NET_RESET_POWER : noted);
  m3net_reset_note(M3NET_RESET_PIN);
  m3net_interrupt_enable(BOARD_AUDIO_TIMER_INTERRUPT, 2);
}

uint32_t m3net_board_counter(void) { return TIMER_START - TIMER->value; }

uint64_t m3net_board_time_us(void) { return m3net_systick_time_us(); }

// The board's microphone is the job memory: a job image of kind 2 is played in real time, then
// silence. A restart continues where the last stop was. Halves that are due at once, because the
// host kept the emulator from running while the core slept, come one a period: sound waits for the
// host, and none is lost.
#define JOB_MAGIC 0x4A4E334Du
#define JOB_KIND_STREAM 2u
#define JOB_HEADER_BYTES 32u

static uint32_t job_word(uint32_t index) {
  return ((const volatile uint32_t*)BOARD_JOB_ADDRESS)[index];
}

m3net_status m3net_board_audio_start(uint32_t sample_rate_hz, int16_t* ping_pong,
                                     size_t half_samples, m3net_half_ready half_ready,
                                     void* context) {
  const uint32_t bytes = job_word(3);
  if (job_word(0) != JOB_MAGIC || job_word(1) >> 16 != JOB_KIND_STREAM ||
      bytes > BOARD_JOB_CAPACITY_BYTES - JOB_HEADER_BYTES) {
    return M3NET_ERROR_UNSUPPORTED;
  }
  if (sample_rate_hz == 0u || half_samples == 0u || half_samples > 65536u) {
    return M3NET_ERROR_ARGUMENT;
  }
  m3net_board_audio_stop();
  if (audio.next == NULL) {
    audio.next = (const uint8_t*)BOARD_JOB_ADDRESS + JOB_HEADER_BYTES;
    audio.left = bytes / 2u;
  }
  audio.halves = ping_pong;
  audio.half_samples = (uint32_t)half_samples;
  audio.served = 0;
  audio.half_ready = half_ready;
  audio.context = context;
  const uint64_t period_ticks = (uint64_t)half_samples * BOARD_CLOCK_HZ / sample_rate_hz;
  AUDIO_TIMER->reload = (uint32_t)period_ticks - 1u;
  AUDIO_TIMER->value = (uint32_t)period_ticks - 1u;
  AUDIO_TIMER->control = TIMER_CONTROL_ON | TIMER_CONTROL_INTERRUPT;
  return M3NET_OK;
}

void m3net_board_audio_stop(void) {
  AUDIO_TIMER->control = 0;
  AUDIO_TIMER->interrupt = 1u;
}

static void take_half(int16_t* half) {
  const uint32_t count = audio.left < audio.half_samples ? audio.left : audio.half_samples;
  memcpy(half, audio.next, 2u * count);
  memset(&half[count], 0, 2u * (audio.half_samples - count));
  audio.next += 2u * count;
  audio.left -= count;
}

static void audio_due(void) {
  AUDIO_TIMER->interrupt = 1u;
  int16_t* half = audio.halves + (audio.served & 1u) * audio.half_samples;
  ++audio.served;
  take_half(half);
  audio.half_ready(audio.context, half);
}

m3net_status m3net_board_timestamp_pin(void) {
  const uint64_t until_us = m3net_board_time_us() + BOARD_PIN_LOW_US;
  LEDS &= ~1u;
  while (m3net_board_time_us() < until_us) {
  }
  LEDS |= 1u;
  return M3NET_OK;
}
