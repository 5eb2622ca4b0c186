// SPDX-License-Identifier: Apache-2.0
// The second half becomes full while the interrupt of the first one runs: between its reading and
// its clearing of the flags. Prints the halves that were taken, and the overruns.

#include <stdbool.h>
#include <stdio.h>

#include "cortex_m.h"
#include "platform.h"
#include "stm32.h"

DMA_Stream_TypeDef stream;
RCC_TypeDef rcc;
static DMA_TypeDef dma;
static uint32_t accesses;

DMA_TypeDef* dma_access(void) {
  ++accesses;
  const uint32_t flag = accesses == 1u ? DMA_LISR_HTIF0 : accesses == 2u ? DMA_LISR_TCIF0 : 0u;
  dma.LISR |= flag << BOARD_DMA_FLAGS_POSITION;
  return &dma;
}

// What the hardware does with flags that are cleared.
static void take_cleared(void) {
  dma.LISR &= ~dma.LIFCR;
  dma.LIFCR = 0;
}

void m3net_stm32_microphone_half(uint32_t half) { printf("half %u\n", (unsigned)half); }

bool m3net_wait_for(const volatile uint32_t* reg, uint32_t mask, uint32_t value) {
  return (*reg & mask) == value;
}

void m3net_interrupt_enable(uint32_t number, uint32_t priority) {
  (void)number;
  (void)priority;
}

void m3net_interrupt_disable(uint32_t number) { (void)number; }

int main(void) {
  m3net_stm32_dma_half();
  take_cleared();
  if (dma.LISR != 0u) {
    m3net_stm32_dma_half();  // the interrupt is still pending
    take_cleared();
  }
  printf("flags %u overruns %u\n", (unsigned)dma.LISR, (unsigned)m3net_board_audio_overruns());
  return 0;
}
