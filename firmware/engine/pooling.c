// SPDX-License-Identifier: Apache-2.0
// Average and maximum over windows. What lies outside the image does not count.
#include "arithmetic.h"
#include "engine.h"
#include "wide.h"

/// The part of a window that lies inside the image.
typedef struct {
  const int8_t* first;
  int32_t rows, columns;
} visible_window;

static visible_window see(const m3net_pooling* layer, const int8_t* input, int32_t row,
                          int32_t column) {
  const m3net_image* image = &layer->input;
  const int32_t top = row < 0 ? 0 : row, left = column < 0 ? 0 : column;
  const int32_t bottom = row + layer->window.rows, right = column + layer->window.columns;
  const visible_window window = {
      .first = input + top * image->row_step + left * image->column_step,
      .rows = (bottom < image->rows ? bottom : image->rows) - top,
      .columns = (right < image->columns ? right : image->columns) - left,
  };
  return window;
}

/// `place` is that of the channel, `bytes` the size of an item.
static inline int32_t average(const m3net_image* image, const visible_window* window, int32_t place,
                              int32_t bytes) {
  int32_t sum = 0;
  for (int32_t y = 0; y < window->rows; ++y) {
    const int8_t* item = window->first + y * image->row_step + place;
    for (int32_t x = 0; x < window->columns; ++x, item += image->column_step) {
      sum += m3net_load(item, bytes);
    }
  }
  const int32_t count = window->rows * window->columns;
  return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static inline int32_t maximum(const m3net_image* image, const visible_window* window, int32_t place,
                              int32_t bytes) {
  int32_t largest = INT16_MIN;
  for (int32_t y = 0; y < window->rows; ++y) {
    const int8_t* item = window->first + y * image->row_step + place;
    for (int32_t x = 0; x < window->columns; ++x, item += image->column_step) {
      const int32_t value = m3net_load(item, bytes);
      largest = value > largest ? value : largest;
    }
  }
  return largest;
}

typedef int32_t (*summary)(const m3net_image* image, const visible_window* window, int32_t place,
                           int32_t bytes);

static inline void pool(const m3net_pooling* layer, const int8_t* input, int8_t* output,
                        summary summarise, int32_t bytes) {
  const m3net_image* image = &layer->output;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const int8_t* source = input + batch * layer->input.batch_step;
    for (int32_t y = 0; y < image->rows; ++y) {
      int8_t* pixel = output + batch * image->batch_step + y * image->row_step;
      for (int32_t x = 0; x < image->columns; ++x, pixel += image->column_step) {
        const visible_window window =
            see(layer, source, y * layer->window.row_stride - layer->window.top,
                x * layer->window.column_stride - layer->window.left);
        for (int32_t place = 0; place < bytes * image->channels; place += bytes) {
          const int32_t value = summarise(&layer->input, &window, place, bytes);
          m3net_store(pixel + place, m3net_clamp(value, layer->minimum, layer->maximum), bytes);
        }
      }
    }
  }
}

void m3net_pool_average(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, average, 1);
}

void m3net_pool_max(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, maximum, 1);
}

void m3net_pool_average_16(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, average, 2);
}

void m3net_pool_max_16(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, maximum, 2);
}
