// SPDX-License-Identifier: Apache-2.0
// Layers with windows: the loop over output pixels, gathering the items of a window, and listing
// the places of its pixels. Compilers inline the functions that are passed as arguments.
#ifndef M3NET_ENGINE_PIXELS_H_
#define M3NET_ENGINE_PIXELS_H_

#include <stdint.h>

#include "arithmetic.h"
#include "engine.h"

/// Computes an output pixel. Its window begins at (row, column), which may lie outside the image.
typedef void (*m3net_pixel_function)(const void* state, int32_t row, int32_t column,
                                     int8_t* output);

/// Computes all pixels of an image.
M3NET_INLINE void m3net_for_each_pixel(const m3net_image* image, const m3net_window* window,
                                       int8_t* output, m3net_pixel_function compute,
                                       const void* state) {
  int32_t row = -window->top;
  for (int32_t y = 0; y < image->rows; ++y, row += window->row_stride) {
    int8_t* pixel = output + y * image->row_step;
    int32_t column = -window->left;
    for (int32_t x = 0; x < image->columns; ++x, column += window->column_stride) {
      compute(state, row, column, pixel);
      pixel += image->column_step;
    }
  }
}

/// A direction in an image and its output.
typedef struct {
  int32_t inputs, outputs;    ///< Pixels.
  int32_t step, output_step;  ///< Bytes from a pixel to the next one.
  int32_t before;             ///< Pixels by which the first window begins before the image.
} m3net_direction;

M3NET_INLINE m3net_direction m3net_down(const m3net_convolution* layer) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_direction rows = {from->rows, to->rows, from->row_step, to->row_step,
                                layer->window.top};
  return rows;
}

M3NET_INLINE m3net_direction m3net_right(const m3net_convolution* layer) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_direction columns = {from->columns, to->columns, from->column_step, to->column_step,
                                   layer->window.left};
  return columns;
}

/// A line of an image; for windows with a dilation every so many of its pixels.
typedef struct {
  const int8_t* from;
  int8_t* to;
  int32_t inputs, outputs;    ///< Pixels.
  int32_t step, output_step;  ///< Bytes from a pixel to the next one.
  int32_t before;             ///< Pixels by which the first window begins before the line.
} m3net_image_line;

/// Computes a line; `stride` is its windows'.
typedef void (*m3net_line_function)(const m3net_convolution* layer, const m3net_image_line* line,
                                    int32_t stride, int32_t* scratch);

/// Calls a function for each line of a layer whose window is a part of a row or of a column.
M3NET_INLINE void m3net_for_each_line(const m3net_convolution* layer, const int8_t* input,
                                      int8_t* output, m3net_line_function compute,
                                      int32_t* scratch) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_window* window = &layer->window;
  const int32_t by_rows = window->columns == 1;
  const m3net_direction rows = m3net_down(layer), columns = m3net_right(layer);
  const m3net_direction along = by_rows ? rows : columns, across = by_rows ? columns : rows;
  const int32_t stride = by_rows ? window->row_stride : window->column_stride;
  const int32_t dilation = by_rows ? window->row_dilation : window->column_dilation;
  const int32_t across_stride = by_rows ? window->column_stride : window->row_stride;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    for (int32_t index = 0; index < across.outputs; ++index) {
      // With a dilation, every so many outputs share no input with the others.
      for (int32_t phase = 0; phase < dilation && phase < along.outputs; ++phase) {
        const int32_t start = phase - along.before;
        const int32_t before = start < 0 ? (-start + dilation - 1) / dilation : 0;
        const int32_t pixel = start + before * dilation;  // the first one inside the image
        const m3net_image_line line = {
            input + (index * across_stride - across.before) * across.step + pixel * along.step,
            output + index * across.output_step + phase * along.output_step,
            (along.inputs - pixel + dilation - 1) / dilation,
            (along.outputs - phase + dilation - 1) / dilation,
            dilation * along.step,
            dilation * along.output_step,
            before};
        compute(layer, &line, stride, scratch);
      }
    }
    input += from->batch_step;
    output += to->batch_step;
  }
}

/// How a patch is filled with `count` items. Both functions return the end of what they wrote.
typedef struct {
  int8_t* (*copy)(int8_t* patch, const int8_t* items, int32_t count);
  int8_t* (*fill)(int8_t* patch, int32_t value, int32_t count);
  int32_t item_bytes;
  int32_t padding;  ///< Value of items outside the image.
} m3net_gatherer;

/// Gathers a row of a window whose first column is `column`; returns the end of the patch.
M3NET_INLINE int8_t* m3net_gather_row(const m3net_image* image, const m3net_window* window,
                                      const int8_t* row, int32_t column, m3net_gatherer gatherer,
                                      int8_t* patch) {
  const int32_t channels = image->channels, step = window->column_dilation;
  int32_t taps = window->columns;
  if (step == 1 && image->column_step == channels * gatherer.item_bytes) {
    if (column < 0) {
      const int32_t before = -column < taps ? -column : taps;
      patch = gatherer.fill(patch, gatherer.padding, before * channels);
      taps -= before;
      column = 0;
    }
    const int32_t inside = image->columns - column;
    if (taps <= inside) {
      return gatherer.copy(patch, row + column * image->column_step, taps * channels);
    }
    if (inside > 0) {
      patch = gatherer.copy(patch, row + column * image->column_step, inside * channels);
      taps -= inside;
    }
    return gatherer.fill(patch, gatherer.padding, taps * channels);
  }
  for (int32_t tap = 0; tap < taps; ++tap, column += step) {
    patch = column < 0 || column >= image->columns
                ? gatherer.fill(patch, gatherer.padding, channels)
                : gatherer.copy(patch, row + column * image->column_step, channels);
  }
  return patch;
}

/// Gathers a window whose first pixel is (row, column); returns the end of the patch.
M3NET_INLINE int8_t* m3net_gather(const m3net_image* image, const m3net_window* window,
                                  const int8_t* input, int32_t row, int32_t column,
                                  m3net_gatherer gatherer, int8_t* patch) {
  if (window->rows == 1 && window->columns == 1 && row >= 0 && row < image->rows && column >= 0 &&
      column < image->columns) {
    return gatherer.copy(patch, input + row * image->row_step + column * image->column_step,
                         image->channels);
  }
  for (int32_t tap = 0; tap < window->rows; ++tap, row += window->row_dilation) {
    patch = row < 0 || row >= image->rows
                ? gatherer.fill(patch, gatherer.padding, window->columns * image->channels)
                : m3net_gather_row(image, window, input + row * image->row_step, column, gatherer,
                                   patch);
  }
  return patch;
}

/// Lists the offsets of a window's pixels, the first of which is (row, column); pixels outside the
/// image have the offset `outside`. Returns the end of the list.
M3NET_INLINE int32_t* m3net_place_window(const m3net_image* image, const m3net_window* window,
                                         int32_t row, int32_t column, int32_t outside,
                                         int32_t* place) {
  const int32_t step = window->column_dilation, bytes = step * image->column_step;
  const int32_t last = column + (window->columns - 1) * step;
  for (int32_t tap = 0; tap < window->rows; ++tap, row += window->row_dilation) {
    const int32_t columns = row >= 0 && row < image->rows ? image->columns : 0;
    int32_t at = row * image->row_step + column * image->column_step;
    if (column >= 0 && last < columns) {
      for (int32_t x = column; x <= last; x += step, at += bytes) {
        *place++ = at;
      }
      continue;
    }
    for (int32_t x = column; x <= last; x += step, at += bytes) {
      *place++ = x >= 0 && x < columns ? at : outside;
    }
  }
  return place;
}

#endif  // M3NET_ENGINE_PIXELS_H_
