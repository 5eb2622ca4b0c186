// SPDX-License-Identifier: Apache-2.0
// Runs the front end alone over the samples in the job memory (u32 count, then int16), whatever
// its configuration, and prints the columns.

#include <string.h>

#include "console.h"
#include "frontend.h"
#include "platform.h"
static uint8_t memory[M3NET_FRONTEND_BYTES] __attribute__((aligned(M3NET_FRONTEND_ALIGNMENT)));
static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
int main(void) {
  int8_t column[M3NET_FRONTEND_FEATURE_BINS];
  m3net_frontend* frontend = 0;
  uint32_t samples = 0, columns = 0;
  m3net_board_init();
  memcpy(&samples, m3net_board_info.job, 4);
  m3net_console_begin("boot ");
  if (m3net_frontend_init(memory, sizeof(memory) / 2, &frontend) != M3NET_ERROR_MEMORY ||
      m3net_frontend_init(memory + 1, sizeof(memory), &frontend) != M3NET_ERROR_ARGUMENT ||
      m3net_frontend_init(0, sizeof(memory), &frontend) != M3NET_ERROR_ARGUMENT ||
      m3net_frontend_init(memory, m3net_frontend_size(), &frontend) != M3NET_OK) {
    m3net_platform_panic("init", "wrong status", 0);
  }
  m3net_console_text("feat=");
  for (uint32_t at = 0; columns < M3NET_FRONTEND_FRAMES; at += M3NET_FRONTEND_HOP_SAMPLES) {
    const uint32_t left = at < samples ? samples - at : 0;
    const uint32_t count = left < M3NET_FRONTEND_HOP_SAMPLES ? left : M3NET_FRONTEND_HOP_SAMPLES;
    memset(hop, 0, sizeof(hop));
    memcpy(hop, m3net_board_info.job + 4 + 2 * at, 2 * count);
    if (m3net_frontend_push(frontend, hop, column)) {
      m3net_console_hex(column, sizeof(column));
      ++columns;
    }
  }
  m3net_console_end();
  m3net_console_begin("done clips=0 crc=0");
  m3net_console_end();
  m3net_platform_halt();
}
