// SPDX-License-Identifier: Apache-2.0
// Product of two matrices that are both computed.
#include "arithmetic.h"
#include "engine.h"

void m3net_multiply_matrices(const m3net_matmul* layer, const int8_t* first, const int8_t* second,
                             int8_t* output) {
  for (int32_t b = 0; b < layer->batches; ++b) {
    for (int32_t i = 0; i < layer->rows; ++i) {
      const int8_t* row = first + b * layer->first_step[0] + i * layer->first_step[1];
      int8_t* target = output + b * layer->output_step[0] + i * layer->output_step[1];
      for (int32_t j = 0; j < layer->columns; ++j, target += layer->output_step[2]) {
        const int8_t* a = row;
        const int8_t* c = second + b * layer->second_step[0] + j * layer->second_step[2];
        int32_t sum = 0;
        for (int32_t k = 0; k < layer->depth; ++k) {
          sum += (*a + layer->first_offset) * (*c + layer->second_offset);
          a += layer->first_step[2];
          c += layer->second_step[1];
        }
        const int32_t value = m3net_scale(sum, layer->factor) + layer->output_offset;
        *target = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
      }
    }
  }
}
