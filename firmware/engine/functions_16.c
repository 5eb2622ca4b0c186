// SPDX-License-Identifier: Apache-2.0
// Elementwise functions of one input, where input or output is wider than 8 bits.
#include "engine.h"
#include "loops.h"
#include "root.h"
#include "sigmoid.h"
#include "wide.h"

/// Fraction bits of a reciprocal root.
#define ROOT_BITS 20

typedef int32_t (*item_function)(const void* layer, int32_t value);

static inline int32_t load(const int8_t* place, int32_t bytes) {
  int32_t value;
  if (bytes != sizeof(value)) {
    return m3net_load(place, bytes);
  }
  M3NET_MEMCPY(&value, place, sizeof(value));
  return value;
}

static inline void store(int8_t* place, int32_t value, int32_t bytes) {
  if (bytes != sizeof(value)) {
    m3net_store(place, value, bytes);
  } else {
    M3NET_MEMCPY(place, &value, sizeof(value));
  }
}

static inline void for_each_item(const m3net_loop* loop, const void* layer, const int8_t* input,
                                 int8_t* output, item_function compute, int32_t input_bytes,
                                 int32_t output_bytes) {
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      const int32_t value = load(input + places.first + x * loop->first[3], input_bytes);
      int8_t* target = output + places.output + x * loop->output[3];
      store(target, compute(layer, value), output_bytes);
    }
    m3net_next_row(loop, i, &places);
  }
}

static int32_t rescale(const void* any_layer, int32_t value) {
  const m3net_rescaling* layer = (const m3net_rescaling*)any_layer;
  int32_t centred = m3net_sum(value, layer->input_offset);
  if (layer->absolute && centred < 0) {
    centred = -centred;
  }
  int32_t scaled = m3net_scale(centred, centred >= 0 ? layer->positive : layer->negative);
  if (centred < 0 && layer->mirrored) {
    scaled = (int32_t)(0u - (uint32_t)scaled);
  }
  return m3net_clamp(m3net_sum(scaled, layer->output_offset), layer->minimum, layer->maximum);
}

/// The place of an input in the table.
static inline int32_t to_table(const m3net_sigmoid* layer, int32_t value) {
  const int32_t half = layer->shift > 0 ? (int32_t)(1u << (layer->shift - 1)) : 0;
  return m3net_sum(value * layer->multiplier, half) >> layer->shift;
}

/// ROOT_BITS are kept between the two factors, so that the fraction of the root is not lost.
static int32_t reciprocal_root(const void* any_layer, int32_t value) {
  const m3net_root* layer = (const m3net_root*)any_layer;
  if (value <= 0) {
    return INT16_MAX;
  }
  m3net_factor root = {INT32_MAX, 0};
  if (value > 1) {
    root = m3net_inverse_root(value);
  }
  root.shift += ROOT_BITS;
  const m3net_factor factor = {layer->factor.multiplier, layer->factor.shift - ROOT_BITS};
  return m3net_clamp(m3net_scale(m3net_scale(1, root), factor), INT16_MIN, INT16_MAX);
}

static int32_t logistic(const void* any_layer, int32_t value) {
  const m3net_sigmoid* layer = (const m3net_sigmoid*)any_layer;
  return m3net_logistic(layer->table, to_table(layer, value));
}

static int32_t hyperbolic_tangent(const void* any_layer, int32_t value) {
  const m3net_sigmoid* layer = (const m3net_sigmoid*)any_layer;
  return m3net_tanh(layer->table, to_table(layer, value));
}

void m3net_rescale(const m3net_rescaling* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, rescale, layer->input_bytes,
                layer->output_bytes);
}

void m3net_inverse_root_16(const m3net_root* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, reciprocal_root, 2, 2);
}

void m3net_logistic_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, logistic, 2, 2);
}

void m3net_tanh_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, hyperbolic_tangent, 2, 2);
}
