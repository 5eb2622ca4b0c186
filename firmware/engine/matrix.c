// SPDX-License-Identifier: Apache-2.0
// Products of two computed matrices.
#include "arithmetic.h"
#include "engine.h"
#include "loops.h"
#include "wide.h"

/// Computes one item of a product from a row and a column.
static void multiply_item(const m3net_matmul* layer, const int8_t* row, const int8_t* column,
                          int8_t* output) {
  int32_t sum = 0;
  for (int32_t k = 0; k < layer->depth; ++k) {
    sum += (*row + layer->first_offset) * (*column + layer->second_offset);
    row += layer->first_step[1];
    column += layer->second_step[0];
  }
  const int32_t value = m3net_scale(sum, layer->factor) + layer->output_offset;
  *output = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
}

static void multiply_item_16(const m3net_matmul* layer, const int8_t* row, const int8_t* column,
                             int8_t* output) {
  int64_t sum = 0;
  for (int32_t k = 0; k < layer->depth; ++k) {
    sum += (int64_t)(m3net_load_16(row) * m3net_load_16(column));
    row += layer->first_step[1];
    column += layer->second_step[0];
  }
  m3net_store_16(output, m3net_clamp(m3net_scale_long(sum, layer->factor), INT16_MIN, INT16_MAX));
}

typedef void (*item_function)(const m3net_matmul* layer, const int8_t* row, const int8_t* column,
                              int8_t* output);

static inline void multiply_matrix(const m3net_matmul* layer, const int8_t* first,
                                   const int8_t* second, int8_t* output, item_function multiply) {
  for (int32_t i = 0; i < layer->rows; ++i) {
    int8_t* target = output + i * layer->output_step[0];
    for (int32_t j = 0; j < layer->columns; ++j, target += layer->output_step[1]) {
      multiply(layer, first + i * layer->first_step[0], second + j * layer->second_step[1], target);
    }
  }
}

static inline void multiply_matrices(const m3net_matmul* layer, const int8_t* first,
                                     const int8_t* second, int8_t* output, item_function multiply) {
  const m3net_loop* loop = &layer->matrices;
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      multiply_matrix(layer, first + places.first + x * loop->first[3],
                      second + places.second + x * loop->second[3],
                      output + places.output + x * loop->output[3], multiply);
    }
    m3net_next_row(loop, i, &places);
  }
}

void m3net_multiply_matrices(const m3net_matmul* layer, const int8_t* first, const int8_t* second,
                             int8_t* output) {
  multiply_matrices(layer, first, second, output, multiply_item);
}

void m3net_multiply_matrices_16(const m3net_matmul* layer, const int8_t* first,
                                const int8_t* second, int8_t* output) {
  multiply_matrices(layer, first, second, output, multiply_item_16);
}
