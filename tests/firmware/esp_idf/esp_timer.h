// SPDX-License-Identifier: Apache-2.0
#ifndef M3NET_TESTS_ESP_TIMER_H_
#define M3NET_TESTS_ESP_TIMER_H_

#include <stdint.h>

int64_t esp_timer_get_time(void);

#endif  // M3NET_TESTS_ESP_TIMER_H_
