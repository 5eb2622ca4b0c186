// SPDX-License-Identifier: Apache-2.0
// Convolutions of 16-bit inputs with 8-bit weights. The sum over a part of a window fits 32 bits;
// the sum over all parts has 64 bits.
#include "dsp.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"
#include "wide.h"

/// Output channels that are computed at once.
#define GROUP 4
/// So many products of 23 bits fit a sum of 32 bits; an even number.
#define PART_ITEMS 510

static int32_t requantize(const m3net_convolution_16* layer, int64_t sum,
                          const m3net_channel_16* channel) {
  const int64_t total = sum + channel->bias;
  const m3net_factor factor = {channel->multiplier, channel->shift};
  const int32_t value = layer->long_sums ? m3net_scale_long(total, factor)
                                         : m3net_scale((int32_t)(uint32_t)(uint64_t)total, factor);
  return m3net_clamp(value, layer->minimum, layer->maximum);
}

static int8_t* copy(int8_t* patch, const int8_t* items, int32_t count) {
  M3NET_MEMCPY(patch, items, 2u * (uint32_t)count);
  return patch + 2 * count;
}

static int8_t* fill(int8_t* patch, int32_t value, int32_t count) {
  M3NET_MEMSET(patch, value, 2u * (uint32_t)count);  // whose value is 0
  return patch + 2 * count;
}

/// Adds the products of a patch with the weights of four channels. Each pair of items has eight
/// weights in the order a0 b0 a1 b1 c0 d0 c1 d1: a letter for the channel, a digit for the item.
static void multiply(const int16_t* patch, int32_t items, const int8_t* weights, int64_t* sums) {
  while (items > 0) {
    const int32_t count = items < PART_ITEMS ? items : PART_ITEMS;
    const int16_t* end = patch + count;
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (; patch != end; patch += 2, weights += 2 * GROUP) {
#if M3NET_ENGINE_DSP
      uint32_t pair;
      M3NET_MEMCPY(&pair, patch, sizeof(pair));
      const uint32_t ab = m3net_load_word(weights), cd = m3net_load_word(weights + GROUP);
      a = m3net_add_products(pair, m3net_even_bytes(ab), a);
      b = m3net_add_products(pair, m3net_odd_bytes(ab), b);
      c = m3net_add_products(pair, m3net_even_bytes(cd), c);
      d = m3net_add_products(pair, m3net_odd_bytes(cd), d);
#else
      a += patch[0] * weights[0] + patch[1] * weights[2];
      b += patch[0] * weights[1] + patch[1] * weights[3];
      c += patch[0] * weights[4] + patch[1] * weights[6];
      d += patch[0] * weights[5] + patch[1] * weights[7];
#endif
    }
    sums[0] += a;
    sums[1] += b;
    sums[2] += c;
    sums[3] += d;
    items -= count;
  }
}

/// All output channels of one pixel.
static void convolve_pixel(const m3net_convolution_16* layer, const int16_t* patch, int32_t items,
                           int8_t* output) {
  const int8_t* weights = layer->weights;
  for (int32_t c = 0; c < layer->output.channels; c += GROUP, weights += GROUP * items) {
    int64_t sums[GROUP] = {0, 0, 0, 0};
    multiply(patch, items, weights, sums);
    for (int32_t i = c; i < c + GROUP && i < layer->output.channels; ++i) {
      m3net_store_16(output + 2 * i, requantize(layer, sums[i - c], layer->channels + i));
    }
  }
}

/// Taps of a window along one dimension that lie inside the image.
typedef struct {
  int32_t first, end;
} tap_range;

static tap_range see(int32_t position, int32_t taps, int32_t step, int32_t size) {
  const int32_t before = position < 0 ? (step - 1 - position) / step : 0;
  const int32_t count = position < size ? (size - position + step - 1) / step : 0;
  const tap_range range = {before, count < taps ? count : taps};
  return range;
}

typedef struct {
  const m3net_convolution_16* layer;
  const int8_t* input;
  int16_t* patch;
} convolution_state;

/// Gathers a window, with a zero after an odd number of items, and computes its pixel.
static void convolve_window(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution_16* layer = state->layer;
  const m3net_gatherer gatherer = {copy, fill, 2, 0};
  int8_t* end = m3net_gather(&layer->input, &layer->window, state->input, row, column, gatherer,
                             (int8_t*)state->patch);
  const int32_t items = (int32_t)((int16_t*)(void*)end - state->patch);
  fill(end, 0, items & 1);
  convolve_pixel(layer, state->patch, (items + 1) & ~1, output);
}

/// Computes a pixel of a depthwise convolution.
static void convolve_channels(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution_16* layer = state->layer;
  const int8_t* input = state->input;
  const m3net_window* window = &layer->window;
  const m3net_image* image = &layer->input;
  const tap_range rows = see(row, window->rows, window->row_dilation, image->rows);
  const tap_range columns = see(column, window->columns, window->column_dilation, image->columns);
  const int32_t channels = image->channels;
  const int32_t row_step = image->row_step * window->row_dilation;
  const int32_t column_step = image->column_step * window->column_dilation;
  const int32_t start = row * image->row_step + column * image->column_step;
  for (int32_t c = 0; c < channels; ++c, input += 2) {
    int64_t sum = 0;
    for (int32_t i = rows.first; i < rows.end; ++i) {
      const int8_t* item = input + (start + i * row_step + columns.first * column_step);
      const int8_t* weight = layer->weights + c + (i * window->columns + columns.first) * channels;
      for (int32_t j = columns.first; j < columns.end; ++j) {
        sum += (int64_t)(*weight * m3net_load_16(item));
        item += column_step;
        weight += channels;
      }
    }
    m3net_store_16(output + 2 * c, requantize(layer, sum, layer->channels + c));
  }
}

static inline void convolve(const m3net_convolution_16* layer, const int8_t* input, int8_t* output,
                            int16_t* patch, m3net_pixel_function compute) {
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const convolution_state state = {layer, input + batch * layer->input.batch_step, patch};
    m3net_for_each_pixel(&layer->output, &layer->window, output + batch * layer->output.batch_step,
                         compute, &state);
  }
}

void m3net_convolve_16(const m3net_convolution_16* layer, const int8_t* input, int8_t* output,
                       int16_t* patch) {
  convolve(layer, input, output, patch, convolve_window);
}

void m3net_convolve_depthwise_16(const m3net_convolution_16* layer, const int8_t* input,
                                 int8_t* output) {
  convolve(layer, input, output, 0, convolve_channels);
}
