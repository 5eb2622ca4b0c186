// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include "byte_ring.h"
#include "cortex_m.h"
#include "platform.h"

#define PIN_OUTPUT 1u
#define FUNCTION_USART3 7u

#define DMA_FLAGS \
  (DMA_LIFCR_CTCIF0 | DMA_LIFCR_CHTIF0 | DMA_LIFCR_CTEIF0 | DMA_LIFCR_CDMEIF0 | DMA_LIFCR_CFEIF0)

static void uart_received(void);
static void dma_half(void);

const m3net_vector m3net_board_interrupts[] = {
    [DMA1_Stream0_IRQn] = dma_half,
    [USART3_IRQn] = uart_received,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

const m3net_board m3net_board_info = {
    .name = BOARD_NAME,
    .cpu_core = BOARD_CPU_CORE,
    .counter_unit = "cycles",
    .counter_scale = 1,
    .job = (const uint8_t*)BOARD_JOB_ADDRESS,
    .job_capacity_bytes = BOARD_JOB_CAPACITY_BYTES,
    .clock_hz = BOARD_CLOCK_HZ,
    .uart_baud = BOARD_UART_BAUD,
    .has_audio = true,
};

static m3net_reset_reason reset_reason;
static uint32_t uart_clock_hz;
static m3net_byte_ring received;
static volatile uint32_t audio_overruns;

// 400 MHz: 8 MHz / 4 * 400 / 2; AXI and AHB at 200 MHz, APB at 100 MHz. PLL 2 makes 49.152 MHz for
// the microphone: 2 MHz * (196 + 4981 / 8192) / 8. Returns what failed, with the chip still on its
// internal oscillator, or null.
static const char* start_clocks(void) {
  // The supply must be chosen once, before the voltage; a regulator that is never ready for that is
  // reported by the second wait.
  PWR->CR3 = (PWR->CR3 & ~PWR_CR3_BYPASS) | PWR_CR3_SCUEN | PWR_CR3_LDOEN;
  (void)m3net_wait_for(&PWR->CSR1, PWR_CSR1_ACTVOSRDY, PWR_CSR1_ACTVOSRDY);
  PWR->D3CR = PWR_D3CR_VOS_0 | PWR_D3CR_VOS_1;
  if (!m3net_wait_for(&PWR->D3CR, PWR_D3CR_VOSRDY, PWR_D3CR_VOSRDY)) {
    return "the core voltage is not reached;";
  }
  RCC->CR |= RCC_CR_HSEBYP;
  RCC->CR |= RCC_CR_HSEON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) {
    return "the ST-LINK gives no clock;";
  }
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

// What the DMA writes stays out of the data cache; all else goes through it.
static void start_caches(void) {
  RCC->AHB2ENR |= RCC_AHB2ENR_SRAM1EN;
  (void)RCC->AHB2ENR;
  m3net_mpu_uncached(BOARD_DMA_BASE, (uint32_t)__builtin_ctz(BOARD_DMA_BYTES));
  SCB_EnableICache();
  SCB_EnableDCache();
}

static void start_uart(void) {
  RCC->AHB4ENR |= RCC_AHB4ENR_GPIODEN;
  RCC->APB1LENR |= RCC_APB1LENR_USART3EN;
  (void)RCC->APB1LENR;
  board_pin_function(GPIOD, BOARD_UART_TX_PIN, FUNCTION_USART3);
  board_pin_function(GPIOD, BOARD_UART_RX_PIN, FUNCTION_USART3);
  USART3->BRR = (uart_clock_hz + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD;
  USART3->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE_RXFNEIE;
  m3net_interrupt_enable(USART3_IRQn, 1);
}

static void start_timestamp_pin(void) {
  RCC->AHB4ENR |= RCC_AHB4ENR_GPIOGEN;
  (void)RCC->AHB4ENR;
  GPIOG->BSRR = 1u << BOARD_TIMESTAMP_PIN;
  GPIOG->MODER = (GPIOG->MODER & ~(3u << (2u * BOARD_TIMESTAMP_PIN))) |
                 (PIN_OUTPUT << (2u * BOARD_TIMESTAMP_PIN));
}

// A reset raises the pin's flag too, whatever its cause, so that comes last.
static m3net_reset_reason read_reset_reason(void) {
  const uint32_t flags = RCC->RSR;
  const m3net_reset_reason noted = m3net_reset_take_note();
  RCC->RSR |= RCC_RSR_RMVF;
  if (flags & (RCC_RSR_PORRSTF | RCC_RSR_BORRSTF)) return M3NET_RESET_POWER;
  if (noted != M3NET_RESET_UNKNOWN) return noted;
  if (flags & (RCC_RSR_IWDG1RSTF | RCC_RSR_WWDG1RSTF)) return M3NET_RESET_WATCHDOG;
  if (flags & RCC_RSR_SFTRSTF) return M3NET_RESET_SOFTWARE;
  return flags & RCC_RSR_PINRSTF ? M3NET_RESET_PIN : M3NET_RESET_UNKNOWN;
}

void m3net_board_init(void) {
  reset_reason = read_reset_reason();
  const char* failed = start_clocks();
  uart_clock_hz = failed ? BOARD_HSI_HZ : BOARD_BUS_HZ;
  start_uart();
  if (failed) m3net_platform_panic("clock", failed, RCC->CR);
  start_caches();
  start_timestamp_pin();
  m3net_systick_start(BOARD_CLOCK_HZ);
  m3net_cycles_start();
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (!(USART3->ISR & USART_ISR_TXE_TXFNF)) {
    }
    USART3->TDR = (uint8_t)bytes[i];
  }
}

static void uart_received(void) {
  const uint32_t status = USART3->ISR;
  if (status & USART_ISR_ORE) {
    USART3->ICR = USART_ICR_ORECF;
    received.lost = received.lost + 1u;
  }
  if (status & USART_ISR_RXNE_RXFNE) m3net_byte_ring_put(&received, (uint8_t)USART3->RDR);
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

int m3net_board_set_baud(uint32_t baud) {
  if (baud == 0u) return -1;
  const uint32_t divider = (uart_clock_hz + baud / 2u) / baud;
  if (divider < 16u || divider > 0xFFFFu) return -1;
  while (!(USART3->ISR & USART_ISR_TC)) {
  }
  USART3->CR1 &= ~USART_CR1_UE;  // the divider may be written while the port is off only
  USART3->BRR = divider;
  USART3->CR1 |= USART_CR1_UE;
  return 0;
}

void board_dma_start(uint32_t request, const volatile void* from, volatile void* buffer,
                     uint32_t count, board_dma_width width) {
  RCC->AHB1ENR |= RCC_AHB1ENR_DMA1EN;
  (void)RCC->AHB1ENR;
  DMA1->LIFCR = DMA_FLAGS;
  DMAMUX1_Channel0->CCR = request;
  DMA1_Stream0->PAR = (uint32_t)(uintptr_t)from;
  DMA1_Stream0->M0AR = (uint32_t)(uintptr_t)buffer;
  DMA1_Stream0->NDTR = count;
  DMA1_Stream0->CR = DMA_SxCR_PL_1 | ((uint32_t)width << DMA_SxCR_MSIZE_Pos) |
                     ((uint32_t)width << DMA_SxCR_PSIZE_Pos) | DMA_SxCR_MINC | DMA_SxCR_CIRC |
                     DMA_SxCR_TCIE | DMA_SxCR_HTIE | DMA_SxCR_TEIE;
  DMA1_Stream0->CR |= DMA_SxCR_EN;
  m3net_interrupt_enable(DMA1_Stream0_IRQn, 2);
}

void board_dma_stop(void) {
  RCC->AHB1ENR |= RCC_AHB1ENR_DMA1EN;
  (void)RCC->AHB1ENR;
  m3net_interrupt_disable(DMA1_Stream0_IRQn);
  DMA1_Stream0->CR &= ~DMA_SxCR_EN;
  (void)m3net_wait_for(&DMA1_Stream0->CR, DMA_SxCR_EN, 0u);
  DMA1->LIFCR = DMA_FLAGS;
}

static void dma_half(void) {
  const uint32_t flags = DMA1->LISR & (DMA_LISR_HTIF0 | DMA_LISR_TCIF0 | DMA_LISR_TEIF0);
  DMA1->LIFCR = DMA_FLAGS;
  const bool first = (flags & DMA_LISR_HTIF0) != 0u;
  const bool second = (flags & DMA_LISR_TCIF0) != 0u;
  if ((first && second) || (flags & DMA_LISR_TEIF0)) audio_overruns = audio_overruns + 1u;
  // After an overrun the first half is being written again; the second one is whole.
  if (second) {
    board_microphone_half(1);
  } else if (first) {
    board_microphone_half(0);
  }
}

uint32_t m3net_board_audio_overruns(void) { return audio_overruns; }

uint32_t m3net_board_counter(void) { return m3net_cycles(); }

uint64_t m3net_board_time_us(void) { return m3net_systick_time_us(); }

void m3net_board_idle(void) { m3net_core_sleep(); }

void m3net_board_reset(void) {
  m3net_reset_note(M3NET_RESET_SOFTWARE);
  m3net_core_restart();
}

m3net_reset_reason m3net_board_reset_reason(void) { return reset_reason; }

bool m3net_board_timestamp_pin(void) {
  const uint64_t until_us = m3net_board_time_us() + BOARD_PIN_LOW_US;
  GPIOG->BSRR = 1u << (BOARD_TIMESTAMP_PIN + 16u);
  while (m3net_board_time_us() < until_us) {
  }
  GPIOG->BSRR = 1u << BOARD_TIMESTAMP_PIN;
  return true;
}
