// SPDX-License-Identifier: Apache-2.0
// The surroundings of the portable code, as far as the library knows them. An application may
// define any of these itself.

#include "platform.h"

__attribute__((weak)) uint64_t m3net_board_time_us(void) { return 0; }

__attribute__((weak)) uint32_t m3net_board_counter(void) { return 0; }

__attribute__((weak)) m3net_status m3net_board_audio_start(uint32_t sample_rate_hz,
                                                           int16_t* ping_pong, size_t half_samples,
                                                           m3net_half_ready half_ready,
                                                           void* context) {
  (void)sample_rate_hz;
  (void)ping_pong;
  (void)half_samples;
  (void)half_ready;
  (void)context;
  return M3NET_ERROR_UNSUPPORTED;
}

__attribute__((weak)) void m3net_board_audio_stop(void) {}
