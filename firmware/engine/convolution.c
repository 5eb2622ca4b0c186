// SPDX-License-Identifier: Apache-2.0
// Convolution: each window is gathered into a patch of 16-bit numbers, which four output channels
// at a time multiply with their weights.
#include <string.h>

#include "arithmetic.h"
#include "engine.h"

/// Widens bytes to 16 bits.
static void widen(const int8_t* bytes, int32_t count, int16_t* wide) {
#if M3NET_ENGINE_DSP
  for (; count >= 4; count -= 4, bytes += 4, wide += 4) {
    const uint32_t word = m3net_load_word(bytes);
    const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
    const uint32_t pairs[2] = {m3net_pack_low(even, odd), m3net_pack_high(even, odd)};
    memcpy(wide, pairs, sizeof(pairs));
  }
#endif
  for (int32_t i = 0; i < count; ++i) {
    wide[i] = bytes[i];
  }
}

static int16_t* pad(int16_t* patch, int32_t count, int16_t value) {
  for (int32_t i = 0; i < count; ++i) {
    patch[i] = value;
  }
  return patch + count;
}

/// Gathers one row of a window whose first column is `column`; returns the end of the patch.
static int16_t* gather_row(const m3net_convolution* layer, const int8_t* row, int32_t column,
                           int16_t* patch) {
  const m3net_image* image = &layer->input;
  const int32_t channels = image->channels, step = layer->window.column_dilation;
  const int32_t taps = layer->window.columns;
  if (step == 1 && image->column_step == channels && column >= 0 &&
      column + taps <= image->columns) {
    widen(row + column * channels, taps * channels, patch);
    return patch + taps * channels;
  }
  for (int32_t tap = 0; tap < taps; ++tap, column += step) {
    if (column < 0 || column >= image->columns) {
      patch = pad(patch, channels, layer->padding);
      continue;
    }
    widen(row + column * image->column_step, channels, patch);
    patch += channels;
  }
  return patch;
}

/// Gathers a window whose first pixel is (row, column), and zeros up to a multiple of four.
static int32_t gather(const m3net_convolution* layer, const int8_t* input, int32_t row,
                      int32_t column, int16_t* patch) {
  const m3net_image* image = &layer->input;
  const int32_t row_items = layer->window.columns * image->channels;
  int16_t* end = patch;
  for (int32_t tap = 0; tap < layer->window.rows; ++tap, row += layer->window.row_dilation) {
    if (row < 0 || row >= image->rows) {
      end = pad(end, row_items, layer->padding);
    } else {
      end = gather_row(layer, input + row * image->row_step, column, end);
    }
  }
  const int32_t items = layer->window.rows * row_items;
  const int32_t padded = (items + 3) & ~3;
  pad(end, padded - items, 0);
  return padded;
}

#if M3NET_ENGINE_DSP

/// Adds the products of a patch with the weights of four channels. Each pair of items has four
/// pairs of weights, one for each channel.
static inline void multiply(const int16_t* patch, int32_t items, const m3net_weight* weights,
                            int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  const int16_t* end = patch + items;
  __asm__ volatile(
      "1:\n\t"
      "ldrd r8, r9, [%[patch]], #8\n\t"
      "ldmia %[weights]!, {r4, r5, r6, r10}\n\t"
      "smlad %[s0], r8, r4, %[s0]\n\t"
      "smlad %[s1], r8, r5, %[s1]\n\t"
      "smlad %[s2], r8, r6, %[s2]\n\t"
      "smlad %[s3], r8, r10, %[s3]\n\t"
      "ldmia %[weights]!, {r4, r5, r6, r10}\n\t"
      "cmp %[patch], %[end]\n\t"
      "smlad %[s0], r9, r4, %[s0]\n\t"
      "smlad %[s1], r9, r5, %[s1]\n\t"
      "smlad %[s2], r9, r6, %[s2]\n\t"
      "smlad %[s3], r9, r10, %[s3]\n\t"
      "bne 1b\n\t"
      : [patch] "+r"(patch), [weights] "+r"(weights), [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2),
        [s3] "+r"(s3)
      : [end] "r"(end)
      : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}

#else

static inline void multiply(const int16_t* patch, int32_t items, const m3net_weight* weights,
                            int32_t sums[4]) {
  for (int32_t i = 0; i < items; i += 2, weights += 8) {
    for (int32_t c = 0; c < 4; ++c) {
      const int32_t products = patch[i] * weights[2 * c] + patch[i + 1] * weights[2 * c + 1];
      sums[c] = m3net_sum(sums[c], products);
    }
  }
}

#endif

/// All output channels of one pixel.
static void convolve_pixel(const m3net_convolution* layer, const int16_t* patch, int32_t items,
                           int8_t* output) {
  const m3net_weight* weights = layer->weights;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4, weights += 4 * items) {
    int32_t sums[4] = {channel[0].bias, channel[1].bias, channel[2].bias, channel[3].bias};
    multiply(patch, items, weights, sums);
    const int32_t count = left < 4 ? left : 4;
    for (int32_t c = 0; c < count; ++c, ++channel) {
      const int32_t value = layer->narrow ? m3net_requantize_narrow(sums[c], channel)
                                          : m3net_requantize_wide(sums[c], channel);
      *output++ = (int8_t)m3net_clamp(value, layer->minimum, layer->maximum);
    }
  }
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_image* image = &layer->output;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    int32_t row = -layer->window.top;
    for (int32_t y = 0; y < image->rows; ++y, row += layer->window.row_stride) {
      int8_t* pixel = output + batch * image->batch_step + y * image->row_step;
      int32_t column = -layer->window.left;
      for (int32_t x = 0; x < image->columns; ++x, column += layer->window.column_stride) {
        const int32_t items =
            gather(layer, input + batch * layer->input.batch_step, row, column, patch);
        convolve_pixel(layer, patch, items, pixel);
        pixel += image->column_step;
      }
    }
  }
}
