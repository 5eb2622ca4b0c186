// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution whose window is a part of a row or of a column, with the DSP extension.
// Four channels of a line are transposed: a word then holds two neighbours of a channel, which
// SMLAD multiplies with two weights.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM

/// Outputs that are computed at once.
#define OUTPUTS 6
/// Marks a stride of two.
#define WIDE 0x10000
/// Pairs of weights of the longest window, of 15 taps.
#define MOST_PAIRS 8
/// Comes after the last pair of weights; no pair has this number.
#define LAST_PAIR 0x80000000u

/// Two weights of a channel, times two. The windows of every other output begin with a word of the
/// line: `even` has the weights 0 and 1, then 2 and 3. The others begin with the upper half of the
/// word: `odd` has none and 0, then 1 and 2.
typedef struct {
  uint32_t even, odd;
} weight_pair;

typedef struct {
  weight_pair pairs[MOST_PAIRS + 1];
} weight_list;

/// Two neighbours of four channels, each in a word.
typedef struct {
  uint32_t channels[4];
} line_word;

/// Neighbouring outputs of up to four channels. Words in the order in which the kernel loads them.
typedef struct {
  const line_word* words;
  int8_t* output;
  const weight_list* weights;
  const m3net_channel *channel, *end;
  int32_t outputs;  ///< Less WIDE if the stride is two.
  int32_t step;     ///< Bytes from an output to the next one.
  int32_t bytes;    ///< Of a list of weights.
  int32_t entry;    ///< Of the code; at first the number of pairs modulo three.
  // Of a channel, written by the kernel.
  const line_word* next_words;
  int32_t bias, multiplier, offset, right, left;
  int8_t* next_output;
  const weight_list* list;
  int32_t sums[OUTPUTS];
} line_part;

/// Lists the weights of four channels, tap by tap; returns the number of pairs of each.
static int32_t list_weights(const m3net_tap* weights, int32_t taps, weight_list* lists) {
  uint32_t last_ac = 0, last_bd = 0;
  int32_t count = 0;
  for (int32_t tap = 0; tap <= taps; tap += 2, weights += 8, ++count) {
    const uint32_t first = tap < taps ? m3net_load_word(weights) : 0;
    const uint32_t second = tap < taps ? m3net_load_word(weights + 4) : 0;
    const uint32_t ac = m3net_double_halves(m3net_even_bytes(first));
    const uint32_t bd = m3net_double_halves(m3net_odd_bytes(first));
    const uint32_t next_ac = m3net_double_halves(m3net_even_bytes(second));
    const uint32_t next_bd = m3net_double_halves(m3net_odd_bytes(second));
    lists[0].pairs[count].even = m3net_lower_halves(ac, next_ac);
    lists[0].pairs[count].odd = m3net_lower_halves(last_ac, ac);
    lists[1].pairs[count].even = m3net_lower_halves(bd, next_bd);
    lists[1].pairs[count].odd = m3net_lower_halves(last_bd, bd);
    lists[2].pairs[count].even = m3net_upper_halves(ac, next_ac);
    lists[2].pairs[count].odd = m3net_upper_halves(last_ac, ac);
    lists[3].pairs[count].even = m3net_upper_halves(bd, next_bd);
    lists[3].pairs[count].odd = m3net_upper_halves(last_bd, bd);
    last_ac = next_ac;
    last_bd = next_bd;
  }
  for (int32_t i = 0; i < 4; ++i) {
    lists[i].pairs[count].even = LAST_PAIR;
  }
  return count;
}

/// Transposes pairs of pixels, one or more.
static inline line_word* transpose_pixels(const int8_t* from, int32_t step, line_word* words,
                                          int32_t count) {
  __asm__ volatile(
      "1:\n\t"
      "ldr r4, [%[from]]\n\t"
      "ldr r5, [%[from], %[step]]\n\t"
      "add %[from], %[from], %[step], lsl #1\n\t"
      "sxtb16 r6, r4\n\t"
      "sxtb16 r8, r5\n\t"
      "sxtb16 r4, r4, ror #8\n\t"
      "sxtb16 r5, r5, ror #8\n\t"
      "pkhbt r9, r6, r8, lsl #16\n\t"
      "pkhtb r8, r8, r6, asr #16\n\t"
      "pkhbt r6, r4, r5, lsl #16\n\t"
      "pkhtb r5, r5, r4, asr #16\n\t"
      "str r9, [%[words]], #16\n\t"
      "str r6, [%[words], #-12]\n\t"
      "str r8, [%[words], #-8]\n\t"
      "str r5, [%[words], #-4]\n\t"
      "subs %[count], %[count], #1\n\t"
      "bne 1b\n\t"
      : [from] "+&r"(from), [words] "+&r"(words), [count] "+&r"(count)
      : [step] "r"(step)
      : "r4", "r5", "r6", "r8", "r9", "cc", "memory");
  return words;
}

/// Transposes four channels of a line from a pixel on, which may lie outside the image.
static void transpose(const m3net_image_line* line, const int8_t* from, int32_t pixel,
                      uint32_t padding, line_word* words, int32_t count) {
  const int32_t step = line->step, last = line->inputs - 1;
  while (count > 0) {
    int32_t pairs = 1;
    if (pixel >= 0 && pixel < last) {
      const int32_t inside = (last - pixel + 1) / 2;
      pairs = inside < count ? inside : count;
      words = transpose_pixels(from + pixel * step, step, words, pairs);
    } else {
      const uint32_t edge[2] = {pixel == last ? m3net_load_word(from + pixel * step) : padding,
                                pixel == -1 ? m3net_load_word(from) : padding};
      words = transpose_pixels((const int8_t*)edge, sizeof(edge[0]), words, 1);
    }
    pixel += 2 * pairs;
    count -= pairs;
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
  "ldr r12, [r7, #64]\n\t"                        \
  "ldr r5, [r7, #40]\n\t"                         \
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
#define M3NET_WRITE_OUTPUT(sum) \
  "smmlar r12, " sum            \
  ", r6, r8\n\t"                \
  "add r12, r12, " sum          \
  ", asr #31\n\t"               \
  "asr r12, r12, r9\n\t"        \
  "ssat r12, #8, r12\n\t"       \
  "strb r12, [r10]\n\t"         \
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
      "ldr r1, [r7, #32]\n\t"
      "adr r2, 1f\n\t"
      "cmp r1, #1\n\t"
      "it eq\n\t"
      "adreq r2, 2f\n\t"
      "it hi\n\t"
      "adrhi r2, 3f\n\t"
      "orr r2, r2, #1\n\t"
      "str r2, [r7, #32]\n\t"
      // The constants of a channel.
      "7:\n\t"
      "ldr r0, [r7, #12]\n\t"
      "ldr lr, [r7]\n\t"
      "ldr r1, [r0]\n\t"
      "ldr r2, [r0, #4]\n\t"
      "ldr r3, [r0, #8]\n\t"
      "ldrsh r4, [r0, #14]\n\t"
      "ldr r5, [r7, #20]\n\t"
      "ldr r6, [r7, #8]\n\t"
      "ldr r8, [r7, #4]\n\t"
      "ldr r9, [r7, #28]\n\t"
      "lsl r1, r1, #1\n\t"
      "str r1, [r7, #40]\n\t"
      "str r2, [r7, #44]\n\t"
      "str r3, [r7, #48]\n\t"
      "str r4, [r7, #52]\n\t"
      "str r5, [r7, #56]\n\t"
      "str r6, [r7, #64]\n\t"
      "str r8, [r7, #60]\n\t"
      "str lr, [r7, #36]\n\t"
      "add r0, r0, #16\n\t"
      "add r1, lr, #4\n\t"
      "add r6, r6, r9\n\t"
      "add r8, r8, #1\n\t"
      "str r0, [r7, #12]\n\t"
      "str r1, [r7]\n\t"
      "str r6, [r7, #8]\n\t"
      "str r8, [r7, #4]\n\t"
      "ldr pc, [r7, #32]\n\t"
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
      "ldr r12, [r7, #36]\n\t"
      "ldr lr, [r7, #56]\n\t"
      "ldr r6, [r7, #44]\n\t"
      "ldr r8, [r7, #48]\n\t"
      "ldr r9, [r7, #52]\n\t"
      "ldr r10, [r7, #60]\n\t"
      "ldr r11, [r7, #24]\n\t"
      "add r12, r12, #48\n\t"
      "subs lr, lr, #6\n\t"
      "str r12, [r7, #36]\n\t"
      "str lr, [r7, #56]\n\t"
      "blt 10f\n\t"  //
      M3NET_WRITE_OUTPUT("r0")
      M3NET_WRITE_OUTPUT("r1")
      M3NET_WRITE_OUTPUT("r2")
      M3NET_WRITE_OUTPUT("r3")
      M3NET_WRITE_OUTPUT("r4")
      M3NET_WRITE_OUTPUT("r5")
      "cmp lr, #0\n\t"
      "str r10, [r7, #60]\n\t"
      "itt gt\n\t"
      "ldrgt lr, [r7, #36]\n\t"
      "ldrgt pc, [r7, #32]\n\t"
      "b 12f\n\t"
      // Fewer outputs than six.
      "10:\n\t"
      "add r12, r7, #68\n\t"
      "stm r12, {r0-r5}\n\t"
      "mov r1, r12\n\t"
      "adds lr, lr, #6\n\t"
      "bmi 13f\n\t"
      "11:\n\t"
      "ldr r0, [r1], #4\n\t"  //
      M3NET_WRITE_OUTPUT("r0")
      "subs lr, lr, #1\n\t"
      "bne 11b\n\t"
      "b 12f\n\t"
      // With a stride of two every other sum is one of an output.
      "13:\n\t"
      "add lr, lr, %[wide]\n\t"
      "subs r2, lr, #3\n\t"
      "it gt\n\t"
      "movgt lr, #3\n\t"
      "14:\n\t"
      "ldr r0, [r1], #8\n\t"  //
      M3NET_WRITE_OUTPUT("r0")
      "subs lr, lr, #1\n\t"
      "bne 14b\n\t"
      "cmp r2, #0\n\t"
      "sub r2, r2, %[wide]\n\t"
      "str r2, [r7, #56]\n\t"
      "str r10, [r7, #60]\n\t"
      "itt gt\n\t"
      "ldrgt lr, [r7, #36]\n\t"
      "ldrgt pc, [r7, #32]\n\t"
      "12:\n\t"
      "ldr r0, [r7, #12]\n\t"
      "ldr r1, [r7, #16]\n\t"
      "cmp r0, r1\n\t"
      "bne 7b\n\t"
      "pop {r7}\n\t"
      : "+&r"(place)
      : [wide] "i"(WIDE)
      : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
}

/// Computes a line, some outputs at a time.
M3NET_SEPARATE void convolve_line(const m3net_convolution* layer, const m3net_image_line* line,
                                  int32_t stride, int32_t* scratch) {
  line_word* words = (line_word*)(void*)scratch;
  const int32_t taps = layer->window.rows * layer->window.columns, most = layer->pixels;
  const uint32_t padding = (uint8_t)layer->padding * 0x01010101u;
  const int32_t group_bytes = 4 * ((taps + 1) & ~1), channels = layer->output.channels;
  weight_list lists[4];
  line_part part;
  part.step = line->output_step;
  part.bytes = sizeof(weight_list);
  for (int32_t first = 0; first < channels; first += 4) {
    const m3net_channel* channel = layer->channels + first;
    const int32_t pairs = list_weights(layer->taps + first / 4 * group_bytes, taps, lists);
    part.end = channel + (channels - first < 4 ? channels - first : 4);
    for (int32_t done = 0; done < line->outputs; done += most) {
      const int32_t left = line->outputs - done;
      const int32_t count = left < most ? left : most;
      part.outputs = stride == 1 ? count : count - WIDE;
      transpose(line, line->from + first, done * stride - line->before, padding, words,
                (count * stride + taps) / 2);
      part.words = words;
      part.output = line->to + done * line->output_step + first;
      part.weights = lists;
      part.channel = channel;
      part.entry = pairs % 3;
      convolve_part(&part);
    }
  }
}

void m3net_convolve_depthwise_line(const m3net_convolution* constants, const int8_t* input,
                                   int8_t* output, int32_t* scratch) {
  const m3net_convolution layer = *constants;  // which needs no reads from flash for each line
  m3net_for_each_line(&layer, input, output, convolve_line, scratch);
}

#endif
