// SPDX-License-Identifier: Apache-2.0
// Singular value decomposition filters: each filter multiplies a frame with its feature weights,
// and its latest results with its weights of time.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"
#include "wide.h"

/// Multiplies a frame with a filter's weights; returns the product in steps of the state.
static int32_t multiply_frame(const m3net_svdf_layer* layer, const int8_t* weights,
                              const int8_t* frame) {
  int32_t sum = 0;
  for (int32_t i = 0; i < layer->inputs; ++i) {
    sum += weights[i] * (frame[i] + layer->input_offset);
  }
  return m3net_scale(sum, layer->state_factor) + layer->state_offset;
}

/// Multiplies a filter's latest results with its weights of time.
static int32_t multiply_time(const m3net_svdf_layer* layer, const int16_t* weights,
                             const int8_t* results) {
  int32_t sum = 0;
  for (int32_t i = 0; i < layer->memory; ++i, results += layer->state_bytes) {
    sum = m3net_sum(sum,
                    weights[i] * (m3net_load(results, layer->state_bytes) - layer->state_offset));
  }
  return sum;
}

/// Lets a filter's results move on by one and adds the newest; returns the sum over time.
static int32_t step_filter(const m3net_svdf_layer* layer, int32_t filter, const int8_t* frame,
                           int8_t* results) {
  const int32_t bytes = layer->state_bytes, last = bytes * (layer->memory - 1);
  for (int32_t i = 0; i < last; ++i) {
    results[i] = results[i + bytes];
  }
  const int32_t smallest = bytes == 1 ? INT8_MIN : INT16_MIN;
  const int32_t largest = bytes == 1 ? INT8_MAX : INT16_MAX;
  const int32_t result = multiply_frame(layer, layer->features + filter * layer->inputs, frame);
  m3net_store(results + last, m3net_clamp(result, smallest, largest), bytes);
  return multiply_time(layer, layer->time + filter * layer->memory, results);
}

void m3net_svdf(const m3net_svdf_layer* layer, const int8_t* input, int8_t* output,
                int8_t* results) {
  const int32_t step = layer->memory * layer->state_bytes;
  for (int32_t batch = 0; batch < layer->batches; ++batch, input += layer->inputs) {
    for (int32_t unit = 0; unit < layer->units; ++unit, ++output) {
      int32_t sum = layer->bias[unit];
      for (int32_t i = 0; i < layer->rank; ++i, results += step) {
        sum = m3net_sum(sum, step_filter(layer, unit * layer->rank + i, input, results));
      }
      const int32_t value = m3net_scale(sum, layer->output_factor) + layer->output_offset;
      *output = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
    }
  }
}
