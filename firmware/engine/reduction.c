// SPDX-License-Identifier: Apache-2.0
// Mean, minimum and maximum over dimensions of a tensor.
#include "arithmetic.h"
#include "engine.h"
#include "wide.h"

typedef int32_t (*step_function)(int32_t value, int32_t item);

static inline int32_t add(int32_t value, int32_t item) { return m3net_sum(value, item); }

static inline int32_t take_larger(int32_t value, int32_t item) {
  return item > value ? item : value;
}

static inline int32_t take_smaller(int32_t value, int32_t item) {
  return item < value ? item : value;
}

/// Reduces all items of the reduced dimensions to one output.
static inline int32_t reduce_item(const m3net_reduction* layer, const int8_t* input, int32_t value,
                                  step_function step, int32_t item_bytes) {
  const int32_t* size = layer->reduced_size;
  const int32_t* bytes = layer->reduced_input;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        const int8_t* item = input + a * bytes[0] + b * bytes[1] + c * bytes[2];
        for (int32_t d = 0; d < size[3]; ++d, item += bytes[3]) {
          value = step(value, m3net_load(item, item_bytes));
        }
      }
    }
  }
  return value;
}

typedef int32_t (*finish_function)(const m3net_reduction* layer, int32_t value);

static int32_t finish_mean(const m3net_reduction* layer, int32_t value) {
  return m3net_clamp(m3net_mean_of(layer, value), INT8_MIN, INT8_MAX);
}

static int32_t finish_mean_16(const m3net_reduction* layer, int32_t value) {
  return m3net_clamp(m3net_mean_of(layer, value), INT16_MIN, INT16_MAX);
}

static int32_t finish_choice(const m3net_reduction* layer, int32_t value) {
  (void)layer;
  return value;
}

static inline void reduce(const m3net_reduction* layer, const int8_t* input, int8_t* output,
                          int32_t start, step_function step, finish_function finish,
                          int32_t bytes) {
  const int32_t* size = layer->size;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        for (int32_t d = 0; d < size[3]; ++d) {
          const int32_t from =
              a * layer->input[0] + b * layer->input[1] + c * layer->input[2] + d * layer->input[3];
          const int32_t to = a * layer->output[0] + b * layer->output[1] + c * layer->output[2] +
                             d * layer->output[3];
          const int32_t value = reduce_item(layer, input + from, start, step, bytes);
          m3net_store(output + to, finish(layer, value), bytes);
        }
      }
    }
  }
}

void m3net_reduce_mean(const m3net_reduction* layer, const int8_t* input, int8_t* output) {
  reduce(layer, input, output, 0, add, finish_mean, 1);
}

void m3net_reduce_max(const m3net_reduction* layer, const int8_t* input, int8_t* output) {
  reduce(layer, input, output, INT8_MIN, take_larger, finish_choice, 1);
}

void m3net_reduce_min(const m3net_reduction* layer, const int8_t* input, int8_t* output) {
  reduce(layer, input, output, INT8_MAX, take_smaller, finish_choice, 1);
}

void m3net_reduce_mean_16(const m3net_reduction* layer, const int8_t* input, int8_t* output) {
  reduce(layer, input, output, 0, add, finish_mean_16, 2);
}
