// SPDX-License-Identifier: Apache-2.0
// Sums over the lines of a window that moves on: lines enter and leave, the others stay.
#include "arithmetic.h"
#include "engine.h"
#include "wide.h"

/// Adds one item of the reduced dimensions to, or takes it from, the sums of all others.
static inline void add_items(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                             int32_t* sums, int32_t item_bytes) {
  const int32_t* size = layer->size;
  const int32_t* step = layer->input;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        const int8_t* item = input + a * step[0] + b * step[1] + c * step[2];
        for (int32_t d = 0; d < size[3]; ++d, item += step[3], ++sums) {
          *sums = m3net_sum(*sums, sign * m3net_load(item, item_bytes));
        }
      }
    }
  }
}

static inline void add_lines(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                             int32_t* sums, int32_t item_bytes) {
  const int32_t* size = layer->reduced_size;
  const int32_t* step = layer->reduced_input;
  for (int32_t a = 0; a < size[0]; ++a) {
    for (int32_t b = 0; b < size[1]; ++b) {
      for (int32_t c = 0; c < size[2]; ++c) {
        const int8_t* line = input + a * step[0] + b * step[1] + c * step[2];
        for (int32_t d = 0; d < size[3]; ++d, line += step[3]) {
          add_items(layer, line, sign, sums, item_bytes);
        }
      }
    }
  }
}

#if M3NET_ENGINE_DSP

/// Whether each sum is of a channel, four at a time, and fits in 16 bits.
static int32_t has_narrow_channels(const m3net_reduction* layer) {
  const int32_t *size = layer->size, *reduced = layer->reduced_size;
  return size[0] * size[1] * size[2] == 1 && size[3] % 4 == 0 && layer->input[3] == 1 &&
         reduced[0] == 1 && reduced[1] == 1 && reduced[2] * reduced[3] <= 256;
}

static void add_channels(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                         int32_t* sums) {
  int32_t rows = layer->reduced_size[2], columns = layer->reduced_size[3];
  int32_t row_step = layer->reduced_input[2], column_step = layer->reduced_input[3];
  if (columns == 1) {
    column_step = row_step;
  }
  if (columns == 1 || row_step == columns * column_step) {  // one row
    columns *= rows;
    rows = 1;
  }
  const int32_t* end = sums + layer->size[3];
  for (; sums < end; sums += 4, input += 4) {
    uint32_t even = 0, odd = 0;
    const int8_t* row = input;
    for (int32_t y = rows; y > 0; --y, row += row_step) {
      const int8_t* items = row;
      for (int32_t x = columns; x > 0; --x, items += column_step) {
        const uint32_t word = m3net_load_word(items);
        even = m3net_add_even_bytes(even, word);
        odd = m3net_add_odd_bytes(odd, word);
      }
    }
    sums[0] = m3net_sum(sums[0], sign * (int16_t)even);
    sums[1] = m3net_sum(sums[1], sign * (int16_t)odd);
    sums[2] = m3net_sum(sums[2], sign * ((int32_t)even >> 16));
    sums[3] = m3net_sum(sums[3], sign * ((int32_t)odd >> 16));
  }
}

#endif

void m3net_add_lines(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                     int32_t* sums) {
#if M3NET_ENGINE_DSP
  if (has_narrow_channels(layer)) {
    add_channels(layer, input, sign, sums);
    return;
  }
#endif
  add_lines(layer, input, sign, sums, 1);
}

void m3net_add_lines_16(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                        int32_t* sums) {
  add_lines(layer, input, sign, sums, 2);
}

static inline void finish(const m3net_reduction* layer, const int32_t* sums, int8_t* output,
                          int32_t smallest, int32_t largest, int32_t item_bytes) {
  const int32_t count = layer->size[0] * layer->size[1] * layer->size[2] * layer->size[3];
  for (int32_t i = 0; i < count; ++i) {
    const int32_t mean = m3net_mean_of(layer, sums[i]);
    m3net_store(output + i * item_bytes, m3net_clamp(mean, smallest, largest), item_bytes);
  }
}

void m3net_mean_of_sums(const m3net_reduction* layer, const int32_t* sums, int8_t* output) {
  finish(layer, sums, output, INT8_MIN, INT8_MAX, 1);
}

void m3net_mean_of_sums_16(const m3net_reduction* layer, const int32_t* sums, int8_t* output) {
  finish(layer, sums, output, INT16_MIN, INT16_MAX, 2);
}

int32_t m3net_count_push(int32_t needed, int32_t* pushes) {
  if (*pushes < needed) {
    ++*pushes;
  }
  return *pushes == needed;
}
