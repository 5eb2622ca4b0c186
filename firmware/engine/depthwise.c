// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution: for each output pixel, the places of its window's pixels, then four
// channels at a time through all of them. Outside the image stands a pixel of zero points.
#include <string.h>

#include "arithmetic.h"
#include "engine.h"

/// Where the pixels of a window are.
typedef struct {
  int32_t* places;  ///< Relative to the input.
  int32_t taps;     ///< Number of places, rounded up to an even one.
  int8_t* outside;  ///< A pixel of zero points.
  const int8_t* input;
} window_places;

/// Fills in the places of a window whose first pixel is (row, column).
static void place_window(const m3net_convolution* layer, const window_places* parts, int32_t row,
                         int32_t column) {
  const m3net_window* window = &layer->window;
  const int32_t outside = (int32_t)(parts->outside - parts->input);
  const int32_t step = layer->input.column_step * window->column_dilation;
  int32_t* place = parts->places;
  for (int32_t i = 0; i < window->rows; ++i, row += window->row_dilation) {
    const int32_t inside = row >= 0 && row < layer->input.rows;
    int32_t x = column;
    int32_t at = row * layer->input.row_step + column * layer->input.column_step;
    for (int32_t j = 0; j < window->columns; ++j, x += window->column_dilation, at += step) {
      *place++ = inside && x >= 0 && x < layer->input.columns ? at : outside;
    }
  }
  if (place != parts->places + parts->taps) {
    *place = outside;
  }
}

#if M3NET_ENGINE_DSP

/// Adds the products of four channels with all taps. Each pair of taps has four pairs of weights.
static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_weight* weights, m3net_four_sums sums) {
  const int32_t* place = parts->places;
  const int32_t* end = place + parts->taps;
  do {
    const uint32_t first = m3net_load_word(input + place[0]);
    const uint32_t second = m3net_load_word(input + place[1]);
    const uint32_t first_even = m3net_even_bytes(first), first_odd = m3net_odd_bytes(first);
    const uint32_t second_even = m3net_even_bytes(second), second_odd = m3net_odd_bytes(second);
    uint32_t pairs[4];
    __builtin_memcpy(pairs, __builtin_assume_aligned(weights, 4), sizeof(pairs));
    sums.a = m3net_add_products(m3net_pack_low(first_even, second_even), pairs[0], sums.a);
    sums.b = m3net_add_products(m3net_pack_low(first_odd, second_odd), pairs[1], sums.b);
    sums.c = m3net_add_products(m3net_pack_high(first_even, second_even), pairs[2], sums.c);
    sums.d = m3net_add_products(m3net_pack_high(first_odd, second_odd), pairs[3], sums.d);
    place += 2;
    weights += 8;
  } while (place != end);
  return sums;
}

#else

static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_weight* weights, m3net_four_sums sums) {
  for (int32_t tap = 0; tap < parts->taps; tap += 2, weights += 8) {
    const int8_t* first = input + parts->places[tap];
    const int8_t* second = input + parts->places[tap + 1];
    sums.a = m3net_sum(sums.a, first[0] * weights[0] + second[0] * weights[1]);
    sums.b = m3net_sum(sums.b, first[1] * weights[2] + second[1] * weights[3]);
    sums.c = m3net_sum(sums.c, first[2] * weights[4] + second[2] * weights[5]);
    sums.d = m3net_sum(sums.d, first[3] * weights[6] + second[3] * weights[7]);
  }
  return sums;
}

#endif

/// All channels of one pixel.
static void convolve_pixel(const m3net_convolution* layer, const window_places* parts,
                           int8_t* output) {
  const m3net_weight* weights = layer->weights;
  const m3net_channel* channel = layer->channels;
  const int8_t* input = parts->input;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    m3net_finish(layer, multiply(parts, input, weights, m3net_four_biases(channel)), channel, left,
                 output);
    weights += 4 * parts->taps;
    channel += 4;
    input += 4;
    output += 4;
  }
}

void m3net_convolve_depthwise(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                              int32_t* scratch) {
  const m3net_image* image = &layer->output;
  const m3net_window* window = &layer->window;
  window_places parts = {.places = scratch, .taps = (window->rows * window->columns + 1) & ~1};
  parts.outside = (int8_t*)(scratch + parts.taps);
  memset(parts.outside, layer->padding, (uint32_t)((layer->input.channels + 3) & ~3));
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    parts.input = input + batch * layer->input.batch_step;
    for (int32_t y = 0; y < image->rows; ++y) {
      int8_t* pixel = output + batch * image->batch_step + y * image->row_step;
      for (int32_t x = 0; x < image->columns; ++x, pixel += image->column_step) {
        place_window(layer, &parts, y * window->row_stride - window->top,
                     x * window->column_stride - window->left);
        convolve_pixel(layer, &parts, pixel);
      }
    }
  }
}
