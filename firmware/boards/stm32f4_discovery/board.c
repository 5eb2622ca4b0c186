// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include "byte_ring.h"
#include "cortex_m.h"
#include "platform.h"

#define PIN_OUTPUT 1u
#define FUNCTION_USART2 7u

static void uart_received(void);

const m3net_vector m3net_board_interrupts[] = {
    [DMA1_Stream3_IRQn] = board_microphone_interrupt,
    [USART2_IRQn] = uart_received,
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
static uint32_t uart_clock_hz;  // of the bus that feeds USART2
static m3net_byte_ring received;

// 168 MHz from the crystal: 8 MHz / 8 * 336 / 2; APB1 at 42 MHz, APB2 at 84 MHz. Returns what
// failed, with the chip still on its internal oscillator, or null.
static const char* start_clocks(void) {
  RCC->APB1ENR |= RCC_APB1ENR_PWREN;
  PWR->CR |= PWR_CR_VOS;
  RCC->CR |= RCC_CR_HSEON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) return "the crystal does not start;";
  RCC->PLLCFGR = (BOARD_CRYSTAL_MHZ << RCC_PLLCFGR_PLLM_Pos) | (336u << RCC_PLLCFGR_PLLN_Pos) |
                 (0u << RCC_PLLCFGR_PLLP_Pos) | (7u << RCC_PLLCFGR_PLLQ_Pos) |
                 RCC_PLLCFGR_PLLSRC_HSE;
  RCC->CR |= RCC_CR_PLLON;
  if (!m3net_wait_for(&RCC->CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) return "the PLL does not lock;";
  FLASH->ACR = FLASH_ACR_LATENCY_5WS | FLASH_ACR_PRFTEN | FLASH_ACR_ICEN | FLASH_ACR_DCEN;
  RCC->CFGR = RCC_CFGR_PPRE1_DIV4 | RCC_CFGR_PPRE2_DIV2;
  RCC->CFGR |= RCC_CFGR_SW_PLL;
  if (!m3net_wait_for(&RCC->CFGR, RCC_CFGR_SWS, RCC_CFGR_SWS_PLL)) {
    return "the clock does not change over to the PLL;";
  }
  return NULL;
}

static void start_uart(void) {
  RCC->AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
  RCC->APB1ENR |= RCC_APB1ENR_USART2EN;
  board_pin_function(GPIOA, BOARD_UART_TX_PIN, FUNCTION_USART2);
  board_pin_function(GPIOA, BOARD_UART_RX_PIN, FUNCTION_USART2);
  USART2->BRR = (uart_clock_hz + BOARD_UART_BAUD / 2u) / BOARD_UART_BAUD;
  USART2->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
  m3net_interrupt_enable(USART2_IRQn, 1);
}

static void start_timestamp_pin(void) {
  RCC->AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
  GPIOB->BSRR = 1u << BOARD_TIMESTAMP_PIN;
  GPIOB->MODER = (GPIOB->MODER & ~(3u << (2u * BOARD_TIMESTAMP_PIN))) |
                 (PIN_OUTPUT << (2u * BOARD_TIMESTAMP_PIN));
}

// A reset raises the pin's flag too, whatever its cause, so that comes last.
static m3net_reset_reason read_reset_reason(void) {
  const uint32_t flags = RCC->CSR;
  const m3net_reset_reason noted = m3net_reset_take_note();
  RCC->CSR |= RCC_CSR_RMVF;
  if (flags & (RCC_CSR_PORRSTF | RCC_CSR_BORRSTF)) return M3NET_RESET_POWER;
  if (noted != M3NET_RESET_UNKNOWN) return noted;
  if (flags & (RCC_CSR_IWDGRSTF | RCC_CSR_WWDGRSTF)) return M3NET_RESET_WATCHDOG;
  if (flags & RCC_CSR_SFTRSTF) return M3NET_RESET_SOFTWARE;
  return flags & RCC_CSR_PINRSTF ? M3NET_RESET_PIN : M3NET_RESET_UNKNOWN;
}

void m3net_board_init(void) {
  reset_reason = read_reset_reason();
  const char* failed = start_clocks();
  uart_clock_hz = failed ? BOARD_HSI_HZ : BOARD_CLOCK_HZ / 4u;
  start_uart();
  if (failed) m3net_platform_panic("clock", failed, RCC->CR);
  start_timestamp_pin();
  m3net_systick_start(BOARD_CLOCK_HZ);
  m3net_cycles_start();
}

void m3net_board_write(const char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    while (!(USART2->SR & USART_SR_TXE)) {
    }
    USART2->DR = (uint8_t)bytes[i];
  }
}

static void uart_received(void) {
  const uint32_t status = USART2->SR;
  const uint8_t byte = (uint8_t)USART2->DR;  // reading both clears an overrun
  if (status & USART_SR_ORE) received.lost = received.lost + 1u;
  if (status & USART_SR_RXNE) m3net_byte_ring_put(&received, byte);
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

m3net_status m3net_board_set_baud(uint32_t baud) {
  if (baud == 0u) return M3NET_ERROR_UNSUPPORTED;
  const uint32_t divider = (uart_clock_hz + baud / 2u) / baud;
  if (divider < 16u || divider > 0xFFFFu) return M3NET_ERROR_UNSUPPORTED;
  while (!(USART2->SR & USART_SR_TC)) {
  }
  USART2->BRR = divider;
  return M3NET_OK;
}

uint32_t m3net_board_counter(void) { return m3net_cycles(); }

uint64_t m3net_board_time_us(void) { return m3net_systick_time_us(); }

void m3net_board_idle(void) { m3net_core_sleep(); }

void m3net_board_reset(void) {
  m3net_reset_note(M3NET_RESET_SOFTWARE);
  m3net_core_restart();
}

m3net_reset_reason m3net_board_reset_reason(void) { return reset_reason; }

m3net_status m3net_board_timestamp_pin(void) {
  const uint64_t until_us = m3net_board_time_us() + BOARD_PIN_LOW_US;
  GPIOB->BSRR = 1u << (BOARD_TIMESTAMP_PIN + 16u);
  while (m3net_board_time_us() < until_us) {
  }
  GPIOB->BSRR = 1u << BOARD_TIMESTAMP_PIN;
  return M3NET_OK;
}
