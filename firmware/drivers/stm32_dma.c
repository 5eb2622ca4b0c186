// SPDX-License-Identifier: Apache-2.0
// A stream of DMA 1 of STM32 chips, which fills the two halves of a microphone's buffer in turn.

#include "cortex_m.h"
#include "platform.h"
#include "stm32.h"

#define STREAM BOARD_DMA_STREAM

// Flags of the stream, shifted to the bits of stream 0's flags.
#define FLAGS (DMA_LISR_TCIF0 | DMA_LISR_HTIF0 | DMA_LISR_TEIF0 | DMA_LISR_DMEIF0 | DMA_LISR_FEIF0)

#ifdef BOARD_DMA_REQUESTS  // STM32H7: DMAMUX 1
#define CHANNEL(request) 0u
#else  // STM32F4
#define CHANNEL(request) ((request) << DMA_SxCR_CHSEL_Pos)
#endif

static volatile uint32_t overruns;

static void clear_flags(uint32_t flags) { DMA1->LIFCR = flags << BOARD_DMA_FLAGS_POSITION; }

void m3net_stm32_dma_start(uint32_t request, const volatile void* from, volatile void* buffer,
                           uint32_t count, m3net_stm32_dma_width width) {
  RCC->AHB1ENR |= RCC_AHB1ENR_DMA1EN;
  (void)RCC->AHB1ENR;
  clear_flags(FLAGS);
#ifdef BOARD_DMA_REQUESTS
  BOARD_DMA_REQUESTS->CCR = request;
#endif
  STREAM->PAR = (uint32_t)(uintptr_t)from;
  STREAM->M0AR = (uint32_t)(uintptr_t)buffer;
  STREAM->NDTR = count;
  STREAM->CR = CHANNEL(request) | DMA_SxCR_PL_1 | ((uint32_t)width << DMA_SxCR_MSIZE_Pos) |
               ((uint32_t)width << DMA_SxCR_PSIZE_Pos) | DMA_SxCR_MINC | DMA_SxCR_CIRC |
               DMA_SxCR_TCIE | DMA_SxCR_HTIE | DMA_SxCR_TEIE;
  STREAM->CR |= DMA_SxCR_EN;
  m3net_interrupt_enable(BOARD_DMA_INTERRUPT, 2);
}

void m3net_stm32_dma_stop(void) {
  RCC->AHB1ENR |= RCC_AHB1ENR_DMA1EN;
  (void)RCC->AHB1ENR;
  m3net_interrupt_disable(BOARD_DMA_INTERRUPT);
  STREAM->CR &= ~DMA_SxCR_EN;
  (void)m3net_wait_for(&STREAM->CR, DMA_SxCR_EN, 0u);
  clear_flags(FLAGS);
}

void m3net_stm32_dma_half(void) {
  const uint32_t flags = (DMA1->LISR >> BOARD_DMA_FLAGS_POSITION) & FLAGS;
  clear_flags(flags);  // not one that rose since: its half would be lost, and no overrun counted
  const bool first = (flags & DMA_LISR_HTIF0) != 0u;
  const bool second = (flags & DMA_LISR_TCIF0) != 0u;
  if ((first && second) || (flags & DMA_LISR_TEIF0)) overruns = overruns + 1u;
  // After an overrun the first half is being written again; the second one is complete.
  if (second) {
    m3net_stm32_microphone_half(1);
  } else if (first) {
    m3net_stm32_microphone_half(0);
  }
}

uint32_t m3net_board_audio_overruns(void) { return overruns; }
