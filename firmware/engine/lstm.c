// SPDX-License-Identifier: Apache-2.0
// Long short-term memory over a sequence: 8-bit weights, 8-bit or 16-bit inputs and outputs, 16-bit
// cells.
#include "engine.h"
#include "memory.h"
#include "sigmoid.h"
#include "wide.h"

/// Steps of the table for each step of a gate.
#define GATE_STEPS 3

static int32_t saturate_16(int32_t value) { return m3net_clamp(value, INT16_MIN, INT16_MAX); }

/// A row of 8-bit weights times a vector, in steps of a gate.
static int32_t multiply(const int8_t* weights, const int8_t* vector, int32_t count, int32_t sum,
                        m3net_factor factor) {
  for (int32_t i = 0; i < count; ++i) {
    sum += weights[i] * vector[i];
  }
  return saturate_16(m3net_scale(sum, factor));
}

/// As multiply, with a vector of 16-bit items.
static int32_t multiply_16(const int8_t* weights, const int8_t* vector, int32_t count, int64_t sum,
                           m3net_factor factor) {
  for (int32_t i = 0; i < count; ++i, vector += 2) {
    const int32_t product = weights[i] * m3net_load_16(vector);
    sum += product;
  }
  return saturate_16(m3net_scale_long(sum, factor));
}

/// A gate of one cell before its activation function, in steps of the function's table. `bytes` is
/// the constant size of an input's or output's item.
static inline int32_t gate_sum(const m3net_lstm_layer* layer, const m3net_gate* gate, int32_t cell,
                               const int8_t* input, const int8_t* state, int32_t bytes) {
  const int8_t* weights = gate->input_weights + cell * layer->inputs;
  const int8_t* recurrent = gate->state_weights + cell * layer->cells;
  int32_t sum;
  if (bytes == 1) {
    sum = multiply(weights, input, layer->inputs, gate->input_bias[cell], gate->input_factor) +
          multiply(recurrent, state, layer->cells, gate->state_bias[cell], gate->state_factor);
  } else {
    sum = multiply_16(weights, input, layer->inputs, gate->long_bias[cell], gate->input_factor) +
          multiply_16(recurrent, state, layer->cells, 0, gate->state_factor);
  }
  return GATE_STEPS * saturate_16(sum);
}

/// Computes one time step of one cell; returns the output.
static inline int32_t step_cell(const m3net_lstm_layer* layer, int32_t index, const int8_t* input,
                                const int8_t* state, int16_t* cell, int32_t bytes) {
  const uint16_t* table = layer->table;
  const int32_t forget_gate =
      m3net_logistic(table, gate_sum(layer, &layer->forget, index, input, state, bytes));
  const int32_t input_gate =
      m3net_logistic(table, gate_sum(layer, &layer->input, index, input, state, bytes));
  const int32_t cell_gate =
      m3net_tanh(table, gate_sum(layer, &layer->cell, index, input, state, bytes));
  const int32_t output_gate =
      m3net_logistic(table, gate_sum(layer, &layer->output, index, input, state, bytes));
  const int32_t kept = saturate_16(m3net_scale(forget_gate * cell[index], layer->forget_factor));
  const int32_t added = saturate_16(m3net_scale(input_gate * cell_gate, layer->input_factor));
  const int32_t sum = saturate_16(kept + added);
  cell[index] = (int16_t)m3net_clamp(sum, -layer->clip - layer->unclipped, layer->clip);
  const int32_t half = layer->cell_shift > 0 ? 1 << (layer->cell_shift - 1) : 0;
  const int32_t place = (cell[index] * layer->cell_multiplier + half) >> layer->cell_shift;
  const int32_t output = m3net_scale(m3net_tanh(table, place) * output_gate, layer->output_factor) +
                         layer->output_offset;
  return bytes == 1 ? m3net_clamp(output, INT8_MIN, INT8_MAX) : saturate_16(output);
}

static inline void run(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output,
                       int16_t* cells, int32_t bytes) {
  const int32_t count = layer->cells;
  int8_t* last = (int8_t*)(cells + layer->batches * count);
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const int8_t* state = last;
    const int8_t* from = input + batch * layer->input_batch_step;
    int8_t* to = output + batch * layer->output_batch_step;
    for (int32_t step = 0; step < layer->steps; ++step) {
      for (int32_t cell = 0; cell < count; ++cell) {
        m3net_store(to + cell * bytes, step_cell(layer, cell, from, state, cells, bytes), bytes);
      }
      state = to;
      from += layer->input_step;
      to += layer->output_step;
    }
    M3NET_MEMCPY(last, state, (uint32_t)(bytes * count));
    last += bytes * count;
    cells += count;
  }
}

void m3net_lstm(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output,
                int16_t* cells) {
  run(layer, input, output, cells, 1);
}

void m3net_lstm_16(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output,
                   int16_t* cells) {
  run(layer, input, output, cells, 2);
}
