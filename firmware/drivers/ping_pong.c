// SPDX-License-Identifier: Apache-2.0

#include "ping_pong.h"

#include <string.h>

void m3net_ping_pong_start(m3net_ping_pong* buffer, int16_t* samples, size_t half_samples,
                           m3net_half_ready half_ready, void* context) {
  buffer->samples = samples;
  buffer->half_samples = half_samples;
  buffer->next = 0;
  buffer->half_ready = half_ready;
  buffer->context = context;
}

void m3net_ping_pong_put(m3net_ping_pong* buffer, const int16_t* samples, size_t count) {
  while (count > 0u) {
    const size_t half = buffer->half_samples;
    const size_t in_half = buffer->next % half;
    const size_t step = count < half - in_half ? count : half - in_half;
    memcpy(&buffer->samples[buffer->next], samples, step * sizeof(int16_t));
    samples += step;
    count -= step;
    buffer->next += step;
    if (in_half + step == half) {
      const int16_t* ready = &buffer->samples[buffer->next - half];
      if (buffer->next == 2u * half) buffer->next = 0;
      buffer->half_ready(buffer->context, ready);
    }
  }
}
