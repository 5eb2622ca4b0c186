// SPDX-License-Identifier: Apache-2.0
// Functions of one 16-bit number.
#include "engine.h"
#include "loops.h"
#include "wide.h"

/// Entries of the table of the logistic function.
#define TABLE_ENTRIES 256

typedef int32_t (*item_function)(const void* layer, int32_t value);

static inline void for_each_item(const m3net_loop* loop, const void* layer, const int8_t* input,
                                 int8_t* output, item_function compute, int32_t input_bytes,
                                 int32_t output_bytes) {
  const int32_t rows = m3net_rows(loop);
  m3net_places places = {0, 0, 0};
  for (int32_t i = 1; i <= rows; ++i) {
    for (int32_t x = 0; x < loop->size[3]; ++x) {
      const int32_t value = m3net_load(input + places.first + x * loop->first[3], input_bytes);
      int8_t* target = output + places.output + x * loop->output[3];
      m3net_store(target, compute(layer, value), output_bytes);
    }
    m3net_next_row(loop, i, &places);
  }
}

static int32_t rescale(const void* any_layer, int32_t value) {
  const m3net_rescaling* layer = (const m3net_rescaling*)any_layer;
  const int32_t centred = value + layer->input_offset;
  int32_t scaled = m3net_scale(centred, centred >= 0 ? layer->positive : layer->negative);
  if (centred < 0 && layer->mirrored) {
    scaled = (int32_t)(0u - (uint32_t)scaled);
  }
  return m3net_clamp(m3net_sum(scaled, layer->output_offset), layer->minimum, layer->maximum);
}

/// The table's value at a place whose lower bits stand between two entries; what is beyond it ends
/// at the largest.
static inline int32_t interpolate(const m3net_sigmoid* layer, uint32_t place, uint32_t bits,
                                  int32_t most) {
  const uint32_t entry = place >> bits;
  if (entry >= TABLE_ENTRIES - 1) {
    return most;
  }
  const int32_t start = layer->table[entry], step = layer->table[entry + 1] - start;
  return (int32_t)((uint32_t)start << bits) + (int32_t)(place & ((1u << bits) - 1u)) * step;
}

/// An input in steps of the table.
static inline int32_t to_table(const m3net_sigmoid* layer, int32_t value) {
  const int32_t half = layer->shift > 0 ? (int32_t)(1u << (layer->shift - 1)) : 0;
  return m3net_sum(value * layer->multiplier, half) >> layer->shift;
}

static inline uint32_t magnitude(int32_t value) {
  return value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
}

static int32_t logistic(const void* any_layer, int32_t value) {
  const m3net_sigmoid* layer = (const m3net_sigmoid*)any_layer;
  const int32_t place = to_table(layer, value);
  const int32_t positive = interpolate(layer, magnitude(place), 9, INT16_MAX * (1 << 10));
  const int32_t half = 1 << 9;
  return (place >= 0 ? positive + half : (1 << 25) - positive + half - 1) >> 10;
}

static int32_t hyperbolic_tangent(const void* any_layer, int32_t value) {
  const m3net_sigmoid* layer = (const m3net_sigmoid*)any_layer;
  const int32_t place = to_table(layer, value);
  const int32_t positive = interpolate(layer, magnitude(place), 8, UINT16_MAX * (1 << 8));
  const int32_t one = 1 << 23, half = 1 << 7;
  return (place >= 0 ? positive - one + half : one - positive + half - 1) >> 8;
}

void m3net_rescale(const m3net_rescaling* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, rescale, layer->input_bytes,
                layer->output_bytes);
}

void m3net_logistic_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, logistic, 2, 2);
}

void m3net_tanh_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output) {
  for_each_item(&layer->loop, layer, input, output, hyperbolic_tangent, 2, 2);
}
