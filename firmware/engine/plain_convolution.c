// SPDX-License-Identifier: Apache-2.0
// Convolution of one pixel at a time with weights of one byte on every core: the least flash.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if !M3NET_ENGINE_HELIUM

static int8_t* copy(int8_t* patch, const int8_t* items, int32_t count) {
  M3NET_MEMCPY(patch, items, (uint32_t)count);
  return patch + count;
}

static int8_t* fill(int8_t* patch, int32_t value, int32_t count) {
  M3NET_MEMSET(patch, value, (uint32_t)count);
  return patch + count;
}

/// Four items of a window.
typedef struct {
#if M3NET_ENGINE_DSP
  uint32_t even, odd;  ///< Widened to 16 bits.
#else
  int32_t items[4];
#endif
} four_items;

static inline four_items load_items(const int8_t* patch) {
#if M3NET_ENGINE_DSP
  const uint32_t word = m3net_load_word(patch);
  return (four_items){m3net_even_bytes(word), m3net_odd_bytes(word)};
#else
  return (four_items){{patch[0], patch[1], patch[2], patch[3]}};
#endif
}

/// Adds the products of four items with the weights of a channel.
static inline int32_t add_four(four_items four, const int8_t* weights, int32_t sum) {
#if M3NET_ENGINE_DSP
  const uint32_t word = m3net_load_word(weights);
  sum = m3net_add_products(four.even, m3net_even_bytes(word), sum);
  return m3net_add_products(four.odd, m3net_odd_bytes(word), sum);
#else
  return m3net_sum(sum, four.items[0] * weights[0] + four.items[1] * weights[1] +
                            four.items[2] * weights[2] + four.items[3] * weights[3]);
#endif
}

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int8_t* patch;
} convolution_state;

/// Gathers a window, up to a multiple of four items, and computes its pixel.
static void convolve_window(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  const m3net_gatherer gatherer = {copy, fill, 1, layer->padding};
  int8_t* end = m3net_gather(&layer->input, &layer->window, state->input, row, column, gatherer,
                             state->patch);
  end = fill(end, 0, (int32_t)(state->patch - end) & 3);
  const m3net_plain_block* block = layer->plain_blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4, channel += 4, output += 4) {
    m3net_four_sums sums = m3net_four_biases(channel);
    for (const int8_t* items = state->patch; items != end; items += 4, ++block) {
      const four_items four = load_items(items);
      sums.a = add_four(four, block->items, sums.a);
      sums.b = add_four(four, block->items + 4, sums.b);
      sums.c = add_four(four, block->items + 8, sums.c);
      sums.d = add_four(four, block->items + 12, sums.d);
    }
    m3net_finish(layer, sums, channel, left, output);
  }
}

void m3net_convolve_plain(const m3net_convolution* constants, const int8_t* input, int8_t* output,
                          int16_t* patch) {
  const m3net_convolution copied = *constants;  // which needs no reads from flash for each pixel
  const m3net_convolution* layer = &copied;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const convolution_state state = {layer, input + batch * layer->input.batch_step,
                                     (int8_t*)patch};
    m3net_for_each_pixel(&layer->output, &layer->window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
