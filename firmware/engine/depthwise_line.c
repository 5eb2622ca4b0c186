// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution whose window is a part of a row or of a column, with the DSP extension. Four
// channels of a line are transposed: a word then holds two neighbours of a channel, which SMLAD
// multiplies with two weights.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM

/// Outputs that are computed at once.
#define OUTPUTS 6
/// Comes after the last pair of weights; no pair has this number.
#define LAST_PAIR INT32_MIN

/// A line of an image; for windows with a dilation every so many of its pixels.
typedef struct {
  const int8_t* from;
  int8_t* to;
  int32_t inputs, outputs;    ///< Pixels.
  int32_t step, output_step;  ///< Bytes from a pixel to the next one.
  int32_t before;             ///< Pixels by which the first window begins before the line.
} image_line;

/// Two weights of a channel, times two. The windows of every other output begin with a word of the
/// line: `even` has the weights 0 and 1, then 2 and 3. The others begin with the upper half of the
/// word: `odd` has none and 0, then 1 and 2.
typedef struct {
  int32_t even, odd;
} weight_pair;

/// The words of a channel; four channels alternate.
typedef struct {
  int32_t channels[4];
} line_word;

/// Sums of neighbouring outputs, times two.
typedef struct {
  int32_t a, b, c, d, e, f;
} six_sums;

/// Two numbers of 16 bits in a word.
static inline int32_t pair_of(uint32_t lower, uint32_t upper) {
  return (int32_t)((lower & 0xffffu) | upper << 16);
}

/// Lists the weights of a channel, which are four bytes apart; returns the number of pairs.
static int32_t list_weights(const m3net_tap* weights, int32_t taps, weight_pair* pairs) {
  uint32_t before = 0;
  int32_t count = 0;
  for (int32_t tap = 0; tap <= taps; tap += 2, weights += 8, ++count) {
    const uint32_t first = tap < taps ? (uint32_t)(2 * weights[0]) : 0;
    const uint32_t second = tap + 1 < taps ? (uint32_t)(2 * weights[4]) : 0;
    pairs[count].even = pair_of(first, second);
    pairs[count].odd = pair_of(before, first);
    before = second;
  }
  pairs[count].even = LAST_PAIR;
  return count;
}

/// Transposes four channels of a line from a pixel on, which may lie outside the image.
static void transpose(const image_line* line, const int8_t* from, int32_t pixel, uint32_t padding,
                      line_word* words, int32_t count) {
  const int32_t step = line->step;
  const uint32_t last = (uint32_t)line->inputs - 1;
  from += pixel * step;
  for (; count > 0; --count, ++words, pixel += 2, from += 2 * step) {
    uint32_t first, second;
    if ((uint32_t)pixel < last) {
      first = m3net_load_word(from);
      second = m3net_load_word(from + step);
    } else {
      first = (uint32_t)pixel == last ? m3net_load_word(from) : padding;
      second = pixel == -1 ? m3net_load_word(from + step) : padding;
    }
    const uint32_t ac = m3net_even_bytes(first), bd = m3net_odd_bytes(first);
    const uint32_t next_ac = m3net_even_bytes(second), next_bd = m3net_odd_bytes(second);
    words->channels[0] = pair_of(ac, next_ac);
    words->channels[1] = pair_of(bd, next_bd);
    words->channels[2] = (int32_t)(ac >> 16 | (next_ac & 0xffff0000u));
    words->channels[3] = (int32_t)(bd >> 16 | (next_bd & 0xffff0000u));
  }
}

/// Assembly that adds the products of the next two pairs of weights with three words, to the sums
/// in r0 to r5. The last word takes the place of the one before them.
#define M3NET_MULTIPLY_WORDS(first, second, last) \
  "ldr r11, [r12, #4]\n\t"                        \
  "ldr r10, [r12], #8\n\t"                        \
  "ldr " last                                     \
  ", [lr], #16\n\t"                               \
  "smlad r0, " first                              \
  ", r10, r0\n\t"                                 \
  "smlad r1, " first                              \
  ", r11, r1\n\t"                                 \
  "smlad r2, " second                             \
  ", r10, r2\n\t"                                 \
  "smlad r3, " second                             \
  ", r11, r3\n\t"                                 \
  "smlad r4, " last                               \
  ", r10, r4\n\t"                                 \
  "smlad r5, " last ", r11, r5\n\t"

/// As above with the first two pairs of weights; the bias is in r5.
#define M3NET_MULTIPLY_FIRST(first, second, last) \
  "ldr r11, [r12, #4]\n\t"                        \
  "ldr r10, [r12], #8\n\t"                        \
  "ldr " second                                   \
  ", [lr, #16]\n\t"                               \
  "ldr " last                                     \
  ", [lr, #32]\n\t"                               \
  "ldr " first                                    \
  ", [lr], #48\n\t"                               \
  "smlad r0, " first                              \
  ", r10, r5\n\t"                                 \
  "smlad r1, " first                              \
  ", r11, r5\n\t"                                 \
  "smlad r2, " second                             \
  ", r10, r5\n\t"                                 \
  "smlad r3, " second                             \
  ", r11, r5\n\t"                                 \
  "smlad r4, " last                               \
  ", r10, r5\n\t"                                 \
  "smlad r5, " last ", r11, r5\n\t"

/// Sums of six neighbours, which begin with a word of a channel. Three pairs of weights a pass, so
/// that each word is loaded once; `entry` is the number of pairs, two or more, modulo three.
M3NET_INLINE six_sums multiply(const line_word* words, const weight_pair* pairs, int32_t bias,
                                int32_t entry) {
  // Fixed registers: with an FPU, GCC cannot allocate so many operands itself.
  register int32_t a __asm__("r0") = entry;
  register int32_t b __asm__("r1");
  register int32_t c __asm__("r2");
  register int32_t d __asm__("r3");
  register int32_t e __asm__("r4");
  register int32_t f __asm__("r5") = bias;
  register const weight_pair* weights __asm__("r12") = pairs;
  register const line_word* place __asm__("lr") = words;
  __asm__ volatile(
      "cmp r0, #1\n\t"
      "beq 2f\n\t"
      "bhi 1f\n\t"  //
      M3NET_MULTIPLY_FIRST("r8", "r9", "r6")
      "b 4f\n\t"
      "1:\n\t"  //
      M3NET_MULTIPLY_FIRST("r9", "r6", "r8")
      "b 5f\n\t"
      "2:\n\t"  //
      M3NET_MULTIPLY_FIRST("r6", "r8", "r9")
      "3:\n\t"  //
      M3NET_MULTIPLY_WORDS("r8", "r9", "r6")
      "4:\n\t"  //
      M3NET_MULTIPLY_WORDS("r9", "r6", "r8")
      "5:\n\t"  //
      M3NET_MULTIPLY_WORDS("r6", "r8", "r9")
      "ldr r10, [r12]\n\t"
      "cmp r10, #0x80000000\n\t"
      "bne 3b\n\t"
      : "+&r"(a), "=&r"(b), "=&r"(c), "=&r"(d), "=&r"(e), "+&r"(f), "+&r"(weights), "+&r"(place)
      :
      : "r6", "r8", "r9", "r10", "r11", "cc", "memory");
  return (six_sums){a, b, c, d, e, f};
}

/// As above with a stride of two: each output begins with a word.
M3NET_INLINE six_sums multiply_wide(const line_word* words, const weight_pair* pairs,
                                     int32_t bias) {
  six_sums sums = {bias, bias, bias, bias, bias, bias};
  for (; pairs->even != LAST_PAIR; ++pairs, ++words) {
    const uint32_t weights = (uint32_t)pairs->even;
    sums.a = m3net_add_products((uint32_t)words[0].channels[0], weights, sums.a);
    sums.b = m3net_add_products((uint32_t)words[1].channels[0], weights, sums.b);
    sums.c = m3net_add_products((uint32_t)words[2].channels[0], weights, sums.c);
    sums.d = m3net_add_products((uint32_t)words[3].channels[0], weights, sums.d);
    sums.e = m3net_add_products((uint32_t)words[4].channels[0], weights, sums.e);
    sums.f = m3net_add_products((uint32_t)words[5].channels[0], weights, sums.f);
  }
  return sums;
}

/// An output from its sum times two; see m3net_requantize_narrow.
static inline int8_t finish(int32_t doubled, m3net_channel channel) {
  const int32_t product = m3net_add_high_product(doubled, channel.multiplier, channel.offset);
  return (int8_t)m3net_saturate((product + (doubled >> 31)) >> channel.right);
}

/// Computes neighbouring outputs of a channel from its words.
M3NET_SEPARATE void convolve_words(const line_word* words, const weight_pair* pairs, int32_t pair_count,
                           const m3net_channel* constants, int32_t stride, int32_t outputs,
                           int32_t step, int8_t* output) {
  const m3net_channel channel = *constants;
  const int32_t entry = pair_count % 3;
  for (; outputs > 0; outputs -= OUTPUTS) {
    six_sums sums;
    if (stride == 1) {
      sums = multiply(words, pairs, 2 * channel.bias, entry);
      words += OUTPUTS / 2;
    } else {
      sums = multiply_wide(words, pairs, 2 * channel.bias);
      words += OUTPUTS;
    }
    const m3net_channel each = channel;
    if (outputs >= OUTPUTS) {
      output[0] = finish(sums.a, each);
      output += step;
      output[0] = finish(sums.b, each);
      output += step;
      output[0] = finish(sums.c, each);
      output += step;
      output[0] = finish(sums.d, each);
      output += step;
      output[0] = finish(sums.e, each);
      output += step;
      output[0] = finish(sums.f, each);
      output += step;
    } else {
      const int32_t all[] = {sums.a, sums.b, sums.c, sums.d, sums.e};
      for (int32_t i = 0; i < outputs; ++i, output += step) {
        output[0] = finish(all[i], each);
      }
    }
  }
}

/// Computes a line, some outputs at a time.
M3NET_SEPARATE void convolve_line(const m3net_convolution* layer, const image_line* line, int32_t stride,
                          int32_t* scratch) {
  const int32_t taps = layer->window.rows * layer->window.columns, most = layer->pixels;
  const uint32_t padding = (uint8_t)layer->padding * 0x01010101u;
  const int32_t group_bytes = 4 * ((taps + 1) & ~1), channels = layer->output.channels;
  weight_pair* pairs = (weight_pair*)(void*)scratch;
  line_word* words = (line_word*)(void*)(pairs + taps / 2 + 2);
  for (int32_t first = 0; first < channels; first += 4) {
    const m3net_tap* weights = layer->taps + first / 4 * group_bytes;
    for (int32_t done = 0; done < line->outputs; done += most) {
      const int32_t left = line->outputs - done, count = left < most ? left : most;
      transpose(line, line->from + first, done * stride - line->before, padding, words,
                (count * stride + taps) / 2);
      for (int32_t i = 0; i < 4 && first + i < channels; ++i) {
        const int32_t pair_count = list_weights(weights + i, taps, pairs);
        convolve_words((const line_word*)(const void*)(words->channels + i), pairs, pair_count,
                       layer->channels + first + i, stride, count, line->output_step,
                       line->to + done * line->output_step + first + i);
      }
    }
  }
}

/// A direction in the image.
typedef struct {
  int32_t inputs, outputs, step, output_step, before, stride, dilation;
} direction;

void m3net_convolve_depthwise_line(const m3net_convolution* constants, const int8_t* input,
                                   int8_t* output, int32_t* scratch) {
  const m3net_convolution copy = *constants;  // which needs no reads from flash for each line
  const m3net_convolution* layer = &copy;
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_window* window = &layer->window;
  const direction rows = {from->rows,          to->rows,    from->row_step,
                          to->row_step,        window->top, window->row_stride,
                          window->row_dilation};
  const direction columns = {from->columns,          to->columns,  from->column_step,
                             to->column_step,        window->left, window->column_stride,
                             window->column_dilation};
  const int32_t by_rows = window->columns == 1;
  const direction along = by_rows ? rows : columns, across = by_rows ? columns : rows;
  const int32_t dilation = along.dilation;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    for (int32_t index = 0; index < across.outputs; ++index) {
      // With a dilation, every so many outputs share no input with the others.
      for (int32_t phase = 0; phase < dilation && phase < along.outputs; ++phase) {
        const int32_t start = phase - along.before;
        const int32_t before = start < 0 ? (-start + dilation - 1) / dilation : 0;
        const int32_t pixel = start + before * dilation;  // the first one inside the image
        const image_line line = {
            input + (index * across.stride - across.before) * across.step + pixel * along.step,
            output + index * across.output_step + phase * along.output_step,
            (along.inputs - pixel + dilation - 1) / dilation,
            (along.outputs - phase + dilation - 1) / dilation,
            dilation * along.step,
            dilation * along.output_step,
            before};
        convolve_line(layer, &line, along.stride, scratch);
      }
    }
    input += from->batch_step;
    output += to->batch_step;
  }
}

#endif
