// SPDX-License-Identifier: Apache-2.0
// Reads hops of 16-bit samples from standard input. For each, writes the amplified samples, then as
// 32-bit words missing, gain, peak and clipped samples of the last second, verdict, decibels of the
// gain, and whether a second was completed. test_level_host.py writes and reads them.

#include <stdio.h>

#include "level.h"

int main(void) {
  static int16_t hop[M3NET_FRONTEND_HOP_SAMPLES];
  m3net_level level;
  m3net_level_reset(&level);
  while (fread(hop, sizeof(hop), 1, stdin) == 1) {
    const bool second = m3net_level_hear(&level, hop);
    m3net_level_amplify(&level, hop, hop);
    const int32_t gain = m3net_level_gain(&level);
    const uint32_t state[] = {(uint32_t)level.missing,
                              (uint32_t)gain,
                              level.last_peak,
                              level.last_clipped,
                              (uint32_t)m3net_level_judge(&level),
                              m3net_level_decibels(gain),
                              second};
    fwrite(hop, sizeof(hop), 1, stdout);
    fwrite(state, sizeof(state), 1, stdout);
  }
  return 0;
}
