// SPDX-License-Identifier: Apache-2.0
// Convolution: each window is gathered into a patch of 16-bit numbers, which four output channels
// at a time multiply with their weights.
#include "arithmetic.h"
#include "dsp_convolution.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if !M3NET_ENGINE_HELIUM && !M3NET_ENGINE_RV32

#if !M3NET_ENGINE_DSP

/// Widens items to 16 bits.
static int8_t* widen(int8_t* patch, const int8_t* items, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  for (; count >= 4; count -= 4, items += 4, wide += 4) {
    wide[0] = items[0];
    wide[1] = items[1];
    wide[2] = items[2];
    wide[3] = items[3];
  }
  for (int32_t i = 0; i < count; ++i) {
    wide[i] = items[i];
  }
  return (int8_t*)(wide + count);
}

static int8_t* fill(int8_t* patch, int32_t value, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  for (int32_t i = 0; i < count; ++i) {
    wide[i] = (int16_t)value;
  }
  return (int8_t*)(wide + count);
}

/// The lower of the two sums that one number of 64 bits holds.
static inline int32_t low_lane(int64_t sum) {
  const int32_t unused = 32 - M3NET_LANE_BITS;
  return m3net_shift_left((int32_t)(uint32_t)(uint64_t)sum, unused) >> unused;
}

static inline int32_t high_lane(int64_t sum) {
  return (int32_t)((sum - low_lane(sum)) >> M3NET_LANE_BITS);
}

#if defined(__ARM_ARCH_7M__) && defined(__thumb2__)

/// Sums of channels a and b in one number, and of c and d in another; four items an iteration.
static inline const m3net_block* multiply_lanes(const int16_t* patch, const int16_t* end,
                                                const m3net_block* blocks, int64_t sums[2]) {
  int64_t ab = 0, cd = 0;
  __asm__ volatile(
      "1:\n\t"
      "ldrsh r9, [%[patch]], #2\n\t"
      "ldmia %[blocks]!, {r4, r5, r6, r8}\n\t"
      "smlal %Q[ab], %R[ab], r9, r4\n\t"
      "smlal %Q[cd], %R[cd], r9, r5\n\t"
      "ldrsh r9, [%[patch]], #2\n\t"
      "smlal %Q[ab], %R[ab], r9, r6\n\t"
      "smlal %Q[cd], %R[cd], r9, r8\n\t"
      "ldrsh r9, [%[patch]], #2\n\t"
      "ldmia %[blocks]!, {r4, r5, r6, r8}\n\t"
      "smlal %Q[ab], %R[ab], r9, r4\n\t"
      "smlal %Q[cd], %R[cd], r9, r5\n\t"
      "ldrsh r9, [%[patch]], #2\n\t"
      "cmp %[patch], %[end]\n\t"
      "smlal %Q[ab], %R[ab], r9, r6\n\t"
      "smlal %Q[cd], %R[cd], r9, r8\n\t"
      "bne 1b\n\t"
      : [patch] "+&r"(patch), [blocks] "+&r"(blocks), [ab] "+&r"(ab), [cd] "+&r"(cd)
      : [end] "r"(end)
      : "r4", "r5", "r6", "r8", "r9", "cc", "memory");
  sums[0] = ab;
  sums[1] = cd;
  return blocks;
}

#else

/// As above; two items an iteration.
static inline const m3net_block* multiply_lanes(const int16_t* patch, const int16_t* end,
                                                const m3net_block* blocks, int64_t sums[2]) {
  int64_t ab = 0, cd = 0;
  for (; patch != end; patch += 2, ++blocks) {
    const int32_t* lanes = blocks->lanes;
    ab += (int64_t)patch[0] * lanes[0] + (int64_t)patch[1] * lanes[2];
    cd += (int64_t)patch[0] * lanes[1] + (int64_t)patch[1] * lanes[3];
  }
  sums[0] = ab;
  sums[1] = cd;
  return blocks;
}

#endif

static inline m3net_four_sums multiply(const int16_t* patch, int32_t items,
                                       const m3net_block* blocks, m3net_four_sums sums) {
  while (items > 0) {
    const int32_t count = items < M3NET_LANE_ITEMS ? items : M3NET_LANE_ITEMS;
    int64_t lanes[2];
    blocks = multiply_lanes(patch, patch + count, blocks, lanes);
    sums.a = m3net_sum(sums.a, low_lane(lanes[0]));
    sums.b = m3net_sum(sums.b, high_lane(lanes[0]));
    sums.c = m3net_sum(sums.c, low_lane(lanes[1]));
    sums.d = m3net_sum(sums.d, high_lane(lanes[1]));
    patch += count;
    items -= count;
  }
  return sums;
}

#endif

/// All output channels of one pixel.
M3NET_INLINE void convolve_pixel(const m3net_convolution* layer, const int16_t* patch,
                                 int32_t items, int8_t* output) {
  int32_t done = 0;
#if M3NET_ENGINE_DSP
  if (layer->narrow && layer->full && layer->output.channels >= 4) {
    convolve_one(layer, patch, items, output);
    done = layer->output.channels & ~3;
  }
#endif
  const m3net_block* blocks = layer->blocks + done / 4 * (items / 2);
  for (const m3net_channel* channel = layer->channels; done < layer->output.channels; done += 4) {
    const m3net_channel* four = channel + done;
    const m3net_four_sums sums = multiply(patch, items, blocks, m3net_four_biases(four));
#if M3NET_ENGINE_DSP
    m3net_finish_any(layer, sums, four, layer->output.channels - done, output + done);
#else
    m3net_finish(layer, sums, four, layer->output.channels - done, output + done);
#endif
    blocks += items / 2;
  }
}

#if M3NET_ENGINE_DSP

/// Where the window of an output pixel begins.
typedef struct {
  int32_t row, column;
} window_place;

/// Items of a row of a window that lie side by side, or the padding for items outside the image.
typedef struct {
  const int8_t* items;
  int32_t advance;  ///< From four items to the next ones: 4, or 0 in the padding.
  int32_t taps;     ///< Pixels.
} item_run;

/// The items from a pixel of a window's row on.
M3NET_INLINE item_run find_run(const m3net_convolution* layer, const int8_t* input,
                               const int8_t* padding, int32_t row, int32_t column, int32_t tap) {
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const int32_t left = window->columns - tap, x = column + tap * window->column_dilation;
  if (row < 0 || row >= image->rows) {
    return (item_run){padding, 0, left};
  }
  const int32_t packed = window->column_dilation == 1 && image->column_step == image->channels;
  const int32_t outside = x < 0 || x >= image->columns;
  const int32_t until = x < 0 ? -x : outside ? left : image->columns - x;
  const int32_t taps = !packed ? 1 : until < left ? until : left;
  const int8_t* items = input + row * image->row_step + x * image->column_step;
  return outside ? (item_run){padding, 0, taps} : (item_run){items, 4, taps};
}

/// Places the items of two windows side by side, as bytes.
M3NET_INLINE int8_t* interleave(int8_t* patch, item_run first, item_run second, int32_t count) {
  for (; count >= 4; count -= 4, patch += 8) {
    const uint32_t a = m3net_load_word(first.items), b = m3net_load_word(second.items);
    const uint32_t bytes = 0x00ff00ffu;
    const uint32_t even = (a & bytes) | (b & bytes) << 8, odd = (a >> 8 & bytes) | (b & ~bytes);
    const uint32_t pairs[2] = {m3net_pack_low(even, odd), m3net_pack_high(even, odd)};
    M3NET_MEMCPY(patch, pairs, sizeof(pairs));
    first.items += first.advance;
    second.items += second.advance;
  }
  for (int32_t i = 0; i < count; ++i) {
    *patch++ = first.items[i];
    *patch++ = second.items[i];
  }
  return patch;
}

/// Gathers two windows, whose bytes alternate. Zeros up to a multiple of four items.
M3NET_SEPARATE void gather_two(const m3net_convolution* layer, const int8_t* input,
                               const window_place* places, int8_t* patch) {
  const m3net_window* window = &layer->window;
  const uint32_t word = (uint8_t)layer->padding * 0x01010101u;
  const int32_t channels = layer->input.channels;
  for (int32_t i = 0, down = 0; i < window->rows; ++i, down += window->row_dilation) {
    for (int32_t tap = 0; tap < window->columns;) {
      item_run runs[2];
#pragma GCC unroll 1
      for (int32_t k = 0; k < 2; ++k) {
        runs[k] = find_run(layer, input, (const int8_t*)&word, down + places[k].row,
                           places[k].column, tap);
      }
      const int32_t taps = runs[0].taps < runs[1].taps ? runs[0].taps : runs[1].taps;
      patch = interleave(patch, runs[0], runs[1], taps * channels);
      tap += taps;
    }
  }
  const int32_t items = window->rows * window->columns * channels;
  for (int32_t i = 0; i < 2 * (-items & 3); ++i) {
    *patch++ = 0;
  }
}

/// Assembly that widens four items and writes them as two pairs, each by STORE.
#define M3NET_WIDEN(items, STORE)                                              \
  "sxtb16 r4, " items                                                          \
  "\n\t"                                                                       \
  "sxtb16 " items ", " items                                                   \
  ", ror #8\n\t"                                                               \
  "pkhbt r5, r4, " items ", lsl #16\n\t" STORE("r5") "pkhtb " items ", " items \
                                                     ", r4, asr #16\n\t" STORE(items)
#define M3NET_STORE_AMONG(pair) \
  "str " pair                   \
  ", [%[patch]]\n\t"            \
  "add %[patch], %[step]\n\t"
#define M3NET_STORE_AND_ADVANCE(pair) "str " pair ", [%[patch]], %[step]\n\t"
#define M3NET_WIDEN_FOUR(items) M3NET_WIDEN(items, M3NET_STORE_AMONG)
#define M3NET_WIDEN_PIXEL(items) M3NET_WIDEN(items, M3NET_STORE_AND_ADVANCE)

/// Writes items into one of several windows, whose pairs of items alternate, from the first item of
/// a pair on.
M3NET_INLINE int16_t* widen_among(int32_t windows, int16_t* patch, const int8_t* items,
                                  int32_t count) {
  __asm__ volatile(
      "b 2f\n\t"
      "1:\n\t"
      "ldr r6, [%[items]], #4\n\t"
      "ldr r8, [%[items]], #4\n\t" M3NET_WIDEN_FOUR("r6") M3NET_WIDEN_FOUR("r8")
      "2:\n\t"
      "subs %[count], #8\n\t"
      "bge 1b\n\t"
      "lsls %[count], %[count], #29\n\t"
      "beq 5f\n\t"
      "bpl 3f\n\t"
      "ldr r6, [%[items]], #4\n\t" M3NET_WIDEN_FOUR("r6")
      "3:\n\t"
      "lsls %[count], %[count], #1\n\t"
      "beq 5f\n\t"
      "bpl 4f\n\t"
      "ldrh r6, [%[items]], #2\n\t"
      "sxtb r4, r6\n\t"
      "sxtb r6, r6, ror #8\n\t"
      "pkhbt r6, r4, r6, lsl #16\n\t"
      "str r6, [%[patch]]\n\t"
      "add %[patch], %[step]\n\t"
      "4:\n\t"
      "lsls %[count], %[count], #1\n\t"
      "bpl 5f\n\t"
      "ldrsb r6, [%[items]]\n\t"
      "strh r6, [%[patch]], #2\n\t"
      "5:\n\t"
      : [patch] "+&r"(patch), [items] "+&r"(items), [count] "+&r"(count)
      : [step] "r"(4 * windows)
      : "r4", "r5", "r6", "r8", "cc", "memory");
  return patch;
}

/// Defines a function that writes items of a pixel, a multiple of four, as above. A macro, since
/// the distance must be a constant without optimisation, too.
#define M3NET_DEFINE_WIDEN_PIXEL(name, windows)                                                 \
  M3NET_INLINE void name(int16_t* patch, const int8_t* items, int32_t count) {                  \
    __asm__ volatile(                                                                         \
        "b 2f\n\t"                                                                            \
        "1:\n\t"                                                                              \
        "ldr r6, [%[items]], #4\n\t"                                                          \
        "ldr r8, [%[items]], #4\n\t" M3NET_WIDEN_PIXEL("r6") M3NET_WIDEN_PIXEL("r8")          \
        "2:\n\t"                                                                              \
        "subs %[count], #8\n\t"                                                               \
        "bge 1b\n\t"                                                                          \
        "tst %[count], #4\n\t"                                                                \
        "beq 3f\n\t"                                                                          \
        "ldr r6, [%[items]], #4\n\t" M3NET_WIDEN_PIXEL("r6")                                  \
        "3:\n\t"                                                                              \
        : [patch] "+&r"(patch), [items] "+&r"(items), [count] "+&r"(count)                    \
        : [step] "i"(4 * (windows))                                                           \
        : "r4", "r5", "r6", "r8", "cc", "memory"); \
  }
M3NET_DEFINE_WIDEN_PIXEL(widen_pixel_of_one, 1)
M3NET_DEFINE_WIDEN_PIXEL(widen_pixel_of_two, 2)
M3NET_DEFINE_WIDEN_PIXEL(widen_pixel_of_three, 3)
M3NET_DEFINE_WIDEN_PIXEL(widen_pixel_of_four, 4)

/// Writes four items.
M3NET_INLINE int16_t* put_four_among(int32_t windows, int16_t* patch, uint32_t word) {
  const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
  const uint32_t low = m3net_pack_low(even, odd), high = m3net_pack_high(even, odd);
  M3NET_MEMCPY(patch, &low, sizeof(low));
  M3NET_MEMCPY(patch + 2 * windows, &high, sizeof(high));
  return patch + 4 * windows;
}

/// Writes an item.
M3NET_INLINE int16_t* put_among(int32_t windows, int16_t* patch, int32_t item) {
  *patch = (int16_t)item;
  return patch + (((uintptr_t)patch & 2u) ? 2 * windows - 1 : 1);
}

/// Writes items from any place on.
M3NET_INLINE int16_t* copy_among(int32_t windows, int16_t* patch, const int8_t* items,
                                 int32_t count) {
  if ((uintptr_t)patch & 2u) {
    patch = put_among(windows, patch, *items++);
    --count;
  }
  return widen_among(windows, patch, items, count);
}

/// Writes an item several times.
M3NET_INLINE int16_t* fill_among(int32_t windows, int16_t* patch, int32_t item, int32_t count) {
  while (count > 0) {
    if (count < 4 || ((uintptr_t)patch & 2u)) {
      patch = put_among(windows, patch, item);
      --count;
    } else {
      patch = put_four_among(windows, patch, (uint8_t)item * 0x01010101u);
      count -= 4;
    }
  }
  return patch;
}

/// Gathers a window whose rows are words: four items each, as in an image of one channel. Loops
/// over items would take most of such a layer's time.
M3NET_SEPARATE void gather_words(const m3net_convolution* layer, const int8_t* input,
                                 window_place place, int32_t windows, int16_t* patch) {
  const m3net_image* image = &layer->input;
  const uint32_t padding = (uint8_t)layer->padding * 0x01010101u;
  const int32_t first = place.column * image->channels, items = image->columns * image->channels;
  // Bits of a word outside the image, which has four items or more: so not on both sides.
  const int32_t before = first < 0 ? -8 * first : 0;
  const int32_t behind = first + 4 > items ? 8 * (first + 4 - items) : 0;
  const int32_t rows = before < 32 && behind < 32 ? image->rows : 0;
  const int32_t from = before ? 0 : behind ? items - 4 : first;
  const uint32_t border = before ? padding >> (32 - before) : behind ? padding << (32 - behind) : 0;
  for (int32_t i = layer->window.rows; i > 0; --i, place.row += layer->window.row_dilation) {
    uint32_t word = padding;
    if (place.row >= 0 && place.row < rows) {
      word = m3net_load_word(input + place.row * image->row_step + from);
      word = (word << before >> behind) | border;
    }
    patch = put_four_among(windows, patch, word);
  }
}

/// Gathers a window whose rows lie side by side and are inside the image's columns. Zeros up to a
/// multiple of four items.
M3NET_SEPARATE void gather_rows(const m3net_convolution* layer, const int8_t* input,
                                window_place place, int32_t windows, int16_t* patch) {
  const m3net_image* image = &layer->input;
  const int32_t items = layer->window.columns * image->channels;
  for (int32_t i = layer->window.rows; i > 0; --i, place.row += layer->window.row_dilation) {
    if (place.row >= 0 && place.row < image->rows) {
      const int8_t* row = input + place.row * image->row_step + place.column * image->channels;
      patch = copy_among(windows, patch, row, items);
    } else {
      patch = fill_among(windows, patch, layer->padding, items);
    }
  }
  (void)fill_among(windows, patch, 0, -layer->window.rows * items & 3);
}

/// Gathers any window. Zeros up to a multiple of four items.
M3NET_SEPARATE void gather_runs(const m3net_convolution* layer, const int8_t* input,
                                window_place place, int32_t windows, int16_t* patch) {
  const m3net_window* window = &layer->window;
  const int32_t channels = layer->input.channels;
  for (int32_t i = 0; i < window->rows; ++i, place.row += window->row_dilation) {
    for (int32_t tap = 0; tap < window->columns;) {
      const item_run run = find_run(layer, input, &layer->padding, place.row, place.column, tap);
      const int32_t count = run.taps * channels;
      patch = run.advance ? copy_among(windows, patch, run.items, count)
                          : fill_among(windows, patch, layer->padding, count);
      tap += run.taps;
    }
  }
  (void)fill_among(windows, patch, 0, -window->rows * window->columns * channels & 3);
}

/// Gathers one of several windows in 16 bits.
static inline void gather_among(const m3net_convolution* layer, const int8_t* input,
                                window_place place, int32_t windows, int16_t* patch) {
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const int32_t items = window->columns * image->channels;
  const int32_t packed = window->column_dilation == 1 && image->column_step == image->channels;
  if (packed && items == 4 && image->columns * image->channels >= 4) {
    gather_words(layer, input, place, windows, patch);
  } else if (!packed || place.column < 0 || place.column + window->columns > image->columns) {
    gather_runs(layer, input, place, windows, patch);
  } else if (window->rows > 1 || items % 4 != 0 || place.row < 0 || place.row >= image->rows) {
    gather_rows(layer, input, place, windows, patch);
  } else {
    const int8_t* pixel = input + place.row * image->row_step + place.column * image->channels;
    if (windows == 4) {
      widen_pixel_of_four(patch, pixel, items);
    } else if (windows == 3) {
      widen_pixel_of_three(patch, pixel, items);
    } else if (windows == 2) {
      widen_pixel_of_two(patch, pixel, items);
    } else {
      widen_pixel_of_one(patch, pixel, items);
    }
  }
}

/// How many of the pixels that are left are computed together: not so many that one is left alone,
/// or two where the kernel of two cannot compute them.
static int32_t group_size(const m3net_convolution* layer, int32_t left) {
  const int32_t most = layer->pixels, size = left < most ? left : most;
  const int32_t by_four = layer->output.channels % 4 == 0;
  if (size == 2 && !by_four) {
    return 1;
  }
  const int32_t smaller = left == size + 1 || (left == size + 2 && !by_four);
  return smaller && size > (by_four ? 2 : 3) ? size - 1 : size;
}

/// Computes pixels that share the weights, from their windows in the patch.
M3NET_SEPARATE void convolve_group(const m3net_convolution* layer, const int16_t* patch,
                                   int32_t items, int32_t size, int8_t* const* outputs) {
  if (size == 4) {
    convolve_four(layer, patch, items, outputs);
  } else if (size == 3) {
    convolve_three(layer, patch, items, outputs);
  } else if (size == 2) {
    convolve_two(layer, patch, items, outputs);
  } else {
    convolve_pixel(layer, patch, items, outputs[0]);
  }
}

/// Computes an image, some pixels at a time.
static void convolve_image(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                           int16_t* patch) {
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  const int32_t columns = layer->output.columns;
  window_place next = {-window->top, -window->left};
  int8_t* pixel = output;
  window_place places[4] = {next};
  int8_t* outputs[4] = {output};
  int32_t x = 0, size = 0;
  for (int32_t left = layer->output.rows * columns; left > 0; left -= size) {
    size = group_size(layer, left);
    for (int32_t i = 0; i < size; ++i) {
      places[i] = next;
      outputs[i] = pixel;
      pixel += layer->output.column_step;
      next.column += window->column_stride;
      if (++x == columns) {
        x = 0;
        pixel = output += layer->output.row_step;
        next.row += window->row_stride;
        next.column = -window->left;
      }
    }
    if (size == 2 && layer->pixels == 2) {
      gather_two(layer, input, places, (int8_t*)patch);
    } else {
      for (int32_t i = 0; i < size; ++i) {
        gather_among(layer, input, places[i], size, patch + 2 * i);
      }
    }
    convolve_group(layer, patch, (items + 3) & ~3, size, outputs);
  }
}

#else

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int16_t* patch;
} convolution_state;

/// Gathers a window, with zeros up to a multiple of four items, and computes its pixel.
M3NET_INLINE void convolve_window(const void* any_state, int32_t row, int32_t column,
                                  int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  const m3net_gatherer gatherer = {widen, fill, 1, layer->padding};
  int8_t* end = m3net_gather(&layer->input, window, state->input, row, column, gatherer,
                             (int8_t*)state->patch);
  (void)fill(end, 0, -items & 3);
  convolve_pixel(layer, state->patch, (items + 3) & ~3, output);
}

static void convolve_image(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                           int16_t* patch) {
  const convolution_state state = {layer, input, patch};
  m3net_for_each_pixel(&layer->output, &layer->window, output, convolve_window, &state);
}

#endif

void m3net_convolve(const m3net_convolution* constants, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_convolution layer = *constants;  // which needs no reads from flash for each pixel
  for (int32_t batch = 0; batch < layer.batches; ++batch) {
    convolve_image(&layer, input + batch * layer.input.batch_step,
                   output + batch * layer.output.batch_step, patch);
  }
}

#endif
