// SPDX-License-Identifier: Apache-2.0

#include "board.h"

#include <string.h>

#include "byte_ring.h"
#include "cortex_m.h"
#include "platform.h"

#define PIN_OUTPUT 1u
#define TIMER_NOW 2u  // the timer's register for reading it
#define TIMER_LOOK_US 0x800000u
#define TRANSMIT_BYTES 64u
#define WATCHDOG_HZ 32768u
#define WATCHDOG_LEAST 15u

static void uart_event(void);
static void timer_event(void);

const m3net_vector m3net_board_interrupts[] = {
    [UART0_UARTE0_IRQn] = uart_event,
    [TIMER1_IRQn] = timer_event,
    [PDM_IRQn] = board_microphone_interrupt,
};
const uint32_t m3net_board_interrupt_count =
    sizeof(m3net_board_interrupts) / sizeof(m3net_board_interrupts[0]);

static const struct {
  uint32_t baud, setting;
} speeds[] = {
    {9600u, UARTE_BAUDRATE_BAUDRATE_Baud9600},     {19200u, UARTE_BAUDRATE_BAUDRATE_Baud19200},
    {38400u, UARTE_BAUDRATE_BAUDRATE_Baud38400},   {57600u, UARTE_BAUDRATE_BAUDRATE_Baud57600},
    {115200u, UARTE_BAUDRATE_BAUDRATE_Baud115200}, {230400u, UARTE_BAUDRATE_BAUDRATE_Baud230400},
    {460800u, UARTE_BAUDRATE_BAUDRATE_Baud460800}, {921600u, UARTE_BAUDRATE_BAUDRATE_Baud921600},
    {1000000u, UARTE_BAUDRATE_BAUDRATE_Baud1M},
};

static m3net_byte_ring received;
static volatile uint8_t receiving;            // EasyDMA writes here,
static uint8_t transmitting[TRANSMIT_BYTES];  // and reads from RAM only
static uint32_t time_high, time_low;

// The crystal, for the microphone's clock and the console's; the core runs without it too.
static const char* start_clock(void) {
  NRF_CLOCK->EVENTS_HFCLKSTARTED = 0;
  NRF_CLOCK->TASKS_HFCLKSTART = 1;
  if (!m3net_wait_for(&NRF_CLOCK->EVENTS_HFCLKSTARTED, 1u, 1u)) {
    return "the crystal does not start;";
  }
  return NULL;
}

// One byte at a time: the port itself holds a few more until the interrupt requests the next.
static void start_uart(void) {
  NRF_P0->OUTSET = 1u << BOARD_UART_TX_PIN;
  NRF_P0->PIN_CNF[BOARD_UART_TX_PIN] = PIN_OUTPUT;
  NRF_P0->PIN_CNF[BOARD_UART_RX_PIN] = 0;
  NRF_UARTE0->PSEL.TXD = BOARD_UART_TX_PIN;
  NRF_UARTE0->PSEL.RXD = BOARD_UART_RX_PIN;
  NRF_UARTE0->CONFIG = 0;
  (void)m3net_board_set_baud(BOARD_UART_BAUD);
  NRF_UARTE0->ENABLE = UARTE_ENABLE_ENABLE_Enabled;
  NRF_UARTE0->RXD.PTR = (uint32_t)(uintptr_t)&receiving;
  NRF_UARTE0->RXD.MAXCNT = 1;
  NRF_UARTE0->INTENSET = UARTE_INTENSET_ENDRX_Msk | UARTE_INTENSET_ERROR_Msk;
  NRF_UARTE0->TASKS_STARTRX = 1;
  m3net_interrupt_enable(UART0_UARTE0_IRQn, 1);
}

// Microseconds in 32 bits. Every 8 s an interrupt checks whether they have wrapped; it also wakes
// the core in time to feed the watchdog.
static void start_timer(void) {
  NRF_TIMER1->BITMODE = TIMER_BITMODE_BITMODE_32Bit;
  NRF_TIMER1->PRESCALER = 4;
  NRF_TIMER1->CC[0] = TIMER_LOOK_US;
  NRF_TIMER1->INTENSET = TIMER_INTENSET_COMPARE0_Msk;
  NRF_TIMER1->TASKS_CLEAR = 1;
  NRF_TIMER1->TASKS_START = 1;
  m3net_interrupt_enable(TIMER1_IRQn, 3);
}

static m3net_reset_reason read_reset_reason(void) {
  const uint32_t flags = NRF_POWER->RESETREAS;
  const m3net_reset_reason noted = m3net_reset_take_note();
  NRF_POWER->RESETREAS = flags;  // writing ones clears them
  if (flags == 0u) return M3NET_RESET_POWER;
  if (noted != M3NET_RESET_UNKNOWN) return noted;
  if (flags & POWER_RESETREAS_DOG_Msk) return M3NET_RESET_WATCHDOG;
  if (flags & POWER_RESETREAS_LOCKUP_Msk) return M3NET_RESET_FAULT;
  if (flags & POWER_RESETREAS_SREQ_Msk) return M3NET_RESET_SOFTWARE;
  return flags & POWER_RESETREAS_RESETPIN_Msk ? M3NET_RESET_PIN : M3NET_RESET_UNKNOWN;
}

void m3net_board_init(void) {
  // Later revisions of the chip lock the debugger out unless the firmware enables it.
  NRF_APPROTECT->DISABLE = APPROTECT_DISABLE_DISABLE_SwDisable;
  m3net_reset_keep(read_reset_reason());
  const char* failed = start_clock();
  start_uart();
  if (failed) m3net_platform_panic("clock", failed, NRF_CLOCK->HFCLKSTAT);
  NRF_P0->OUTSET = 1u << BOARD_TIMESTAMP_PIN;
  NRF_P0->PIN_CNF[BOARD_TIMESTAMP_PIN] = PIN_OUTPUT;
  start_timer();
  m3net_cycles_start();
}

void m3net_board_write(const char* bytes, size_t count) {
  while (count > 0u) {
    const size_t step = count < TRANSMIT_BYTES ? count : TRANSMIT_BYTES;
    memcpy(transmitting, bytes, step);
    NRF_UARTE0->EVENTS_ENDTX = 0;
    NRF_UARTE0->TXD.PTR = (uint32_t)(uintptr_t)transmitting;
    NRF_UARTE0->TXD.MAXCNT = step;
    NRF_UARTE0->TASKS_STARTTX = 1;
    while (!NRF_UARTE0->EVENTS_ENDTX) {
    }
    bytes += step;
    count -= step;
  }
}

static void uart_event(void) {
  if (NRF_UARTE0->EVENTS_ERROR) {
    NRF_UARTE0->EVENTS_ERROR = 0;
    const uint32_t errors = NRF_UARTE0->ERRORSRC;
    NRF_UARTE0->ERRORSRC = errors;  // writing ones clears them
    if (errors & UARTE_ERRORSRC_OVERRUN_Msk) received.lost = received.lost + 1u;
  }
  if (NRF_UARTE0->EVENTS_ENDRX) {
    NRF_UARTE0->EVENTS_ENDRX = 0;
    m3net_byte_ring_put(&received, receiving);
    NRF_UARTE0->TASKS_STARTRX = 1;
  }
}

size_t m3net_board_read(uint8_t* bytes, size_t capacity) {
  return m3net_byte_ring_take(&received, bytes, capacity);
}

uint32_t m3net_board_read_overruns(void) { return received.lost; }

// m3net_board_write() returns after the last byte is sent.
m3net_status m3net_board_set_baud(uint32_t baud) {
  for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); ++i) {
    if (speeds[i].baud == baud) {
      NRF_UARTE0->BAUDRATE = speeds[i].setting;
      return M3NET_OK;
    }
  }
  return M3NET_ERROR_UNSUPPORTED;
}

uint32_t m3net_board_counter(void) { return m3net_cycles(); }

uint64_t m3net_board_time_us(void) {
  const uint32_t state = m3net_platform_lock();
  NRF_TIMER1->TASKS_CAPTURE[TIMER_NOW] = 1;
  const uint32_t now = NRF_TIMER1->CC[TIMER_NOW];
  if (now < time_low) ++time_high;
  time_low = now;
  const uint64_t time_us = ((uint64_t)time_high << 32) | now;
  m3net_platform_unlock(state);
  return time_us;
}

static void timer_event(void) {
  NRF_TIMER1->EVENTS_COMPARE[0] = 0;
  NRF_TIMER1->CC[0] += TIMER_LOOK_US;
  (void)m3net_board_time_us();
}

// It also runs in sleep, but not while a debugger halts the core.
void m3net_board_watchdog_start(uint32_t timeout_ms) {
  const uint64_t ticks = (uint64_t)timeout_ms * WATCHDOG_HZ / 1000u;
  NRF_WDT->CONFIG = WDT_CONFIG_SLEEP_Run << WDT_CONFIG_SLEEP_Pos;
  NRF_WDT->CRV = ticks > UINT32_MAX       ? UINT32_MAX
                 : ticks < WATCHDOG_LEAST ? WATCHDOG_LEAST
                                          : (uint32_t)ticks;
  NRF_WDT->RREN = 1;
  NRF_WDT->TASKS_START = 1;
}

void m3net_board_watchdog_feed(void) { NRF_WDT->RR[0] = WDT_RR_RR_Reload; }

m3net_status m3net_board_timestamp_pin(void) {
  const uint64_t until_us = m3net_board_time_us() + BOARD_PIN_LOW_US;
  NRF_P0->OUTCLR = 1u << BOARD_TIMESTAMP_PIN;
  while (m3net_board_time_us() < until_us) {
  }
  NRF_P0->OUTSET = 1u << BOARD_TIMESTAMP_PIN;
  return M3NET_OK;
}
