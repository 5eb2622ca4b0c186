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

/// Two neighbours of four channels, each in a word.
typedef struct {
  int32_t channels[4];
} line_word;

/// Neighbouring outputs of up to four channels. Words in the order in which the kernel loads them.
typedef struct {
  const line_word* words;
  int8_t* output;
  const m3net_tap* weights;
  const m3net_channel *channel, *end;
  weight_pair* pairs;
  int32_t pair_count;  ///< In the channel's weights, which end with a zero if they are odd.
  int32_t is_even;     ///< Number of weights: then another pair has the last one.
  int32_t outputs;
  int32_t step;  ///< Bytes from an output to the next one.
  // Of the channel, written by the kernel.
  const line_word* next_words;
  int32_t bias, multiplier, offset, right;
  int32_t left;  ///< Outputs.
  int32_t sums[OUTPUTS];
  int32_t entry;  ///< Of the code; at first the number of pairs modulo three.
  int8_t* next_output;
} line_part;

/// Two numbers of 16 bits in a word.
static inline int32_t pair_of(uint32_t lower, uint32_t upper) {
  return (int32_t)((lower & 0xffffu) | upper << 16);
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
  "ldr r12, [r7, #20]\n\t"                        \
  "ldr r5, [r7, #44]\n\t"                         \
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

/// Assembly that writes an output from its sum, which is doubled; see m3net_requantize_narrow.
#define M3NET_WRITE_OUTPUT(sum)  \
  "smmlar r12, " sum             \
  ", r6, r8\n\t"                 \
  "add r12, r12, " sum           \
  ", asr #31\n\t"                \
  "asr r12, r12, r9\n\t"         \
  "ssat r12, #8, r12\n\t"        \
  "strb r12, [r10]\n\t"          \
  "add r10, r10, r11\n\t"

/// Computes outputs of up to four channels. Six outputs at once begin with a word of the line and
/// share it with three pairs of weights a pass, so that each word is loaded once. There are two
/// pairs or more.
static void convolve_part(line_part* part) {
  register line_part* place __asm__("r0") = part;
  // r7, which may be the frame pointer, is the place of the part.
  __asm__ volatile(
      "push {r7}\n\t"
      "mov r7, r0\n\t"
      "ldr r1, [r7, #88]\n\t"
      "adr r2, 1f\n\t"
      "cmp r1, #1\n\t"
      "it eq\n\t"
      "adreq r2, 2f\n\t"
      "it hi\n\t"
      "adrhi r2, 3f\n\t"
      "orr r2, r2, #1\n\t"
      "str r2, [r7, #88]\n\t"
      // The weights of a channel, then its constants.
      "7:\n\t"
      "ldr r0, [r7, #8]\n\t"
      "ldr r5, [r7, #20]\n\t"
      "ldr r6, [r7, #24]\n\t"
      "mov r4, #0\n\t"
      "8:\n\t"
      "ldrsb r1, [r0]\n\t"
      "ldrsb r2, [r0, #4]\n\t"
      "add r0, r0, #8\n\t"
      "lsl r1, r1, #1\n\t"
      "pkhbt r3, r4, r1, lsl #16\n\t"
      "pkhbt r1, r1, r2, lsl #17\n\t"
      "lsl r4, r2, #1\n\t"
      "str r1, [r5], #8\n\t"
      "str r3, [r5, #-4]\n\t"
      "subs r6, r6, #1\n\t"
      "bne 8b\n\t"
      "ldr r6, [r7, #28]\n\t"
      "cbz r6, 9f\n\t"
      "uxth r4, r4\n\t"
      "mov r1, #0\n\t"
      "str r1, [r5], #8\n\t"
      "str r4, [r5, #-4]\n\t"
      "9:\n\t"
      "mov r1, #0x80000000\n\t"
      "str r1, [r5]\n\t"
      "ldr r0, [r7, #12]\n\t"
      "ldr lr, [r7]\n\t"
      "ldr r1, [r0]\n\t"
      "ldr r2, [r0, #4]\n\t"
      "ldr r3, [r0, #8]\n\t"
      "ldrsh r4, [r0, #14]\n\t"
      "ldr r5, [r7, #32]\n\t"
      "ldr r6, [r7, #8]\n\t"
      "ldr r8, [r7, #4]\n\t"
      "lsl r1, r1, #1\n\t"
      "str r1, [r7, #44]\n\t"
      "str r2, [r7, #48]\n\t"
      "str r3, [r7, #52]\n\t"
      "str r4, [r7, #56]\n\t"
      "str r5, [r7, #60]\n\t"
      "str lr, [r7, #40]\n\t"
      "str r8, [r7, #92]\n\t"
      "add r0, r0, #16\n\t"
      "add r1, lr, #4\n\t"
      "add r6, r6, #1\n\t"
      "add r8, r8, #1\n\t"
      "str r0, [r7, #12]\n\t"
      "str r1, [r7]\n\t"
      "str r6, [r7, #8]\n\t"
      "str r8, [r7, #4]\n\t"
      "ldr pc, [r7, #88]\n\t"
      ".balign 4\n\t"
      "1:\n\t"  //
      M3NET_MULTIPLY_FIRST("r8", "r9", "r6")
      "b 5f\n\t"
      ".balign 4\n\t"
      "3:\n\t"  //
      M3NET_MULTIPLY_FIRST("r9", "r6", "r8")
      "b 6f\n\t"
      ".balign 4\n\t"
      "2:\n\t"  //
      M3NET_MULTIPLY_FIRST("r6", "r8", "r9")
      "4:\n\t"  //
      M3NET_MULTIPLY_WORDS("r8", "r9", "r6")
      "5:\n\t"  //
      M3NET_MULTIPLY_WORDS("r9", "r6", "r8")
      "6:\n\t"  //
      M3NET_MULTIPLY_WORDS("r6", "r8", "r9")
      "ldr r10, [r12]\n\t"
      "cmp r10, #0x80000000\n\t"
      "bne 4b\n\t"
      "ldr r12, [r7, #40]\n\t"
      "ldr lr, [r7, #60]\n\t"
      "ldr r6, [r7, #48]\n\t"
      "ldr r8, [r7, #52]\n\t"
      "ldr r9, [r7, #56]\n\t"
      "ldr r10, [r7, #92]\n\t"
      "ldr r11, [r7, #36]\n\t"
      "add r12, r12, #48\n\t"
      "subs lr, lr, #6\n\t"
      "str r12, [r7, #40]\n\t"
      "str lr, [r7, #60]\n\t"
      "blt 10f\n\t"  //
      M3NET_WRITE_OUTPUT("r0")
      M3NET_WRITE_OUTPUT("r1")
      M3NET_WRITE_OUTPUT("r2")
      M3NET_WRITE_OUTPUT("r3")
      M3NET_WRITE_OUTPUT("r4")
      M3NET_WRITE_OUTPUT("r5")
      "cmp lr, #0\n\t"
      "str r10, [r7, #92]\n\t"
      "itt gt\n\t"
      "ldrgt lr, [r7, #40]\n\t"
      "ldrgt pc, [r7, #88]\n\t"
      "b 12f\n\t"
      // Fewer outputs than six.
      "10:\n\t"
      "add r12, r7, #64\n\t"
      "stm r12, {r0-r5}\n\t"
      "mov r1, r12\n\t"
      "add lr, lr, #6\n\t"
      "11:\n\t"
      "ldr r0, [r1], #4\n\t"  //
      M3NET_WRITE_OUTPUT("r0")
      "subs lr, lr, #1\n\t"
      "bne 11b\n\t"
      "12:\n\t"
      "ldr r0, [r7, #12]\n\t"
      "ldr r1, [r7, #16]\n\t"
      "cmp r0, r1\n\t"
      "bne 7b\n\t"
      "pop {r7}\n\t"
      : "+&r"(place)
      :
      : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}

/// As above with a stride of two: each output begins with a word. The weights of an output's words
/// are the even ones.
static void convolve_wide_part(const line_part* part, int32_t taps) {
  const int32_t count = (int32_t)(part->end - part->channel), step = part->step;
  for (int32_t channel = 0; channel < count; ++channel) {
    const m3net_channel constants = part->channel[channel];
    const line_word* first = part->words;
    int8_t* output = part->output + channel;
    for (int32_t left = part->outputs; left > 0; --left, ++first, output += step) {
      const line_word* words = first;
      const m3net_tap* weights = part->weights + channel;
      int32_t sum = constants.bias;
      for (int32_t tap = 0; tap < taps; tap += 2, weights += 8, ++words) {
        const uint32_t pair = (uint32_t)pair_of((uint32_t)weights[0], (uint32_t)weights[4]);
        sum = m3net_add_products((uint32_t)words->channels[channel], pair, sum);
      }
      *output = (int8_t)m3net_saturate(m3net_requantize_narrow(sum, &constants));
    }
  }
}

/// Computes a line, some outputs at a time.
M3NET_SEPARATE void convolve_line(const m3net_convolution* layer, const image_line* line,
                                  int32_t stride, int32_t* scratch) {
  const int32_t taps = layer->window.rows * layer->window.columns, most = layer->pixels;
  const uint32_t padding = (uint8_t)layer->padding * 0x01010101u;
  const int32_t group_bytes = 4 * ((taps + 1) & ~1), channels = layer->output.channels;
  weight_pair* pairs = (weight_pair*)(void*)scratch;
  line_word* words = (line_word*)(void*)(pairs + taps / 2 + 2);
  line_part part;
  part.pairs = pairs;
  part.pair_count = (taps + 1) / 2;
  part.is_even = taps % 2 == 0;
  part.step = line->output_step;
  for (int32_t first = 0; first < channels; first += 4) {
    const int32_t together = channels - first < 4 ? channels - first : 4;
    for (int32_t done = 0; done < line->outputs; done += most) {
      const int32_t left = line->outputs - done;
      part.outputs = left < most ? left : most;
      transpose(line, line->from + first, done * stride - line->before, padding, words,
                (part.outputs * stride + taps) / 2);
      part.words = words;
      part.output = line->to + done * line->output_step + first;
      part.weights = layer->taps + first / 4 * group_bytes;
      part.channel = layer->channels + first;
      part.end = part.channel + together;
      part.entry = (part.pair_count + part.is_even) % 3;
      if (stride == 1) {
        convolve_part(&part);
      } else {
        convolve_wide_part(&part, taps);
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
