// SPDX-License-Identifier: Apache-2.0
// Comparisons of items, and what depends on their results.
#include "arithmetic.h"
#include "engine.h"
#include "loops.h"
#include "memory.h"

/// Bits by which a comparison enlarges its inputs.
#define COMPARED_BITS 8

static inline int32_t enlarged(int8_t value, int32_t offset, m3net_factor factor) {
  return m3net_scale((value + offset) * (1 << COMPARED_BITS), factor);
}

void m3net_compare(const m3net_comparison* layer, const int8_t* first, const int8_t* second,
                   int8_t* output) {
  const m3net_loop* loop = &layer->loop;
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      const int32_t a =
          enlarged(first[places.first + x * loop->first[3]], layer->first_offset, layer->first);
      const int32_t b = enlarged(second[places.second + x * loop->second[3]], layer->second_offset,
                                 layer->second);
      const int8_t unequal = a < b ? layer->less : layer->greater;
      output[places.output + x * loop->output[3]] = a == b ? layer->equal : unequal;
    }
    m3net_next_row(loop, i, &places);
  }
}

void m3net_copy_where(const m3net_loop* loop, const int8_t* condition, const int8_t* items,
                      int8_t* output) {
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      if (condition[places.first + x * loop->first[3]] != 0) {
        output[places.output + x * loop->output[3]] = items[places.second + x * loop->second[3]];
      }
    }
    m3net_next_row(loop, i, &places);
  }
}

static int32_t find(const m3net_search* layer, const int8_t* items) {
  int32_t best = 0;
  for (int32_t i = 1; i < layer->count; ++i) {
    const int8_t item = items[i * layer->step], old = items[best * layer->step];
    if (layer->smallest ? item < old : item > old) {
      best = i;
    }
  }
  return best;
}

void m3net_find(const m3net_search* layer, const int8_t* input, int8_t* output) {
  const m3net_loop* loop = &layer->loop;
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      const int32_t index = find(layer, input + places.first + x * loop->first[3]);
      M3NET_MEMCPY(output + places.output + x * loop->output[3], &index, sizeof(index));
    }
    m3net_next_row(loop, i, &places);
  }
}
