// SPDX-License-Identifier: Apache-2.0
// Code that is the same on all boards, and defaults for optional features of a board.

#include "platform.h"

const char* m3net_reset_reason_name(m3net_reset_reason reason) {
  static const char* const names[] = {"unknown", "power", "pin", "software", "watchdog", "fault"};
  return (unsigned)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : names[0];
}

__attribute__((weak)) m3net_status m3net_board_set_baud(uint32_t baud) {
  (void)baud;
  return M3NET_ERROR_UNSUPPORTED;
}

__attribute__((weak)) m3net_status m3net_board_timestamp_pin(void) {
  return M3NET_ERROR_UNSUPPORTED;
}

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

__attribute__((weak)) uint32_t m3net_board_audio_overruns(void) { return 0; }
