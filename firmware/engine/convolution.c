// SPDX-License-Identifier: Apache-2.0
// Convolution: each window is gathered into a patch of 16-bit numbers, which four output channels
// at a time multiply with their weights.
#include "arithmetic.h"
#include "dsp_convolution.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if !M3NET_ENGINE_HELIUM && !M3NET_ENGINE_RV32 && !M3NET_ENGINE_AVX2

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

#if M3NET_ENGINE_DSP

/// As m3net_finish_any; the constants are in the order of m3net_convolve.
M3NET_SEPARATE void finish_pairs(const m3net_convolution* layer, m3net_four_sums sums,
                                 const m3net_channel_pair* pair, int32_t count, int8_t* output) {
  const int32_t each[4] = {sums.a, sums.b, sums.c, sums.d};
  for (int32_t i = 0; i < 4 && i < count; ++i) {
    const int32_t second = i & 1;
    const m3net_channel channel = {0, pair->ends[second].multiplier, pair->ends[second].offset,
                                   pair->starts[second].left, pair->starts[second].right};
    const int32_t value = layer->narrow ? m3net_requantize_narrow(each[i], &channel)
                                        : m3net_requantize_wide(each[i], &channel);
    output[i] = (int8_t)m3net_clamp(value, layer->minimum, layer->maximum);
    pair += second;
  }
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
  const m3net_block* blocks = layer->blocks + done / 4 * (items / M3NET_BLOCK_ITEMS);
  for (; done < layer->output.channels; done += 4) {
#if M3NET_ENGINE_DSP
    const m3net_channel_pair* pair = layer->pairs + done / 2;
    const m3net_four_sums biases = {pair[0].starts[0].bias, pair[0].starts[1].bias,
                                    pair[1].starts[0].bias, pair[1].starts[1].bias};
    const m3net_four_sums sums = multiply(patch, items, blocks, biases);
    finish_pairs(layer, sums, pair, layer->output.channels - done, output + done);
#else
    const m3net_channel* four = layer->channels + done;
    const m3net_four_sums sums = multiply(patch, items, blocks, m3net_four_biases(four));
    m3net_finish(layer, sums, four, layer->output.channels - done, output + done);
#endif
    blocks += items / M3NET_BLOCK_ITEMS;
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

/// Places the items of two windows, from the item with a number on, side by side, as bytes. Four
/// items of each are two words: the first and the third item, then the others.
M3NET_INLINE void interleave(int8_t* patch, int32_t number, item_run first, item_run second,
                             int32_t count) {
  while (count > 0) {
    if (number % 4 == 0) {
      for (int8_t* four = patch + 2 * number; count >= 4; count -= 4, number += 4, four += 8) {
        const uint32_t a = m3net_load_word(first.items), b = m3net_load_word(second.items);
        const uint32_t bytes = 0x00ff00ffu;
        const uint32_t even = (a & bytes) | (b & bytes) << 8, odd = (a >> 8 & bytes) | (b & ~bytes);
        M3NET_MEMCPY(four, &even, sizeof(even));
        M3NET_MEMCPY(four + 4, &odd, sizeof(odd));
        first.items += first.advance;
        second.items += second.advance;
      }
      if (count == 0) {
        return;
      }
    }
    int8_t* place = patch + 2 * (number & ~3) + 4 * (number & 1) + (number & 2);
    place[0] = *first.items;
    place[1] = *second.items;
    first.items += first.advance >> 2;
    second.items += second.advance >> 2;
    ++number;
    --count;
  }
}

/// Gathers two windows, whose bytes alternate. Zeros up to a multiple of four items.
M3NET_SEPARATE void gather_two(const m3net_convolution* layer, const int8_t* input,
                               const window_place* places, int8_t* patch) {
  const m3net_window* window = &layer->window;
  const uint32_t word = (uint8_t)layer->padding * 0x01010101u;
  const int32_t channels = layer->input.channels;
  int32_t number = 0;
  for (int32_t i = 0, down = 0; i < window->rows; ++i, down += window->row_dilation) {
    for (int32_t tap = 0; tap < window->columns;) {
      item_run runs[2];
#pragma GCC unroll 1
      for (int32_t k = 0; k < 2; ++k) {
        runs[k] = find_run(layer, input, (const int8_t*)&word, down + places[k].row,
                           places[k].column, tap);
      }
      const int32_t taps = runs[0].taps < runs[1].taps ? runs[0].taps : runs[1].taps;
      interleave(patch, number, runs[0], runs[1], taps * channels);
      number += taps * channels;
      tap += taps;
    }
  }
  for (; number % 4; ++number) {
    int8_t* place = patch + 2 * (number & ~3) + 4 * (number & 1) + (number & 2);
    place[0] = place[1] = 0;
  }
}

/// Assembly that widens four items and writes them as two pairs.
#define M3NET_WIDEN_FOUR(items) \
  "sxtb16 r4, " items           \
  "\n\t"                        \
  "sxtb16 " items ", " items    \
  ", ror #8\n\t"                \
  "str r4, [r10], %[step]\n\t"  \
  "str " items ", [r10], %[step]\n\t"

/// Defines a function that writes lines of items, a multiple of four, into one of several windows
/// or each into the next one. A line begins `gap` bytes behind the one before, and is written
/// `across` bytes farther. A macro, since the distance must be a constant without optimisation,
/// too. Fixed registers: with an FPU, GCC cannot allocate so many operands itself.
#define M3NET_DEFINE_WIDEN_LINES(name, windows)                                               \
  M3NET_INLINE void name(int16_t* patch, const int8_t* items, int32_t count, int32_t lines,   \
                         int32_t gap, int32_t across) {                                       \
    register int16_t* to __asm__("r0") = patch;                                               \
    register const int8_t* from __asm__("r1") = items;                                        \
    register int32_t left __asm__("r2") = lines;                                              \
    register int32_t each __asm__("r3") = count;                                              \
    register int32_t between __asm__("r12") = gap;                                            \
    register int32_t farther __asm__("lr") = across;                                          \
    __asm__ volatile(                                                                       \
        "1:\n\t"                                                                            \
        "mov r10, %[patch]\n\t"                                                             \
        "subs r11, %[count], #16\n\t"                                                       \
        "blt 3f\n\t"                                                                        \
        "2:\n\t"                                                                            \
        "ldr r5, [%[items]], #4\n\t"                                                        \
        "ldr r6, [%[items]], #4\n\t"                                                        \
        "ldr r8, [%[items]], #4\n\t"                                                        \
        "ldr r9, [%[items]], #4\n\t"                                                        \
        M3NET_WIDEN_FOUR("r5") M3NET_WIDEN_FOUR("r6") M3NET_WIDEN_FOUR("r8")                \
        M3NET_WIDEN_FOUR("r9")                                                              \
        "subs r11, #16\n\t"                                                                 \
        "bge 2b\n\t"                                                                        \
        "3:\n\t"                                                                            \
        "adds r11, #16\n\t"                                                                 \
        "beq 5f\n\t"                                                                        \
        "4:\n\t"                                                                            \
        "ldr r5, [%[items]], #4\n\t" M3NET_WIDEN_FOUR("r5")                                 \
        "subs r11, #4\n\t"                                                                  \
        "bne 4b\n\t"                                                                        \
        "5:\n\t"                                                                            \
        "add %[patch], %[across]\n\t"                                                       \
        "add %[items], %[gap]\n\t"                                                          \
        "subs %[lines], #1\n\t"                                                             \
        "bne 1b\n\t"                                                                        \
        : [patch] "+&r"(to), [items] "+&r"(from), [lines] "+&r"(left)                  \
        : [step] "i"(4 * (windows)), [count] "r"(each), [gap] "r"(between), [across] "r"(farther) \
        : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc", "memory"); \
  }
M3NET_DEFINE_WIDEN_LINES(widen_lines_of_one, 1)
M3NET_DEFINE_WIDEN_LINES(widen_lines_of_two, 2)
M3NET_DEFINE_WIDEN_LINES(widen_lines_of_three, 3)
M3NET_DEFINE_WIDEN_LINES(widen_lines_of_four, 4)

/// As these; `step` bytes from a line to the next one.
M3NET_SEPARATE void widen_lines(int32_t windows, int16_t* patch, const int8_t* items, int32_t count,
                                int32_t lines, int32_t step, int32_t across) {
  if (windows == 4) {
    widen_lines_of_four(patch, items, count, lines, step - count, across);
  } else if (windows == 3) {
    widen_lines_of_three(patch, items, count, lines, step - count, across);
  } else if (windows == 2) {
    widen_lines_of_two(patch, items, count, lines, step - count, across);
  } else {
    widen_lines_of_one(patch, items, count, lines, step - count, across);
  }
}

/// Writes four items as two pairs: the first and the third one, then the others.
M3NET_INLINE int16_t* put_four(int32_t windows, int16_t* patch, uint32_t word) {
  const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
  M3NET_MEMCPY(patch, &even, sizeof(even));
  M3NET_MEMCPY(patch + 2 * windows, &odd, sizeof(odd));
  return patch + 4 * windows;
}

/// Where the items of one of several windows, whose pairs of items alternate, are written.
typedef struct {
  int16_t* patch;
  int32_t windows;
  uint32_t pending;  ///< Items, fewer than four.
  int32_t bits;      ///< Of the pending items.
} window_writer;

/// Writes fewer than four items, or a byte of a word several times, for which `advance` is 0.
M3NET_SEPARATE void put_few(window_writer* writer, const int8_t* items, int32_t advance,
                            int32_t count) {
  const int32_t windows = writer->windows;
  int16_t* patch = writer->patch;
  uint32_t pending = writer->pending;
  int32_t bits = writer->bits;
  while (count > 0) {
    if (bits == 0 && count >= 4) {
      patch = put_four(windows, patch, m3net_load_word(items));
      count -= 4;
      continue;
    }
    pending |= (uint32_t)(uint8_t)*items << bits;
    items += advance;
    --count;
    bits += 8;
    if (bits == 32) {
      patch = put_four(windows, patch, pending);
      pending = 0;
      bits = 0;
    }
  }
  writer->patch = patch;
  writer->pending = pending;
  writer->bits = bits;
}

/// Assembly that widens four items in r4 and writes them as two pairs.
#define M3NET_PUT_FOUR        \
  "sxtb16 r5, r4\n\t"         \
  "str r5, [%[patch]]\n\t"    \
  "add %[patch], %[step]\n\t" \
  "sxtb16 r4, r4, ror #8\n\t" \
  "str r4, [%[patch]]\n\t"    \
  "add %[patch], %[step]\n\t"

/// Writes rows of four items or more; `gap` bytes from a row to the next one.
M3NET_SEPARATE void put_rows(window_writer* writer, const int8_t* items, int32_t count,
                             int32_t rows, int32_t gap) {
  register int16_t* patch __asm__("r0") = writer->patch;
  register const int8_t* from __asm__("r1") = items;
  register uint32_t pending __asm__("r2") = writer->pending;
  register int32_t bits __asm__("r3") = writer->bits;
  register int32_t step __asm__("r9") = 4 * writer->windows;
  register int32_t each __asm__("r10") = count;
  register int32_t left __asm__("r12") = rows;
  register int32_t between __asm__("lr") = gap;
  // Pending items and the first ones of a row, then the others, of which the last may be pending.
  __asm__ volatile(
      "1:\n\t"
      "mov r6, %[count]\n\t"
      "cbz %[bits], 2f\n\t"
      "ldr r4, [%[items]]\n\t"
      "rsb r8, %[bits], #32\n\t"
      "lsl r4, r4, %[bits]\n\t"
      "orr r4, r4, %[pending]\n\t" M3NET_PUT_FOUR
      "add %[items], %[items], r8, lsr #3\n\t"
      "sub r6, r6, r8, lsr #3\n\t"
      "2:\n\t"
      "subs r6, r6, #8\n\t"
      "blt 4f\n\t"
      "3:\n\t"
      "ldr r4, [%[items]], #4\n\t" M3NET_PUT_FOUR "ldr r4, [%[items]], #4\n\t" M3NET_PUT_FOUR
      "subs r6, r6, #8\n\t"
      "bge 3b\n\t"
      "4:\n\t"
      "lsls r6, r6, #30\n\t"
      "bcc 5f\n\t"
      "ldr r4, [%[items]], #4\n\t" M3NET_PUT_FOUR
      "5:\n\t"
      "mov %[pending], #0\n\t"
      "lsrs %[bits], r6, #27\n\t"
      "beq 6f\n\t"
      "add %[items], %[items], r6, lsr #30\n\t"
      "ldr r4, [%[items], #-4]\n\t"
      "rsb r8, %[bits], #32\n\t"
      "lsr %[pending], r4, r8\n\t"
      "6:\n\t"
      "add %[items], %[gap]\n\t"
      "subs %[rows], #1\n\t"
      "bne 1b\n\t"
      : [patch] "+&r"(patch), [items] "+&r"(from), [rows] "+&r"(left), [pending] "+&r"(pending),
        [bits] "+&r"(bits)
      : [step] "r"(step), [count] "r"(each), [gap] "r"(between)
      : "r4", "r5", "r6", "r8", "cc", "memory");
  writer->patch = patch;
  writer->pending = pending;
  writer->bits = bits;
}

/// Writes items.
M3NET_INLINE void put_items(window_writer* writer, const int8_t* items, int32_t count) {
  if (count >= 4) {
    put_rows(writer, items, count, 1, 0);
  } else {
    put_few(writer, items, 1, count);
  }
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
    patch = put_four(windows, patch, word);
  }
}

/// Gathers windows of three rows of nine items, `step` bytes apart, into some of four, as of the
/// first layer of an image of three colours. A loop over rows would take half of such a layer's
/// time.
M3NET_SEPARATE void gather_colours(const int8_t* first, int32_t down, int32_t step, int32_t count,
                                   int16_t* patch) {
  enum { WINDOWS = 4 };
  for (; count > 0; --count, first += step, patch += 2) {
    const int8_t *second = first + down, *third = second + down;
    uint16_t end, begin;
    M3NET_MEMCPY(&end, second + 7, sizeof(end));
    M3NET_MEMCPY(&begin, third, sizeof(begin));
    int16_t* four = put_four(WINDOWS, patch, m3net_load_word(first));
    four = put_four(WINDOWS, four, m3net_load_word(first + 4));
    four = put_four(WINDOWS, four, (m3net_load_word(second - 1) & ~0xffu) | (uint8_t)first[8]);
    four = put_four(WINDOWS, four, m3net_load_word(second + 3));
    four = put_four(WINDOWS, four, end | (uint32_t)begin << 16);
    four = put_four(WINDOWS, four, m3net_load_word(third + 2));
    (void)put_four(WINDOWS, four, m3net_load_word(third + 5) >> 8);
  }
}

/// Gathers a window that is partly outside the image, or whose pixels do not lie side by side.
M3NET_SEPARATE void gather_pieces(const m3net_convolution* layer, const int8_t* input,
                                  window_place place, window_writer* writer) {
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const uint32_t word = (uint8_t)layer->padding * 0x01010101u;
  const int8_t* padding = (const int8_t*)&word;
  const int32_t channels = image->channels, columns = window->columns, first = place.column;
  const int32_t packed = window->column_dilation == 1 && image->column_step == channels;
  const int32_t items = columns * channels, down = window->row_dilation * image->row_step;
  // Columns of the window on the left and on the right of the image, and rows above and inside.
  const int32_t last = first + columns - image->columns;
  const int32_t before = first >= 0 ? 0 : -first < columns ? -first : columns;
  const int32_t behind = last <= 0 ? 0 : last < columns ? last : columns;
  const int32_t inside = columns - before - behind;
  int32_t above = 0, rows = 0, left = window->rows;
  for (; left > 0 && place.row < 0; --left, place.row += window->row_dilation) {
    above += items;
  }
  const int32_t top = place.row;
  for (; left > 0 && place.row < image->rows; --left, place.row += window->row_dilation) {
    ++rows;
  }
  const int8_t* line = input + (rows ? top * image->row_step : 0);
  if (above) {
    put_few(writer, padding, 0, above);
  }
  if (packed && inside == columns && items >= 4 && rows) {
    put_rows(writer, line + first * channels, items, rows, down - items);
    rows = 0;
  }
  for (; rows > 0; --rows, line += down) {
    if (packed) {
      if (before) {
        put_few(writer, padding, 0, before * channels);
      }
      if (inside) {
        put_items(writer, line + (first + before) * channels, inside * channels);
      }
      if (behind) {
        put_few(writer, padding, 0, behind * channels);
      }
      continue;
    }
    for (int32_t tap = columns, x = first; tap > 0; --tap, x += window->column_dilation) {
      if (x < 0 || x >= image->columns) {
        put_few(writer, padding, 0, channels);
      } else {
        put_items(writer, line + x * image->column_step, channels);
      }
    }
  }
  if (left) {
    put_few(writer, padding, 0, left * items);
  }
}

/// Gathers the windows of some pixels; `place` moves on to the window behind them. Zeros up to a
/// multiple of four items.
M3NET_SEPARATE void gather_windows(const m3net_convolution* layer, const int8_t* input,
                                   window_place* place, int32_t size, int16_t* patch) {
  const m3net_image* image = &layer->input;
  const m3net_window* window = &layer->window;
  const int32_t last = (layer->output.columns - 1) * window->column_stride - window->left;
  const int32_t of_bytes = size == 2 && layer->pixels == 2;
  const int32_t channels = image->channels, rows = window->rows, items = window->columns * channels;
  const int32_t packed = window->column_dilation == 1 && image->column_step == channels;
  const int32_t in_words = packed && items == 4 && image->columns * channels >= 4;
  const int32_t down = window->row_dilation * image->row_step;
  // Of the last window inside the image.
  const int32_t last_row = image->rows - 1 - (rows - 1) * window->row_dilation;
  const int32_t last_column = packed ? image->columns - window->columns : -1;
  window_place places[2];
  for (int32_t i = 0; i < size; ++i, patch += 2) {
    const int32_t row = place->row, column = place->column;
    window_writer writer = {patch, size, 0, 0};
    if (of_bytes) {
      places[i] = *place;
    } else if (in_words) {
      gather_words(layer, input, *place, size, patch);
    } else if (row < 0 || row > last_row || column < 0 || column > last_column) {
      gather_pieces(layer, input, *place, &writer);
    } else {
      const int8_t* line = input + row * image->row_step + column * channels;
      if (items % 4 == 0) {
        widen_lines(size, patch, line, items, rows, down, 2 * size * items);
      } else if (size == 4 && items == 9 && rows == 3) {
        const int32_t stride = window->column_stride;
        const int32_t inside = ((last < last_column ? last : last_column) - column) / stride;
        const int32_t others = inside < size - 1 - i ? inside : size - 1 - i;
        gather_colours(line, down, stride * channels, 1 + others, patch);
        place->column += others * stride;
        patch += 2 * others;
        i += others;
      } else if (items > 4) {
        put_rows(&writer, line, items, rows, down - items);
      } else {
        for (int32_t left = rows; left > 0; --left, line += down) {
          put_few(&writer, line, 1, items);
        }
      }
    }
    if (writer.bits) {
      (void)put_four(size, writer.patch, writer.pending);
    }
    place->column += window->column_stride;
    if (place->column > last) {
      place->row += window->row_stride;
      place->column = -window->left;
    }
  }
  if (of_bytes) {
    gather_two(layer, input, places, (int8_t*)(patch - 4));
  }
}

/// Whether each window is a pixel of the image, whose items are a multiple of four.
static int32_t has_pixels(const m3net_convolution* layer) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_window* window = &layer->window;
  return window->rows == 1 && window->columns == 1 && from->channels % 4 == 0 && !window->top &&
         !window->left && (to->rows - 1) * window->row_stride < from->rows &&
         (to->columns - 1) * window->column_stride < from->columns;
}

/// How many of the pixels that are left are computed together: not so many that one is left alone,
/// or two where the kernel of two, which takes channels `by_four`, cannot compute them.
static inline int32_t group_size(int32_t most, int32_t by_four, int32_t left) {
  const int32_t size = left < most ? left : most;
  if (size == 2 && !by_four) {
    return 1;
  }
  const int32_t smaller = left == size + 1 || (left == size + 2 && !by_four);
  return smaller && size > (by_four ? 2 : 3) ? size - 1 : size;
}

/// Computes pixels that share the weights, from their windows in the patch.
M3NET_SEPARATE void convolve_group(const m3net_convolution* layer, const pixel_group* group,
                                   int32_t size, int8_t* output) {
  if (size == 4) {
    convolve_four(group, output);
  } else if (size == 3) {
    convolve_three(group, output);
  } else if (size == 2) {
    convolve_two(group, output);
  } else {
    convolve_pixel(layer, group->patch, group->items, output);
  }
}

/// Computes an image, some pixels at a time.
M3NET_SEPARATE void convolve_image(const m3net_convolution* layer, const int8_t* input,
                                   int8_t* output, int16_t* patch) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_window* window = &layer->window;
  const int32_t most = layer->pixels, in_pixels = most != 2 && has_pixels(layer);
  const int32_t items = window->rows * window->columns * from->channels;
  // Pixels that are computed together are equally far apart, in one run if all are.
  const int32_t columns = to->columns, row_step = to->row_step;
  const int32_t step = columns == 1 ? row_step : to->column_step;
  const int32_t from_row = window->row_stride * from->row_step;
  const int32_t from_step = columns == 1 ? from_row : window->column_stride * from->column_step;
  const int32_t even =
      row_step == columns * step && (!in_pixels || from_row == columns * from_step);
  const int32_t pixels = even ? to->rows * columns : columns;
  const pixel_group group = {layer->blocks,    layer->pairs, to->channels,
                             (items + 3) & ~3, step,         most > 1 && !layer->brief,
                             most == 2,        patch};
  window_place next = {-window->top, -window->left};
  for (int32_t row = 0; row < (even ? 1 : to->rows); ++row) {
    const int8_t* pixel = input + (in_pixels ? row * from_row : 0);
    int8_t* place = output + row * row_step;
    for (int32_t left = pixels, size = 0; left > 0; left -= size, place += size * step) {
      size = group_size(most, group.channel_count % 4 == 0, left);
      if (in_pixels) {
        widen_lines(size, patch, pixel, items, size, from_step, 4);
        pixel += size * from_step;
      } else {
        gather_windows(layer, input, &next, size, patch);
      }
      convolve_group(layer, &group, size, place);
    }
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
  // A copy needs no reads from flash for each pixel. Compilers copy two parts without a call.
  enum { PART = 40 };
  m3net_convolution layer;
  M3NET_MEMCPY(&layer, M3NET_WORDS(constants), PART);
  M3NET_MEMCPY(M3NET_WORDS((int8_t*)&layer + PART), M3NET_WORDS((const int8_t*)constants + PART),
               sizeof(layer) - PART);
  for (int32_t batch = 0; batch < layer.batches; ++batch) {
    convolve_image(&layer, input + batch * layer.input.batch_step,
                   output + batch * layer.output.batch_step, patch);
  }
}

#endif
