// SPDX-License-Identifier: Apache-2.0
// Prints the share awake in parts per million, after AWAKE_US awake and then ASLEEP_US asleep.

#include <stdio.h>
#include <stdlib.h>

#include "duty.h"
#include "platform.h"

static uint64_t now_us, sleep_us;

uint64_t m3net_board_time_us(void) { return now_us; }

void m3net_board_idle(void) { now_us += sleep_us; }

int main(int count, char** words) {
  if (count != 3) return 2;
  m3net_duty duty;
  m3net_duty_start(&duty);
  now_us += strtoull(words[1], NULL, 10);
  sleep_us = strtoull(words[2], NULL, 10);
  m3net_duty_sleep(&duty);
  printf("%u\n", (unsigned)m3net_duty_awake_ppm(&duty));
  return 0;
}
