// SPDX-License-Identifier: Apache-2.0
// The share of the time in which the core sleeps; every sleep goes through m3net_duty_sleep().
#ifndef M3NET_CORE_DUTY_H_
#define M3NET_CORE_DUTY_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Sleep since a start; the caller's memory.
typedef struct {
  uint64_t start_us;   ///< Time of m3net_duty_start().
  uint64_t asleep_us;  ///< Slept since.
} m3net_duty;

/// Starts counting from zero.
void m3net_duty_start(m3net_duty* duty);

/// Sleeps by m3net_board_idle() and adds the time. Check under m3net_platform_lock() that there is
/// nothing to do and call this before unlocking: an interrupt in between ends the sleep at once.
void m3net_duty_sleep(m3net_duty* duty);

/// Share of the time awake since the start, in parts per million.
uint32_t m3net_duty_awake_ppm(const m3net_duty* duty);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_DUTY_H_
