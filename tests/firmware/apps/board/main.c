// SPDX-License-Identifier: Apache-2.0
// Tests the contract of a board in addition to jobs: clocks, sleep, reception, and a reset of
// each kind, whose reason the next start reports.

#include "byte_ring.h"
#include "console.h"
#include "crc32.h"
#include "duty.h"
#include "platform.h"

#if defined(__riscv)
#include "riscv.h"
#define UNDEFINED_INSTRUCTION "unimp"
// In emulation the core takes a nanosecond for each instruction.
static void start_core_clock(void) {}
static uint64_t core_clock_us(void) { return m3net_instructions() / 1000u; }
#else
#include "cortex_m.h"
#define UNDEFINED_INSTRUCTION "udf #7"
static void start_core_clock(void) { m3net_systick_start(m3net_board_info.clock_hz); }
static uint64_t core_clock_us(void) { return m3net_systick_time_us(); }
#endif

#define WATCHDOG_MS 10u

static const char* const reasons[] = {"unknown", "power", "pin", "software", "watchdog", "fault"};

static void spin_us(uint32_t time_us) {
  const uint64_t until_us = m3net_board_time_us() + time_us;
  while (m3net_board_time_us() < until_us) {
  }
}

static void start_line(void) {
  m3net_console_begin("started board=");
  m3net_console_text(m3net_board_info.name);
  m3net_console_text(" core=");
  m3net_console_text(m3net_board_info.cpu_core);
  m3net_console_field("clock_hz", m3net_board_info.clock_hz);
  m3net_console_field("baud", m3net_board_info.uart_baud);
  m3net_console_text(" reset=");
  m3net_console_text(reasons[m3net_board_reset_reason()]);
  m3net_console_end();
}

// The core's clock against the board's, awake and asleep. SysTick also ends the sleep.
static void report_clocks(void) {
  m3net_duty duty;
  start_core_clock();
  const uint64_t board_us = m3net_board_time_us();
  const uint64_t core_us = core_clock_us();
  const uint32_t counter = m3net_board_counter();
  spin_us(20000);
  const uint32_t counted = m3net_board_counter() - counter;
  m3net_console_begin("awake");
  m3net_console_field("board_us", (uint32_t)(m3net_board_time_us() - board_us));
  m3net_console_field("core_us", (uint32_t)(core_clock_us() - core_us));
  m3net_console_field("counted", counted * m3net_board_info.counter_scale);
  m3net_console_end();

  m3net_duty_start(&duty);
  const uint32_t state = m3net_platform_lock();
  m3net_duty_sleep(&duty);
  const uint64_t slept_us = m3net_board_time_us() - duty.start_us;
  const uint64_t held_back_us = core_clock_us();
  m3net_platform_unlock(state);
  m3net_console_begin("asleep");
  m3net_console_field("slept_us", (uint32_t)slept_us);
  m3net_console_field("awake_ppm", m3net_duty_awake_ppm(&duty));
  m3net_console_field("backwards", core_clock_us() < held_back_us);
  m3net_console_end();
}

static void report_reception(void) {
  uint8_t bytes[64];
  uint32_t crc = 0, total = 0;
  m3net_console_begin("listening");
  m3net_console_end();
  while (total < 3000u) {
    const size_t count = m3net_board_read(bytes, sizeof(bytes));
    crc = m3net_crc32(crc, bytes, count);
    total += (uint32_t)count;
    if (count > 0u) continue;
    const uint32_t state = m3net_platform_lock();
    m3net_board_idle();
    m3net_platform_unlock(state);
  }
  m3net_console_begin("heard");
  m3net_console_field("bytes", total);
  m3net_console_text(" crc=");
  m3net_console_hex32(crc);
  m3net_console_field("lost", m3net_board_read_overruns());
  m3net_console_end();
}

int main(void) {
  m3net_board_init();
  start_line();
  switch (m3net_board_reset_reason()) {
    case M3NET_RESET_POWER:
      report_clocks();
      m3net_board_reset();
    case M3NET_RESET_SOFTWARE:
      m3net_board_watchdog_start(WATCHDOG_MS);
      __asm volatile(UNDEFINED_INSTRUCTION);
      break;
    case M3NET_RESET_FAULT:
      m3net_board_watchdog_start(WATCHDOG_MS);
      for (;;) {
      }
    case M3NET_RESET_WATCHDOG:
      report_reception();
      m3net_board_watchdog_start(WATCHDOG_MS);
      for (uint32_t fed = 0; fed < 20u; ++fed) {
        spin_us(1000u * WATCHDOG_MS / 5u);
        m3net_board_watchdog_feed();
      }
      m3net_console_begin("finished");
      m3net_console_end();
      for (;;) m3net_board_watchdog_feed();
    default:
      m3net_platform_panic("reset", "not one that this program causes;", 0);
  }
  m3net_platform_halt();
}
