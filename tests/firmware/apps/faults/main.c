// SPDX-License-Identifier: Apache-2.0
// Provokes the fault that the first byte of the job memory names.

#include "console.h"
#include "platform.h"

static volatile uint32_t sink;
static volatile uint32_t bottomless = 1;

__attribute__((noinline)) static uint32_t overflow(uint32_t depth) {
  volatile uint32_t filler[64];
  filler[depth % 64u] = depth;
  if (bottomless == 0u) return depth;
  return overflow(depth + 1u) + filler[(depth + 1u) % 64u];
}

int main(void) {
  m3net_board_init();
  console_begin("boot board=");
  console_text(m3net_board_info.name);
  console_end();
  volatile uint32_t zero = 0;
  switch (m3net_board_info.job[0]) {
    case 1:
      __asm volatile("udf #7");
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
    default:
      m3net_platform_panic("panic", "asked for;", 7);
  }
  console_begin("done clips=0 crc=0");
  console_end();
  m3net_platform_halt();
}
