// SPDX-License-Identifier: Apache-2.0
// Kernels that move items, or replace each by that of a table.
#include "engine.h"
#include "loops.h"
#include "memory.h"

void m3net_look_up(const m3net_loop* loop, const int8_t* table, const int8_t* input,
                   int8_t* output) {
  const int8_t* zero = table - INT8_MIN;
  const int32_t rows = m3net_rows(loop), count = loop->size[3];
  const int32_t input_step = loop->first[3], output_step = loop->output[3];
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    const int8_t* source = input + places.first;
    int8_t* target = output + places.output;
    for (int32_t x = 0; x < count; ++x) {
      *target = zero[*source];
      source += input_step;
      target += output_step;
    }
    m3net_next_row(loop, i, &places);
  }
}

void m3net_copy(const m3net_loop* loop, const int8_t* input, int8_t* output) {
  const int32_t rows = m3net_rows(loop), count = loop->size[3];
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    const int8_t* source = input + places.first;
    int8_t* target = output + places.output;
    if (loop->first[3] == 1 && loop->output[3] == 1) {
      M3NET_MEMCPY(target, source, (uint32_t)count);
    } else {
      for (int32_t x = 0; x < count; ++x) {
        *target = *source;
        source += loop->first[3];
        target += loop->output[3];
      }
    }
    m3net_next_row(loop, i, &places);
  }
}

void m3net_fill(int8_t value, int32_t bytes, int8_t* output) {
  M3NET_MEMSET(output, value, (uint32_t)bytes);
}
