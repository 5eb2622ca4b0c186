// SPDX-License-Identifier: Apache-2.0
// Convolution for Helium: four output channels at a time multiply 16 bytes of a window with their
// weights. A window whose bytes lie side by side, apart from the outputs, is read where it is;
// others are gathered first.
#include "helium.h"

#if M3NET_ENGINE_HELIUM

/// Copies one row of a window whose first column is `column`; returns the end of the patch.
static int8_t* gather_row(const m3net_convolution* layer, const int8_t* row, int32_t column,
                          int8_t* patch) {
  const m3net_image* image = &layer->input;
  const int32_t channels = image->channels, step = layer->window.column_dilation;
  const int32_t taps = layer->window.columns;
  if (step == 1 && image->column_step == channels) {
    const int32_t before = column < 0 ? (-column < taps ? -column : taps) : 0;
    const int32_t beyond = column + taps - image->columns;
    const int32_t after = beyond > 0 ? (beyond < taps ? beyond : taps) : 0;
    if (before + after < taps) {
      patch = m3net_fill_bytes(patch, layer->padding, before * channels);
      patch = m3net_copy_bytes(patch, row + (column + before) * channels,
                               (taps - before - after) * channels);
      return m3net_fill_bytes(patch, layer->padding, after * channels);
    }
    return m3net_fill_bytes(patch, layer->padding, taps * channels);
  }
  for (int32_t tap = 0; tap < taps; ++tap, column += step) {
    patch = column < 0 || column >= image->columns
                ? m3net_fill_bytes(patch, layer->padding, channels)
                : m3net_copy_bytes(patch, row + column * image->column_step, channels);
  }
  return patch;
}

/// Gathers a window whose first pixel is (row, column).
static void gather(const m3net_convolution* layer, const int8_t* input, int32_t row, int32_t column,
                   int8_t* patch) {
  const m3net_image* image = &layer->input;
  const int32_t row_items = layer->window.columns * image->channels;
  for (int32_t tap = 0; tap < layer->window.rows; ++tap, row += layer->window.row_dilation) {
    patch = row < 0 || row >= image->rows
                ? m3net_fill_bytes(patch, layer->padding, row_items)
                : gather_row(layer, input + row * image->row_step, column, patch);
  }
}

/// Whether the outputs of a pixel lie among the items that they are computed from.
static inline int32_t overlaps(const int8_t* items, int32_t count, const int8_t* pixel,
                               int32_t channels) {
  return (uintptr_t)pixel < (uintptr_t)(items + count) &&
         (uintptr_t)items < (uintptr_t)(pixel + channels);
}

/// Sums of the products of a window with the weights of four channels; moves on behind these.
static inline int32x4_t multiply(const int8_t* items, int32_t count, const m3net_block** blocks) {
  int32_t a = 0, b = 0, c = 0, d = 0;
  const int8_t* weights = (*blocks)->items;
  __asm__ volatile(
      "dlstp.8 lr, %[count]\n\t"
      "1:\n\t"
      "vldrb.8 q0, [%[items]], #16\n\t"
      "vldrb.8 q1, [%[weights]], #64\n\t"
      "vmladava.s8 %[a], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-48]\n\t"
      "vmladava.s8 %[b], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-32]\n\t"
      "vmladava.s8 %[c], q0, q1\n\t"
      "vldrb.8 q1, [%[weights], #-16]\n\t"
      "vmladava.s8 %[d], q0, q1\n\t"
      "letp lr, 1b\n\t"
      : [items] "+&r"(items), [weights] "+&r"(weights), [a] "+&Te"(a), [b] "+&Te"(b), [c] "+&Te"(c),
        [d] "+&Te"(d)
      : [count] "r"(count)
      : "q0", "q1", "lr", "cc", "memory");
  *blocks = (const m3net_block*)(const void*)weights;
  return m3net_vector_of(a, b, c, d);
}

/// All output channels of one pixel.
static inline void convolve_channels(const m3net_convolution* layer, const int8_t* items,
                                     int32_t count, int8_t* output, int32_t narrow) {
  const m3net_limits limits = m3net_limits_of(layer);
  const m3net_block* blocks = layer->blocks;
  const m3net_channel* channel = layer->channels;
  int32_t left = layer->output.channels;
  for (; left >= 4; left -= 4) {
    const int32x4_t sums = multiply(items, count, &blocks);
    vstrbq_s32(output, m3net_finish_vector(sums, channel, narrow, limits));
    channel += 4;
    output += 4;
  }
  if (left > 0) {
    const int32x4_t sums = multiply(items, count, &blocks);
    const int32x4_t values = m3net_finish_vector(sums, channel, narrow, limits);
    vstrbq_p_s32(output, values, vctp32q((uint32_t)left));
  }
}

M3NET_SEPARATE static void convolve_narrow(const m3net_convolution* layer, const int8_t* items,
                                           int32_t count, int8_t* output) {
  convolve_channels(layer, items, count, output, 1);
}

M3NET_SEPARATE static void convolve_wide(const m3net_convolution* layer, const int8_t* items,
                                         int32_t count, int8_t* output) {
  convolve_channels(layer, items, count, output, 0);
}

/// Where a layer's windows can be read without gathering: first pixels within rows and columns.
typedef struct {
  int32_t rows, columns;
} packed_windows;

static packed_windows find_packed(const m3net_convolution* layer) {
  const m3net_window* window = &layer->window;
  const m3net_image* image = &layer->input;
  const int32_t row_items = window->columns * image->channels;
  packed_windows windows = {0, 0};
  if ((window->columns == 1 || image->column_step * window->column_dilation == image->channels) &&
      (window->rows == 1 || image->row_step * window->row_dilation == row_items)) {
    windows.rows = image->rows - (window->rows - 1) * window->row_dilation;
    windows.columns = image->columns - (window->columns - 1) * window->column_dilation;
  }
  return windows;
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_image *image = &layer->output, *from = &layer->input;
  const m3net_window* window = &layer->window;
  const packed_windows packed = find_packed(layer);
  const int32_t count = window->rows * window->columns * from->channels;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const int8_t* source = input + batch * from->batch_step;
    int32_t row = -window->top;
    for (int32_t y = 0; y < image->rows; ++y, row += window->row_stride) {
      int8_t* pixel = output + batch * image->batch_step + y * image->row_step;
      int32_t column = -window->left;
      for (int32_t x = 0; x < image->columns; ++x, column += window->column_stride) {
        const int8_t* items = source + row * from->row_step + column * from->column_step;
        if (row < 0 || row >= packed.rows || column < 0 || column >= packed.columns ||
            overlaps(items, count, pixel, image->channels)) {
          gather(layer, source, row, column, (int8_t*)patch);
          items = (const int8_t*)patch;
        }
        if (layer->narrow) {
          convolve_narrow(layer, items, count, pixel);
        } else {
          convolve_wide(layer, items, count, pixel);
        }
        pixel += image->column_step;
      }
    }
  }
}

#endif
