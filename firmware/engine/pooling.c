// SPDX-License-Identifier: Apache-2.0
// Average and maximum over windows. Pixels outside the image do not count.
#include "arithmetic.h"
#include "engine.h"
#include "helium.h"
#include "pixels.h"
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

/// The average of `count` items from their sum, rounded to the nearest.
static inline int32_t divide(int32_t sum, int32_t count) {
  return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/// The average of a channel, whose offset is `place`; an item has `bytes`.
static inline int32_t average(const m3net_image* image, const visible_window* window, int32_t place,
                              int32_t bytes) {
  int32_t sum = 0;
  for (int32_t y = 0; y < window->rows; ++y) {
    const int8_t* item = window->first + y * image->row_step + place;
    for (int32_t x = 0; x < window->columns; ++x, item += image->column_step) {
      sum += m3net_load(item, bytes);
    }
  }
  return divide(sum, window->rows * window->columns);
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

/// Computes all channels of one output pixel.
static inline void pool_pixel(const m3net_pooling* layer, const visible_window* window,
                              summary summarise, int8_t* pixel, int32_t bytes) {
  for (int32_t place = 0; place < bytes * layer->output.channels; place += bytes) {
    const int32_t value = summarise(&layer->input, window, place, bytes);
    m3net_store(pixel + place, m3net_clamp(value, layer->minimum, layer->maximum), bytes);
  }
}

#if M3NET_ENGINE_HELIUM

/// As summary, of four channels.
typedef int32x4_t (*vector_summary)(const m3net_image* image, const visible_window* window,
                                    int32_t channel);

static int32x4_t vector_average(const m3net_image* image, const visible_window* window,
                                int32_t channel) {
  int32x4_t sums = vdupq_n_s32(0);
  for (int32_t y = 0; y < window->rows; ++y) {
    const int8_t* item = window->first + y * image->row_step + channel;
    for (int32_t x = 0; x < window->columns; ++x, item += image->column_step) {
      sums = vaddq_s32(sums, vldrbq_s32(item));
    }
  }
  int32_t each[4];
  vstrwq_s32(each, sums);
  const int32_t count = window->rows * window->columns;
  return m3net_vector_of(divide(each[0], count), divide(each[1], count), divide(each[2], count),
                         divide(each[3], count));
}

static int32x4_t vector_maximum(const m3net_image* image, const visible_window* window,
                                int32_t channel) {
  int32x4_t largest = vdupq_n_s32(INT8_MIN);
  for (int32_t y = 0; y < window->rows; ++y) {
    const int8_t* item = window->first + y * image->row_step + channel;
    for (int32_t x = 0; x < window->columns; ++x, item += image->column_step) {
      largest = vmaxq_s32(largest, vldrbq_s32(item));
    }
  }
  return largest;
}

/// Computes all channels of one output pixel.
static inline void pool_vectors(const m3net_pooling* layer, const visible_window* window,
                                vector_summary summarise, int8_t* pixel) {
  const int32x4_t smallest = vdupq_n_s32(layer->minimum), largest = vdupq_n_s32(layer->maximum);
  const int32_t channels = layer->output.channels;
  for (int32_t c = 0; c < channels; c += 4) {
    const int32x4_t values = summarise(&layer->input, window, c);
    const int32x4_t clamped = vminq_s32(vmaxq_s32(values, smallest), largest);
    vstrbq_p_s32(pixel + c, clamped, vctp32q((uint32_t)(channels - c)));
  }
}

static inline void average_pixel(const m3net_pooling* layer, const visible_window* window,
                                 int8_t* pixel) {
  pool_vectors(layer, window, vector_average, pixel);
}

static inline void maximum_pixel(const m3net_pooling* layer, const visible_window* window,
                                 int8_t* pixel) {
  pool_vectors(layer, window, vector_maximum, pixel);
}

#else

#if M3NET_ENGINE_DSP

/// Pixels of which the sum of a channel fits 16 bits.
#define MOST_PIXELS 256

/// Sums of four channels, 16 bits each.
typedef struct {
  uint32_t even, odd;
} short_sums;

/// Adds pixels that are `step` bytes apart.
static inline short_sums add_pixels(short_sums sums, const int8_t* pixel, int32_t step,
                                    int32_t count) {
  for (; count > 1; count -= 2, pixel += 2 * step) {
    const uint32_t first = m3net_load_word(pixel), second = m3net_load_word(pixel + step);
    sums.even = m3net_add_even_bytes(m3net_add_even_bytes(sums.even, first), second);
    sums.odd = m3net_add_odd_bytes(m3net_add_odd_bytes(sums.odd, first), second);
  }
  if (count > 0) {
    const uint32_t last = m3net_load_word(pixel);
    sums.even = m3net_add_even_bytes(sums.even, last);
    sums.odd = m3net_add_odd_bytes(sums.odd, last);
  }
  return sums;
}

/// Four channels' sums one by one.
static inline m3net_four_sums each_of(short_sums sums) {
  const m3net_four_sums each = {(int16_t)(uint16_t)sums.even, (int16_t)(uint16_t)sums.odd,
                                (int32_t)sums.even >> 16, (int32_t)sums.odd >> 16};
  return each;
}

#endif

static inline void average_pixel(const m3net_pooling* layer, const visible_window* window,
                                 int8_t* pixel) {
#if M3NET_ENGINE_DSP
  const m3net_image* image = &layer->input;
  const int32_t count = window->rows * window->columns;
  if (count <= MOST_PIXELS && image->channels % 4 == 0) {
    for (int32_t channel = 0; channel < image->channels; channel += 4) {
      const int8_t* row = window->first + channel;
      short_sums sums = {0, 0};
      for (int32_t y = 0; y < window->rows; ++y, row += image->row_step) {
        sums = add_pixels(sums, row, image->column_step, window->columns);
      }
      const m3net_four_sums four = each_of(sums);
      const int32_t each[] = {four.a, four.b, four.c, four.d};
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t value = divide(each[i], count);
        pixel[channel + i] = (int8_t)m3net_clamp(value, layer->minimum, layer->maximum);
      }
    }
    return;
  }
#endif
  pool_pixel(layer, window, average, pixel, 1);
}

static inline void maximum_pixel(const m3net_pooling* layer, const visible_window* window,
                                 int8_t* pixel) {
  pool_pixel(layer, window, maximum, pixel, 1);
}

#endif

static inline void average_pixel_16(const m3net_pooling* layer, const visible_window* window,
                                    int8_t* pixel) {
  pool_pixel(layer, window, average, pixel, 2);
}

static inline void maximum_pixel_16(const m3net_pooling* layer, const visible_window* window,
                                    int8_t* pixel) {
  pool_pixel(layer, window, maximum, pixel, 2);
}

typedef void (*pixel_writer)(const m3net_pooling* layer, const visible_window* window,
                             int8_t* pixel);

typedef struct {
  const m3net_pooling* layer;
  const int8_t* input;
  pixel_writer write_pixel;
} pooling_state;

static inline void pool_window(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  const pooling_state* state = (const pooling_state*)any_state;
  const visible_window window = see(state->layer, state->input, row, column);
  state->write_pixel(state->layer, &window, output);
}

static inline void pool(const m3net_pooling* layer, const int8_t* input, int8_t* output,
                        pixel_writer write_pixel) {
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const pooling_state state = {layer, input + batch * layer->input.batch_step, write_pixel};
    m3net_for_each_pixel(&layer->output, &layer->window, output + batch * layer->output.batch_step,
                         pool_window, &state);
  }
}

void m3net_pool_average(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, average_pixel);
}

#if M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM

void m3net_add_line(const m3net_pooling* layer, const int8_t* line, int32_t* sums) {
  const m3net_image* image = &layer->input;
  // The direction of the line, and the other one.
  const int32_t by_rows = image->columns == 1;
  const int32_t length = by_rows ? image->rows : image->columns, others = by_rows ? 1 : image->rows;
  const int32_t step = by_rows ? image->row_step : image->column_step;
  for (int32_t y = 0; y < others; ++y, line += image->row_step) {
    const int8_t* pixel = line;
    for (int32_t left = length; left > 0; left -= MOST_PIXELS, pixel += MOST_PIXELS * step) {
      const int32_t count = left < MOST_PIXELS ? left : MOST_PIXELS;
      int32_t channel = 0;
      for (; channel <= image->channels - 4; channel += 4) {
        const short_sums none = {0, 0};
        const m3net_four_sums each = each_of(add_pixels(none, pixel + channel, step, count));
        sums[channel] += each.a;
        sums[channel + 1] += each.b;
        sums[channel + 2] += each.c;
        sums[channel + 3] += each.d;
      }
      for (; channel < image->channels; ++channel) {
        for (int32_t x = 0; x < count; ++x) {
          sums[channel] += pixel[x * step + channel];
        }
      }
    }
  }
}

#else

void m3net_add_line(const m3net_pooling* layer, const int8_t* line, int32_t* sums) {
  const m3net_image* image = &layer->input;
  for (int32_t y = 0; y < image->rows; ++y) {
    const int8_t* pixel = line + y * image->row_step;
    for (int32_t x = 0; x < image->columns; ++x, pixel += image->column_step) {
      int32_t channel = 0;
#if M3NET_ENGINE_HELIUM
      for (; channel <= image->channels - 4; channel += 4) {
        const int32x4_t sum = vldrwq_s32(sums + channel);
        vstrwq_s32(sums + channel, vaddq_s32(sum, vldrbq_s32(pixel + channel)));
      }
#endif
      for (; channel <= image->channels - 4; channel += 4) {
        // All loads before the stores: loads in a row take a cycle each.
        const int32_t a = pixel[channel] + sums[channel];
        const int32_t b = pixel[channel + 1] + sums[channel + 1];
        const int32_t c = pixel[channel + 2] + sums[channel + 2];
        const int32_t d = pixel[channel + 3] + sums[channel + 3];
        sums[channel] = a;
        sums[channel + 1] = b;
        sums[channel + 2] = c;
        sums[channel + 3] = d;
      }
      for (; channel < image->channels; ++channel) {
        sums[channel] += pixel[channel];
      }
    }
  }
}

#endif

void m3net_average_lines(const m3net_pooling* layer, const int32_t* sums, int8_t* output) {
  const int32_t count = layer->window.rows * layer->window.columns;
  for (int32_t channel = 0; channel < layer->output.channels; ++channel) {
    const int32_t value = divide(sums[channel], count);
    output[channel] = (int8_t)m3net_clamp(value, layer->minimum, layer->maximum);
  }
}

void m3net_pool_max(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, maximum_pixel);
}

void m3net_pool_average_16(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, average_pixel_16);
}

void m3net_pool_max_16(const m3net_pooling* layer, const int8_t* input, int8_t* output) {
  pool(layer, input, output, maximum_pixel_16);
}
