// SPDX-License-Identifier: Apache-2.0
// Long short-term memory over a sequence: inputs, outputs and weights of 8 bits, cells of 16 bits.
#include "engine.h"
#include "memory.h"
#include "sigmoid.h"
#include "wide.h"

/// Steps of the table in a step of a gate.
#define GATE_STEPS 3

static int32_t saturate_16(int32_t value) { return m3net_clamp(value, INT16_MIN, INT16_MAX); }

/// A row of weights times a vector, in steps of a gate.
static int32_t multiply(const int8_t* weights, const int8_t* vector, int32_t count, int32_t sum,
                        m3net_factor factor) {
  for (int32_t i = 0; i < count; ++i) {
    sum += weights[i] * vector[i];
  }
  return saturate_16(m3net_scale(sum, factor));
}

/// A gate of one cell before its function, in steps of the function's table.
static int32_t open_gate(const m3net_lstm_layer* layer, const m3net_gate* gate, int32_t cell,
                         const int8_t* input, const int8_t* state) {
  const int8_t* weights = gate->input_weights + cell * layer->inputs;
  const int8_t* recurrent = gate->state_weights + cell * layer->cells;
  const int32_t sum =
      multiply(weights, input, layer->inputs, gate->input_bias[cell], gate->input_factor) +
      multiply(recurrent, state, layer->cells, gate->state_bias[cell], gate->state_factor);
  return GATE_STEPS * saturate_16(sum);
}

/// One step of one cell; returns the output.
static int8_t step_cell(const m3net_lstm_layer* layer, int32_t index, const int8_t* input,
                        const int8_t* state, int16_t* cell) {
  const uint16_t* table = layer->table;
  const int32_t forget =
      m3net_logistic(table, open_gate(layer, &layer->forget, index, input, state));
  const int32_t accept =
      m3net_logistic(table, open_gate(layer, &layer->accept, index, input, state));
  const int32_t value = m3net_tanh(table, open_gate(layer, &layer->value, index, input, state));
  const int32_t emit = m3net_logistic(table, open_gate(layer, &layer->emit, index, input, state));
  const int32_t kept = saturate_16(m3net_scale(forget * cell[index], layer->kept));
  const int32_t added = saturate_16(m3net_scale(accept * value, layer->added));
  const int32_t sum = saturate_16(kept + added);
  cell[index] = (int16_t)m3net_clamp(sum, -layer->clip - layer->unclipped, layer->clip);
  const int32_t half = layer->cell_shift > 0 ? 1 << (layer->cell_shift - 1) : 0;
  const int32_t place = (cell[index] * layer->cell_multiplier + half) >> layer->cell_shift;
  const int32_t output = m3net_scale(m3net_tanh(table, place) * emit, layer->emitted);
  return (int8_t)m3net_clamp(output + layer->output_offset, INT8_MIN, INT8_MAX);
}

void m3net_lstm(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output,
                int16_t* scratch) {
  int8_t* start = (int8_t*)(scratch + layer->cells);
  M3NET_MEMSET(start, layer->output_offset, (uint32_t)layer->cells);
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    M3NET_MEMSET(scratch, 0, 2u * (uint32_t)layer->cells);
    const int8_t* state = start;
    const int8_t* from = input + batch * layer->input_batch_step;
    int8_t* to = output + batch * layer->output_batch_step;
    for (int32_t step = 0; step < layer->steps; ++step) {
      for (int32_t cell = 0; cell < layer->cells; ++cell) {
        to[cell] = step_cell(layer, cell, from, state, scratch);
      }
      state = to;
      from += layer->input_step;
      to += layer->output_step;
    }
  }
}
