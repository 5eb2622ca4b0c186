// SPDX-License-Identifier: Apache-2.0
// Stand-ins for what drivers/stm32_dma.c uses of CMSIS's header of an STM32F4.
#ifndef TESTS_STM32_DMA_HOST_BOARD_H_
#define TESTS_STM32_DMA_HOST_BOARD_H_

#include <stdint.h>

typedef struct {
  volatile uint32_t LISR, LIFCR;
} DMA_TypeDef;
typedef struct {
  volatile uint32_t CR, NDTR, PAR, M0AR;
} DMA_Stream_TypeDef;
typedef struct {
  volatile uint32_t AHB1ENR;
} RCC_TypeDef;
typedef struct {
  uint32_t unused;
} GPIO_TypeDef;

extern DMA_Stream_TypeDef stream;
extern RCC_TypeDef rcc;

// Each access may be preceded by a flag that rises.
DMA_TypeDef* dma_access(void);

#define DMA1 (dma_access())
#define RCC (&rcc)
#define BOARD_DMA_STREAM (&stream)
#define BOARD_DMA_INTERRUPT 14
#define BOARD_DMA_FLAGS_POSITION 22  // of stream 3
#define RCC_AHB1ENR_DMA1EN (1u << 21)
#define DMA_LISR_FEIF0 (1u << 0)
#define DMA_LISR_DMEIF0 (1u << 2)
#define DMA_LISR_TEIF0 (1u << 3)
#define DMA_LISR_HTIF0 (1u << 4)
#define DMA_LISR_TCIF0 (1u << 5)
#define DMA_SxCR_EN (1u << 0)
#define DMA_SxCR_TEIE (1u << 2)
#define DMA_SxCR_HTIE (1u << 3)
#define DMA_SxCR_TCIE (1u << 4)
#define DMA_SxCR_CIRC (1u << 8)
#define DMA_SxCR_MINC (1u << 10)
#define DMA_SxCR_PSIZE_Pos 11
#define DMA_SxCR_MSIZE_Pos 13
#define DMA_SxCR_PL_1 (1u << 17)
#define DMA_SxCR_CHSEL_Pos 25

#endif  // TESTS_STM32_DMA_HOST_BOARD_H_
