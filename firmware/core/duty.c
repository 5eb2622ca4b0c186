// SPDX-License-Identifier: Apache-2.0

#include "duty.h"

#include "platform.h"

void m3net_duty_start(m3net_duty* duty) {
  duty->start_us = m3net_board_time_us();
  duty->asleep_us = 0;
}

void m3net_duty_sleep(m3net_duty* duty) {
  const uint64_t before_us = m3net_board_time_us();
  m3net_board_idle();
  duty->asleep_us += m3net_board_time_us() - before_us;
}

uint32_t m3net_duty_awake_ppm(const m3net_duty* duty) {
  const uint64_t total_us = m3net_board_time_us() - duty->start_us;
  const uint64_t awake_us = total_us - duty->asleep_us;
  if (total_us == 0u) return 1000000u;
  // After 213 days the product would no longer fit.
  if (awake_us > UINT64_MAX / 1000000u) return (uint32_t)(awake_us / (total_us / 1000000u));
  return (uint32_t)(awake_us * 1000000u / total_us);
}
