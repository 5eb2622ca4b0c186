// SPDX-License-Identifier: Apache-2.0
// Convolution for Helium: multiplies 16 bytes of a window with the weights of four output channels
// at a time. A window that is contiguous and does not overlap the outputs is read where it is;
// others are gathered first.
#include "helium.h"
#include "pixels.h"

#if M3NET_ENGINE_HELIUM

/// Whether the outputs of a pixel overlap the items that they are computed from.
static inline int32_t overlaps(const int8_t* items, int32_t count, const int8_t* pixel,
                               int32_t channels) {
  return (uintptr_t)pixel < (uintptr_t)(items + count) &&
         (uintptr_t)items < (uintptr_t)(pixel + channels);
}

/// Sums of the products of a window with the weights of four channels; advances `blocks` past them.
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

/// Computes all output channels of one pixel.
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

/// Windows that begin in these first rows and columns of the image are contiguous.
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

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int8_t* patch;
  packed_windows packed;
  int32_t count;  ///< Items of a window.
} convolution_state;

/// Computes a pixel from its window, or from a patch into which the window is gathered.
static inline void convolve_window(const void* any_state, int32_t row, int32_t column,
                                   int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  const m3net_image* image = &layer->input;
  const int8_t* items = state->input + row * image->row_step + column * image->column_step;
  if (row < 0 || row >= state->packed.rows || column < 0 || column >= state->packed.columns ||
      overlaps(items, state->count, output, layer->output.channels)) {
    const m3net_gatherer gatherer = {m3net_copy_bytes, m3net_fill_bytes, 1, layer->padding};
    m3net_gather(image, &layer->window, state->input, row, column, gatherer, state->patch);
    items = state->patch;
  }
  if (layer->narrow) {
    convolve_narrow(layer, items, state->count, output);
  } else {
    convolve_wide(layer, items, state->count, output);
  }
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_window* window = &layer->window;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const convolution_state state = {layer, input + batch * layer->input.batch_step, (int8_t*)patch,
                                     find_packed(layer),
                                     window->rows * window->columns * layer->input.channels};
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
