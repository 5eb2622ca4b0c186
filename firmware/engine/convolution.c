// SPDX-License-Identifier: Apache-2.0
// Convolution: each window is gathered into a patch of 16-bit numbers, which four output channels
// at a time multiply with their weights.
#include "arithmetic.h"
#include "dsp_convolution.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if !M3NET_ENGINE_HELIUM && !M3NET_ENGINE_RV32

/// Widens items to 16 bits.
static int8_t* widen(int8_t* patch, const int8_t* items, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  for (; count >= 4; count -= 4, items += 4, wide += 4) {
#if M3NET_ENGINE_DSP
    const uint32_t word = m3net_load_word(items);
    const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
    const uint32_t pairs[2] = {m3net_pack_low(even, odd), m3net_pack_high(even, odd)};
    M3NET_MEMCPY(wide, pairs, sizeof(pairs));
#else
    wide[0] = items[0];
    wide[1] = items[1];
    wide[2] = items[2];
    wide[3] = items[3];
#endif
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

#if !M3NET_ENGINE_DSP

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

/// Pixels that are computed together; the patch has their windows.
typedef struct {
  int32_t size;         ///< Number of them.
  int32_t gathered;     ///< Windows that are in the patch.
  int32_t left;         ///< Pixels of the image that are not computed yet.
  int32_t row, column;  ///< Where the first window begins.
  int8_t* outputs[4];
} pixel_group;

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int16_t* patch;
  int32_t items;  ///< Of a window, rounded up to a multiple of four.
  pixel_group* group;
} convolution_state;

#if M3NET_ENGINE_DSP

/// Items of a row of a window that lie side by side, or the padding for items outside the image.
typedef struct {
  const int8_t* items;
  int32_t advance;  ///< From four items to the next ones: 4, or 0 in the padding.
  int32_t taps;     ///< Pixels.
} item_run;

/// The items from a pixel of a window's row on; the row begins at (row, column).
M3NET_INLINE item_run find_run(const convolution_state* state, const int8_t* padding, int32_t row,
                               int32_t column, int32_t tap) {
  const m3net_image* image = &state->layer->input;
  const m3net_window* window = &state->layer->window;
  const int32_t left = window->columns - tap, x = column + tap * window->column_dilation;
  if (row < 0 || row >= image->rows) {
    return (item_run){padding, 0, left};
  }
  const int32_t packed = window->column_dilation == 1 && image->column_step == image->channels;
  const int32_t outside = x < 0 || x >= image->columns;
  const int32_t until = x < 0 ? -x : outside ? left : image->columns - x;
  const int32_t taps = !packed ? 1 : until < left ? until : left;
  const int8_t* items = state->input + row * image->row_step + x * image->column_step;
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

/// Gathers the first window of a group and one that begins at (row, column); their bytes
/// alternate. Zeros up to a multiple of four items.
M3NET_SEPARATE void gather_two(const convolution_state* state, int32_t row, int32_t column) {
  const m3net_convolution* layer = state->layer;
  const m3net_window* window = &layer->window;
  const pixel_group* group = state->group;
  const uint32_t word = (uint8_t)layer->padding * 0x01010101u;
  const int32_t channels = layer->input.channels;
  int8_t* patch = (int8_t*)state->patch;
  for (int32_t i = 0, down = 0; i < window->rows; ++i, down += window->row_dilation) {
    for (int32_t tap = 0; tap < window->columns;) {
      item_run runs[2];
#pragma GCC unroll 1
      for (int32_t k = 0; k < 2; ++k) {
        runs[k] = find_run(state, (const int8_t*)&word, down + (k ? row : group->row),
                           k ? column : group->column, tap);
      }
      const int32_t taps = runs[0].taps < runs[1].taps ? runs[0].taps : runs[1].taps;
      patch = interleave(patch, runs[0], runs[1], taps * channels);
      tap += taps;
    }
  }
  const int32_t rest = state->items - window->rows * window->columns * channels;
  for (int32_t i = 0; i < 2 * rest; ++i) {
    *patch++ = 0;
  }
}

/// As widen, into one of `count` windows whose pairs of items alternate.
M3NET_INLINE int8_t* widen_among(int32_t windows, int8_t* patch, const int8_t* items,
                                 int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  const int32_t step = 2 * windows;
  if (((uintptr_t)wide & 2u) && count > 0) {
    *wide = *items++;
    wide += step - 1;
    --count;
  }
  for (; count >= 4; count -= 4, items += 4, wide += 2 * step) {
    const uint32_t word = m3net_load_word(items);
    const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
    const uint32_t low = m3net_pack_low(even, odd), high = m3net_pack_high(even, odd);
    M3NET_MEMCPY(wide, &low, sizeof(low));
    M3NET_MEMCPY(wide + step, &high, sizeof(high));
  }
  for (int32_t i = 0; i < count; ++i) {
    *wide = items[i];
    wide += ((uintptr_t)wide & 2u) ? step - 1 : 1;
  }
  return (int8_t*)wide;
}

M3NET_INLINE int8_t* fill_among(int32_t windows, int8_t* patch, int32_t value, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  for (int32_t i = 0; i < count; ++i) {
    *wide = (int16_t)value;
    wide += ((uintptr_t)wide & 2u) ? 2 * windows - 1 : 1;
  }
  return (int8_t*)wide;
}

static int8_t* widen_of_two(int8_t* patch, const int8_t* items, int32_t count) {
  return widen_among(2, patch, items, count);
}

static int8_t* fill_of_two(int8_t* patch, int32_t value, int32_t count) {
  return fill_among(2, patch, value, count);
}

static int8_t* widen_of_three(int8_t* patch, const int8_t* items, int32_t count) {
  return widen_among(3, patch, items, count);
}

static int8_t* fill_of_three(int8_t* patch, int32_t value, int32_t count) {
  return fill_among(3, patch, value, count);
}

static int8_t* widen_of_four(int8_t* patch, const int8_t* items, int32_t count) {
  return widen_among(4, patch, items, count);
}

static int8_t* fill_of_four(int8_t* patch, int32_t value, int32_t count) {
  return fill_among(4, patch, value, count);
}

/// How many pixels the next group has: at most as many as are left, and not so many that one is
/// left alone, or two where the kernel of two cannot compute them.
static void choose_group(const m3net_convolution* layer, pixel_group* group) {
  const int32_t left = group->left, most = layer->pixels, size = left < most ? left : most;
  const int32_t by_four = layer->output.channels % 4 == 0;
  if (size == 2 && !by_four) {
    group->size = 1;
  } else {
    const int32_t smaller = left == size + 1 || (left == size + 2 && !by_four);
    group->size = smaller && size > (by_four ? 2 : 3) ? size - 1 : size;
  }
}

/// How the next window of a group is gathered.
static inline m3net_gatherer choose_gatherer(const m3net_convolution* layer,
                                             const pixel_group* group) {
  const int32_t padding = layer->padding;
  if (group->size == 4) {
    return (m3net_gatherer){widen_of_four, fill_of_four, 1, padding};
  }
  if (group->size == 3) {
    return (m3net_gatherer){widen_of_three, fill_of_three, 1, padding};
  }
  if (group->size == 2 && layer->pixels > 2) {
    return (m3net_gatherer){widen_of_two, fill_of_two, 1, padding};
  }
  return (m3net_gatherer){widen, fill, 1, padding};
}

/// Computes a group of pixels, whose windows are in the patch.
static inline void convolve_group(const convolution_state* state, pixel_group* group) {
  const m3net_convolution* layer = state->layer;
  if (group->size == 4) {
    convolve_four(layer, state->patch, state->items, group->outputs);
  } else if (group->size == 3) {
    convolve_three(layer, state->patch, state->items, group->outputs);
  } else if (group->size == 2) {
    convolve_two(layer, state->patch, state->items, group->outputs);
  } else {
    convolve_pixel(layer, state->patch, state->items, group->outputs[0]);
  }
  group->left -= group->size;
  group->gathered = 0;
}

#endif

/// Gathers a window and computes its pixel, or leaves it to the last one of its group.
M3NET_INLINE void convolve_window(const void* any_state, int32_t row, int32_t column,
                                  int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  int16_t* patch = state->patch;
#if M3NET_ENGINE_DSP
  pixel_group* group = state->group;
  if (group->gathered == 0) {
    choose_group(layer, group);
  }
  if (group->size == 2 && layer->pixels == 2) {
    group->outputs[group->gathered++] = output;
    if (group->gathered == 1) {
      group->row = row;
      group->column = column;
    } else {
      gather_two(state, row, column);
      convolve_group(state, group);
    }
    return;
  }
  const m3net_gatherer gatherer = choose_gatherer(layer, group);
  if (layer->pixels > 2) {
    patch += 2 * group->gathered;
  }
#else
  const m3net_gatherer gatherer = {widen, fill, 1, layer->padding};
#endif
  // Zeros up to a multiple of four items.
  int8_t* end =
      m3net_gather(&layer->input, window, state->input, row, column, gatherer, (int8_t*)patch);
  gatherer.fill(end, 0, state->items - items);
#if M3NET_ENGINE_DSP
  group->outputs[group->gathered++] = output;
  if (group->gathered == group->size) {
    convolve_group(state, group);
  }
#else
  convolve_pixel(layer, state->patch, state->items, output);
#endif
}

void m3net_convolve(const m3net_convolution* constants, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_convolution copy = *constants;  // which needs no reads from flash for each pixel
  const m3net_convolution* layer = &copy;
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    pixel_group group = {1, 0, layer->output.rows * layer->output.columns, 0, 0, {output}};
    const convolution_state state = {layer, input + batch * layer->input.batch_step, patch,
                                     (items + 3) & ~3, &group};
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
