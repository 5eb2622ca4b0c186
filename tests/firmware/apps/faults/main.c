// SPDX-License-Identifier: Apache-2.0
// Provokes the fault that the first byte of the job memory names; a job image ('M') is a sound of
// which halves are missed.

#include "console.h"
#include "crc32.h"
#include "platform.h"

#if defined(__riscv)
#define UNDEFINED_INSTRUCTION "unimp"
#else
#define UNDEFINED_INSTRUCTION "udf #7"
#endif

static volatile uint32_t sink;
static volatile uint32_t bottomless = 1;

__attribute__((noinline)) static uint32_t overflow(uint32_t depth) {
  volatile uint32_t filler[64];
  filler[depth % 64u] = depth;
  if (bottomless == 0u) return depth;
  return overflow(depth + 1u) + filler[(depth + 1u) % 64u];
}

// Recurses to the given depth.
__attribute__((noinline)) static uint32_t descend(uint32_t depth) {
  volatile uint32_t filler[64];
  filler[depth % 64u] = depth;
  if (depth == 0u) return filler[0];
  return descend(depth - 1u) + filler[depth % 64u];
}

static void report_watermark(void) {
  const size_t before = m3net_platform_stack_used();
  sink = descend(8);
  const size_t after = m3net_platform_stack_used();
  sink = descend(4);
  m3net_console_begin("watermark");
  m3net_console_field("before", (uint32_t)before);
  m3net_console_field("after", (uint32_t)after);
  m3net_console_field("later", (uint32_t)m3net_platform_stack_used());
  m3net_console_end();
}

// Takes no byte until 100 are lost, then the remaining ones.
static void overrun_console(void) {
  uint8_t bytes[64];
  uint32_t crc = 0, total = 0;
  m3net_console_begin("listening");
  m3net_console_end();
  while (m3net_board_read_overruns() < 100u) m3net_board_idle();
  for (size_t count; (count = m3net_board_read(bytes, sizeof(bytes))) > 0u; total += count) {
    crc = m3net_crc32(crc, bytes, count);
  }
  m3net_console_begin("heard");
  m3net_console_field("bytes", total);
  m3net_console_field("lost", m3net_board_read_overruns());
  m3net_console_field("crc", crc);
  m3net_console_end();
}

static void count_half(void* context, const int16_t* half) {
  volatile uint32_t* count = context;
  (void)half;
  ++*count;
}

static void spin_us(uint32_t time_us) {
  const uint64_t until_us = m3net_board_time_us() + time_us;
  while (m3net_board_time_us() < until_us) {
  }
}

// Disables interrupts for three and a half halves of 1 ms.
static void delay_halves(void) {
  static int16_t halves[2 * 16] __attribute__((aligned(4)));
  static volatile uint32_t halves_heard;
  if (m3net_board_audio_start(16000, halves, 16, count_half, (void*)&halves_heard) != M3NET_OK) {
    m3net_platform_panic("audio", "it does not start;", 0);
  }
  spin_us(2500);
  const uint32_t state = m3net_platform_lock();
  spin_us(3500);
  m3net_platform_unlock(state);
  spin_us(2500);
  m3net_board_audio_stop();
  m3net_console_begin("audio");
  m3net_console_field("heard", halves_heard);
  m3net_console_field("overruns", m3net_board_audio_overruns());
  m3net_console_end();
}

int main(void) {
  m3net_board_init();
  m3net_console_begin("boot board=");
  m3net_console_text(m3net_board_info.name);
  m3net_console_end();
  volatile uint32_t zero = 0;
  switch (m3net_board_info.job[0]) {
    case 1:
      __asm volatile(UNDEFINED_INSTRUCTION);
      break;
    case 2:
      sink = *(volatile uint32_t*)0xA0000000u;
      break;
    case 3:
      sink = overflow(sink);
      break;
    case 4:
      sink = 100u / zero;
      break;
    case 5:
      ((void (*)(void))0xA0000001u)();
      break;
    case 6:
      report_watermark();
      break;
    case 7:
      overrun_console();
      break;
    case 'M':
      delay_halves();
      break;
    default:
      m3net_platform_panic("panic", "asked for;", 7);
  }
  m3net_console_begin("done clips=0 crc=0");
  m3net_console_end();
  m3net_platform_halt();
}
