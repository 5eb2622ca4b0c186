// SPDX-License-Identifier: Apache-2.0
// Elementwise operators of two 16-bit inputs.
#include "engine.h"
#include "loops.h"
#include "wide.h"

typedef int32_t (*item_function)(const m3net_binary_16* layer, int32_t first, int32_t second);

static inline void for_each_item(const m3net_binary_16* layer, const int8_t* first,
                                 const int8_t* second, int8_t* output, item_function combine) {
  const m3net_loop* loop = &layer->loop;
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      const int32_t a = m3net_load_16(first + places.first + x * loop->first[3]);
      const int32_t b = m3net_load_16(second + places.second + x * loop->second[3]);
      const int32_t value = combine(layer, a, b);
      m3net_store_16(output + places.output + x * loop->output[3],
                     m3net_clamp(value, layer->minimum, layer->maximum));
    }
    m3net_next_row(loop, i, &places);
  }
}

/// An input in the scale that both inputs share.
static inline int32_t enlarge(int32_t value, m3net_factor factor) {
  return m3net_scale(value * (1 << M3NET_SUM_BITS_16), factor);
}

static int32_t add(const m3net_binary_16* layer, int32_t first, int32_t second) {
  return m3net_scale(enlarge(first, layer->first) + enlarge(second, layer->second), layer->output);
}

static int32_t subtract(const m3net_binary_16* layer, int32_t first, int32_t second) {
  return m3net_scale(enlarge(first, layer->first) - enlarge(second, layer->second), layer->output);
}

static int32_t square_difference(const m3net_binary_16* layer, int32_t first, int32_t second) {
  const int32_t difference = m3net_scale(first, layer->first) - m3net_scale(second, layer->second);
  return m3net_scale(difference * difference, layer->output);
}

static int32_t multiply(const m3net_binary_16* layer, int32_t first, int32_t second) {
  return m3net_scale(first * second, layer->output);
}

static int32_t take_smaller(const m3net_binary_16* layer, int32_t first, int32_t second) {
  (void)layer;
  return first < second ? first : second;
}

static int32_t take_larger(const m3net_binary_16* layer, int32_t first, int32_t second) {
  (void)layer;
  return first > second ? first : second;
}

void m3net_add_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                  int8_t* output) {
  for_each_item(layer, first, second, output, add);
}

void m3net_subtract_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                       int8_t* output) {
  for_each_item(layer, first, second, output, subtract);
}

void m3net_squared_difference_16(const m3net_binary_16* layer, const int8_t* first,
                                 const int8_t* second, int8_t* output) {
  for_each_item(layer, first, second, output, square_difference);
}

void m3net_multiply_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                       int8_t* output) {
  for_each_item(layer, first, second, output, multiply);
}

void m3net_minimum_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                      int8_t* output) {
  for_each_item(layer, first, second, output, take_smaller);
}

void m3net_maximum_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                      int8_t* output) {
  for_each_item(layer, first, second, output, take_larger);
}
