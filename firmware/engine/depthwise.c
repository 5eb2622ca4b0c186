// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution: each output pixel lists the places of its window's pixels, then sums four
// channels at a time over all of them. A pixel of zero points stands for those outside the image.
#include "arithmetic.h"
#include "avx2.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if !M3NET_ENGINE_HELIUM

/// Marks the end of a window's places, in the first of two words.
#define LAST_PLACE INT32_MIN

/// Where the pixels of a window are.
typedef struct {
  const m3net_convolution* layer;
  int32_t* places;  ///< Relative to the input.
  int32_t taps;     ///< Number of places, rounded up to an even number.
  int8_t* outside;  ///< A pixel of zero points.
  const int8_t* input;
} window_places;

/// Lists the places of a window, an even number, with LAST_PLACE after them.
static void place_window(const m3net_convolution* layer, const window_places* parts, int32_t row,
                         int32_t column) {
  const int32_t outside = (int32_t)(parts->outside - parts->input);
  int32_t* end =
      m3net_place_window(&layer->input, &layer->window, row, column, outside, parts->places);
  *end = outside;
  parts->places[parts->taps] = LAST_PLACE;
}

#if M3NET_ENGINE_DSP

/// Assembly that adds the products of a tap; its four items are in `x`, its four weights in `w`.
#define M3NET_MULTIPLY_TAP(x, w)   \
  "sxtb16 r9, " #x                 \
  ", ror #8\n\t"                   \
  "sxtb16 r10, " #w                \
  ", ror #8\n\t"                   \
  "sxtb16 " #x ", " #x             \
  "\n\t"                           \
  "sxtb16 " #w ", " #w             \
  "\n\t"                           \
  "smlabb %[b], r9, r10, %[b]\n\t" \
  "smlatt %[d], r9, r10, %[d]\n\t" \
  "smlabb %[a], " #x ", " #w       \
  ", %[a]\n\t"                     \
  "smlatt %[c], " #x ", " #w ", %[c]\n\t"

/// Assembly that adds the products of the next two taps.
#define M3NET_MULTIPLY_TWO_TAPS  \
  "ldr r4, [%[place], #4]\n\t"   \
  "ldr r5, [%[weights], #4]\n\t" \
  "ldr r6, [%[place]], #8\n\t"   \
  "ldr r8, [%[weights]], #8\n\t" \
  "ldr r4, [%[input], r4]\n\t"   \
  "ldr r6, [%[input], r6]\n\t" M3NET_MULTIPLY_TAP(r6, r8) M3NET_MULTIPLY_TAP(r4, r5)

/// Adds the products of four channels with all taps, an even number.
static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  // Fixed registers: with an FPU, GCC cannot allocate so many operands itself.
  register int32_t a __asm__("r0") = sums.a;
  register int32_t b __asm__("r1") = sums.b;
  register int32_t c __asm__("r2") = sums.c;
  register int32_t d __asm__("r3") = sums.d;
  register const int32_t* place __asm__("r11") = parts->places;
  register const m3net_tap* taps __asm__("r12") = weights;
  register const int8_t* from __asm__("lr") = input;
  __asm__ volatile("1:\n\t" M3NET_MULTIPLY_TWO_TAPS
                   "ldr r4, [%[place]]\n\t"
                   "cmp r4, #0x80000000\n\t"
                   "bne 1b\n\t"
                   : [place] "+&r"(place), [weights] "+&r"(taps), [a] "+&r"(a), [b] "+&r"(b),
                     [c] "+&r"(c), [d] "+&r"(d)
                   : [input] "r"(from)
                   : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  return (m3net_four_sums){a, b, c, d};
}

#elif defined(__ARM_ARCH_7M__) && defined(__thumb2__)

/// Assembly that adds the product of one item.
#define M3NET_MULTIPLY_ITEM(sum, place) \
  "ldrsb r6, " place                    \
  "\n\t"                                \
  "ldrsb r8, [%[weights]], #1\n\t"      \
  "mla %[" #sum "], r6, r8, %[" #sum "]\n\t"

/// Adds the products of four channels with all taps, two at a time.
static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  const int32_t* place = parts->places;
  __asm__ volatile(
      "ldrd r4, r5, [%[place]], #8\n\t"
      "1:\n\t"
      "add r4, %[input]\n\t"
      "add r5, %[input]\n\t"
      M3NET_MULTIPLY_ITEM(a, "[r4, #0]") M3NET_MULTIPLY_ITEM(b, "[r4, #1]")
      M3NET_MULTIPLY_ITEM(c, "[r4, #2]") M3NET_MULTIPLY_ITEM(d, "[r4, #3]")
      M3NET_MULTIPLY_ITEM(a, "[r5, #0]") M3NET_MULTIPLY_ITEM(b, "[r5, #1]")
      M3NET_MULTIPLY_ITEM(c, "[r5, #2]") M3NET_MULTIPLY_ITEM(d, "[r5, #3]")
      "ldrd r4, r5, [%[place]], #8\n\t"
      "cmp r4, #0x80000000\n\t"
      "bne 1b\n\t"
      : [place] "+&r"(place), [weights] "+&r"(weights), [a] "+&r"(sums.a), [b] "+&r"(sums.b),
        [c] "+&r"(sums.c), [d] "+&r"(sums.d)
      : [input] "r"(input)
      : "r4", "r5", "r6", "r8", "cc", "memory");
  return sums;
}

#elif M3NET_ENGINE_RV32 && defined(__riscv)

/// Assembly that adds the product of a channel with a tap; both have the same place in four.
#define M3NET_MULTIPLY_ITEM(sum, place) \
  "lb t1, " #place                      \
  "(t0)\n\t"                            \
  "lb t2, " #place                      \
  "(%[weights])\n\t"                    \
  "mul t1, t1, t2\n\t"                  \
  "add %[" #sum "], %[" #sum "], t1\n\t"

/// As below. In assembly, because compilers load all operands first and run out of registers.
static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  const m3net_window* window = &parts->layer->window;
  const int32_t* place = parts->places;
  const m3net_tap* end = weights + 4 * window->rows * window->columns;
  __asm__ volatile(
      "1:\n\t"
      "lw t0, 0(%[place])\n\t"
      "addi %[place], %[place], 4\n\t"
      "add t0, t0, %[input]\n\t"
      M3NET_MULTIPLY_ITEM(a, 0) M3NET_MULTIPLY_ITEM(b, 1)
      M3NET_MULTIPLY_ITEM(c, 2) M3NET_MULTIPLY_ITEM(d, 3)
      "addi %[weights], %[weights], 4\n\t"
      "bne %[weights], %[end], 1b\n\t"
      : [place] "+&r"(place), [weights] "+&r"(weights), [a] "+&r"(sums.a), [b] "+&r"(sums.b),
        [c] "+&r"(sums.c), [d] "+&r"(sums.d)
      : [input] "r"(input), [end] "r"(end)
      : "t0", "t1", "t2", "memory");
  return sums;
}

#else

static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  for (int32_t tap = 0; tap < parts->taps; ++tap, weights += 4) {
    const int8_t* items = input + parts->places[tap];
    sums.a = m3net_sum(sums.a, items[0] * weights[0]);
    sums.b = m3net_sum(sums.b, items[1] * weights[1]);
    sums.c = m3net_sum(sums.c, items[2] * weights[2]);
    sums.d = m3net_sum(sums.d, items[3] * weights[3]);
  }
  return sums;
}

#endif

#if M3NET_ENGINE_DSP

/// A line of outputs, each of which reads a column of three items, or of two at a border, further
/// on than the one before. Lines and columns may also be columns and rows of the image. Words in
/// the order in which the kernel loads them.
typedef struct {
  const int8_t* from;
  const m3net_tap* taps;
  const m3net_channel *channel, *end;
  int32_t passes;    ///< Of the loop, times 256.
  int32_t entry;     ///< Bytes of code from the first entry of the loop.
  int32_t padding;   ///< The input's zero point, twice.
  int32_t across;    ///< Bytes from an item of a column to the next.
  int32_t along;     ///< Bytes from a column to the next.
  int32_t distance;  ///< From the place behind the columns that an output reads to the output.
  int32_t flags;
  int32_t farther;  ///< Bytes from an output to the next; of stride one, less `along`.
} window_line;

enum { BEGINS_OUTSIDE = 1, ENDS_OUTSIDE = 2, LACKS_FIRST = 4, IS_ODD = 8 };

// Registers: r0 to r2 sums; r3 to r5 weights of the upper two items of the three columns of a
// window; r6 of the third item of two columns; r7 of the third column, above the passes that are
// left and the right shift; r8 the column, r9 and r10 its steps, r11 the distance to the output.
// Stack: the channel's multiplier, offset and bias, and the line.

/// Assembly that loads a column of three items: two in r12, one in lr.
#define M3NET_LOAD_THREE            \
  "ldrsb r12, [r8]\n\t"             \
  "ldrsb lr, [r8, r9]\n\t"          \
  "pkhbt r12, r12, lr, lsl #16\n\t" \
  "ldrsb lr, [r8, r9, lsl #1]\n\t"  \
  "add r8, r8, r10\n\t"
#define M3NET_LOAD_TWO     \
  "ldrsb r12, [r8]\n\t"    \
  "ldrsb lr, [r8, r9]\n\t" \
  "add r8, r8, r10\n\t"    \
  "pkhbt r12, r12, lr, lsl #16\n\t"

/// Assembly that adds the products of a column. `half` is where `third` has the third weight.
#define M3NET_ADD_THREE(sum, pair, third, half) \
  "smlad " sum ", r12, " pair ", " sum          \
  "\n\t"                                        \
  "smlab" half " " sum ", lr, " third ", " sum "\n\t"
#define M3NET_ADD_TWO(sum, pair, third, half) "smlad " sum ", r12, " pair ", " sum "\n\t"

/// Assembly that turns a channel's words of weights into pairs. `third` becomes the third column's
/// third weight, twice.
#define M3NET_WIDEN_WEIGHTS(third) \
  "sxtb16 r6, r3, ror #8\n\t"      \
  "sxtb16 " third                  \
  ", r5, ror #8\n\t"               \
  "sxtb16 r3, r3\n\t"              \
  "sxtb16 r4, r4\n\t"              \
  "sxtb16 r5, r5\n\t"

/// As above for columns of two items, of which the third one is outside the image: its products are
/// added to the bias in r0. If the first one is outside, the pairs begin with the third one.
#define M3NET_WIDEN_THREE M3NET_WIDEN_WEIGHTS("r12")
#define M3NET_WIDEN_TWO \
  "ldr r2, [sp, #40]\n\t"                         \
  "ldr r1, [sp, #36]\n\t"                         \
  "tst r2, #4\n\t"                                \
  "sxtb16 r2, r4, ror #8\n\t" M3NET_WIDEN_WEIGHTS("r12") \
  "bne 2f\n\t"                                    \
  "smlad r0, r6, r1, r0\n\t"                      \
  "smlabb r0, r12, r1, r0\n\t"                    \
  "b 3f\n\t"                                      \
  "2:\n\t"                                        \
  "smlabb r0, r3, r1, r0\n\t"                     \
  "smlabb r0, r4, r1, r0\n\t"                     \
  "smlabb r0, r5, r1, r0\n\t"                     \
  "pkhtb r3, r3, r6\n\t"                          \
  "pkhtb r4, r4, r2\n\t"                          \
  "pkhtb r5, r5, r12\n\t"                         \
  "3:\n\t"

/// Assembly that turns a sum, which is doubled, into an output in r12.
#define M3NET_FINISH_SUM(sum) M3NET_FINISH_BY(M3NET_ROUND, sum)
#define M3NET_FINISH_BY(ROUND, sum) \
  "ldr r12, [sp]\n\t"               \
  "ldr lr, [sp, #4]\n\t"            \
  "smmlar r12, " sum ", r12, lr\n\t" ROUND(sum)

/// Assembly that shifts, rounds and saturates; the latter is for layers that are `brief`.
#define M3NET_ROUND(sum) \
  "add r12, r12, " sum   \
  ", asr #31\n\t"        \
  "asr r12, r12, r7\n\t" \
  "ssat r12, #8, r12\n\t"
#define M3NET_ROUND_BRIEF(sum) "ssat r12, #8, r12, asr #" M3NET_BRIEF_DEPTHWISE "\n\t"

/// Assembly that finishes a sum with its last column; the two next sums get the column, too.
#define M3NET_NEXT_OUTPUT(LOAD, ADD, sum, next, last) \
  M3NET_NEXT_BY(M3NET_ROUND, LOAD, ADD, sum, next, last)
#define M3NET_NEXT_BY(ROUND, LOAD, ADD, sum, next, last)                                 \
  "ldr " last ", [sp, #8]\n\t" LOAD ADD(sum, "r5", "r7", "t") ADD(next, "r4", "r6", "t") \
      ADD(last, "r3", "r6", "b") M3NET_FINISH_BY(ROUND, sum) "strb r12, [r8, r11]\n\t"

/// As above; outputs are not as far apart as columns.
#define M3NET_NEXT_APART(LOAD, ADD, sum, next, last) \
  M3NET_NEXT_OUTPUT(LOAD, ADD, sum, next, last)      \
  "ldr lr, [sp, #44]\n\t"                            \
  "add r11, r11, lr\n\t"

/// Assembly that prepares the stack.
#define M3NET_ENTER_LINE            \
  "ldm r0, {r1-r6, r8-r12, lr}\n\t" \
  "push {r7, r11}\n\t"              \
  "adr r0, 10f\n\t"                 \
  "add r6, r6, r0\n\t"              \
  "orr r6, r6, #1\n\t"              \
  "push {r1-r6, r8, r12, lr}\n\t"   \
  "sub sp, sp, #12\n\t"

/// Assembly that begins a channel: r0 has its bias, and r1 the sum of the first output's first
/// column. Weights and bias are doubled, so that no sum need be.
#define M3NET_BEGIN_LINE(LOAD, ADD, WIDEN) \
  M3NET_ENTER_LINE                         \
  "1:\n\t"                                 \
  "ldr r12, [sp, #16]\n\t"                 \
  "ldr lr, [sp, #20]\n\t"                  \
  "ldr r8, [sp, #12]\n\t"                  \
  "ldm r12!, {r3-r5}\n\t"                  \
  "str r12, [sp, #16]\n\t"                 \
  "ldr r0, [lr]\n\t"                       \
  "ldr r1, [lr, #4]\n\t"                   \
  "ldr r2, [lr, #8]\n\t"                   \
  "ldrsh r7, [lr, #14]\n\t"                \
  "add lr, lr, #16\n\t"                    \
  "str r1, [sp]\n\t"                       \
  "str r2, [sp, #4]\n\t"                   \
  "str lr, [sp, #20]\n\t"                  \
  "add r1, r8, #1\n\t"                     \
  "str r1, [sp, #12]\n\t" WIDEN            \
  "lsl r0, r0, #1\n\t"                     \
  "sadd16 r3, r3, r3\n\t"                  \
  "sadd16 r4, r4, r4\n\t"                  \
  "sadd16 r5, r5, r5\n\t"                  \
  "sadd16 r6, r6, r6\n\t"                  \
  "str r0, [sp, #8]\n\t"                   \
  "ldr r2, [sp, #28]\n\t"                  \
  "ldr lr, [sp, #40]\n\t"                  \
  "mov r1, r0\n\t"                         \
  "add r7, r7, r2\n\t"                     \
  "pkhbt r7, r7, r12, lsl #17\n\t"         \
  "tst lr, #1\n\t"                         \
  "bne 5f\n\t" LOAD                        \
  "b 6f\n\t"                               \
  "5:\n\t"                                 \
  "ldr r12, [sp, #36]\n\t"                 \
  "mov lr, r12\n\t"                        \
  "6:\n\t" ADD("r1", "r3", "r6", "b")

/// Assembly that goes on with the next channel, whose constants are at lr.
#define M3NET_NEXT_CHANNEL \
  "ldr r0, [sp, #24]\n\t"  \
  "cmp lr, r0\n\t"         \
  "bne 1b\n\t"             \
  "add sp, sp, #48\n\t"    \
  "pop {r7, r11}\n\t"

#define M3NET_END_LINE \
  "11:\n\t"            \
  "ldr lr, [sp, #20]\n\t" M3NET_NEXT_CHANNEL

/// Assembly of a loop as the one of outputs that are as far apart as columns, for layers that are
/// `brief`. Its entries are the 24 bytes of code at its end.
#define M3NET_BRIEF(LOAD, ADD) \
  "31:\n\t" M3NET_NEXT_BY(M3NET_ROUND_BRIEF, LOAD, ADD, "r1", "r2", "r0")                      \
  "32:\n\t" M3NET_NEXT_BY(M3NET_ROUND_BRIEF, LOAD, ADD, "r2", "r0", "r1")                      \
  "33:\n\t" M3NET_NEXT_BY(M3NET_ROUND_BRIEF, LOAD, ADD, "r0", "r1", "r2")                      \
  "sub r7, r7, #256\n\t"                                                                   \
  "tst r7, #0xff00\n\t"                                                                    \
  "bne 31b\n\t"                                                                            \
  "b 24f\n\t"                                                                              \
  ".balign 4\n\t"                                                                          \
  "mov.n r0, r1\n\t"                                                                       \
  "mov.n r1, r2\n\t"                                                                       \
  "b.w 33b\n\t"                                                                            \
  "mov.n r0, r2\n\t"                                                                       \
  "mov.n r2, r1\n\t"                                                                       \
  "b.w 32b\n\t"                                                                            \
  "b.w 31b\n\t"                                                                            \
  "nop.w\n\t"

/// Assembly of a line whose windows are a column apart. Three outputs a pass; the sums change their
/// roles, and the loop begins so that the last output is a third one. The first three entries are
/// for outputs that are as far apart as columns, the others for all.
#define M3NET_LINE_OF_STRIDE_ONE(LOAD, ADD, WIDEN) \
  M3NET_BEGIN_LINE(LOAD, ADD, WIDEN)               \
  LOAD                                                                                     \
  "mov r2, r0\n\t" ADD("r1", "r4", "r6", "t") ADD("r2", "r3", "r6", "b")                   \
  "ldr pc, [sp, #32]\n\t" M3NET_BRIEF(LOAD, ADD)                                             \
  ".balign 4\n\t"                                                                          \
  "10:\n\t"                                                                                \
  "mov.n r0, r1\n\t"                                                                       \
  "mov.n r1, r2\n\t"                                                                       \
  "b.w 9f\n\t"                                                                             \
  "mov.n r0, r2\n\t"                                                                       \
  "mov.n r2, r1\n\t"                                                                       \
  "b.w 8f\n\t"                                                                             \
  "b.w 7f\n\t"                                                                             \
  "nop.w\n\t"                                                                              \
  "mov.n r0, r1\n\t"                                                                       \
  "mov.n r1, r2\n\t"                                                                       \
  "ldr.w r11, [sp, #52]\n\t"                                                               \
  "b.w 23f\n\t"                                                                            \
  "mov.n r0, r2\n\t"                                                                       \
  "mov.n r2, r1\n\t"                                                                       \
  "ldr.w r11, [sp, #52]\n\t"                                                               \
  "b.w 22f\n\t"                                                                            \
  "ldr.w r11, [sp, #52]\n\t"                                                               \
  "21:\n\t" M3NET_NEXT_APART(LOAD, ADD, "r1", "r2", "r0")                                  \
  "22:\n\t" M3NET_NEXT_APART(LOAD, ADD, "r2", "r0", "r1")                                  \
  "23:\n\t" M3NET_NEXT_APART(LOAD, ADD, "r0", "r1", "r2")                                  \
  "sub r7, r7, #256\n\t"                                                                   \
  "tst r7, #0xff00\n\t"                                                                    \
  "bne 21b\n\t"                                                                            \
  "b 24f\n\t"                                                                              \
  "7:\n\t" M3NET_NEXT_OUTPUT(LOAD, ADD, "r1", "r2", "r0")                                  \
  "8:\n\t" M3NET_NEXT_OUTPUT(LOAD, ADD, "r2", "r0", "r1")                                  \
  "9:\n\t" M3NET_NEXT_OUTPUT(LOAD, ADD, "r0", "r1", "r2")                                  \
  "sub r7, r7, #256\n\t"                                                                   \
  "tst r7, #0xff00\n\t"                                                                    \
  "bne 7b\n\t"                                                                             \
  "24:\n\t"                                                                                \
  "ldr lr, [sp, #40]\n\t"                                                                  \
  "ldr r12, [sp, #36]\n\t"                                                                 \
  "tst lr, #2\n\t"                                                                         \
  "beq 11f\n\t"                                                                            \
  "mov lr, r12\n\t"                                                                        \
  "add r8, r8, r10\n\t" ADD("r1", "r5", "r7", "t") M3NET_FINISH_SUM("r1")                  \
  "strb r12, [r8, r11]\n\t" M3NET_END_LINE

/// Assembly that loads the next column: two items in r12, one in `third`.
#define M3NET_LOAD_COLUMN(third) \
  "ldrsb r12, [r8]\n\t"          \
  "ldrsb lr, [r8, r9]\n\t"       \
  "ldrsb " third                 \
  ", [r8, r9, lsl #1]\n\t"       \
  "pkhbt r12, r12, lr, lsl #16\n\t"

/// As above for lines whose windows are two columns apart: the third item is in r0.
#define M3NET_NEXT_THREE M3NET_LOAD_COLUMN("r0") "add r8, r8, r10\n\t"
#define M3NET_ADD_WIDE_THREE(sum, pair, third, half) \
  "smlad " sum ", r12, " pair ", " sum               \
  "\n\t"                                             \
  "smlab" half " " sum ", r0, " third ", " sum "\n\t"

/// Assembly that finishes a sum with its last two columns; the next sum gets the last one, too.
#define M3NET_NEXT_WIDE(LOAD, ADD, sum, next) \
  LOAD ADD(sum, "r4", "r6", "t")                                                \
  "ldr " next ", [sp, #8]\n\t" LOAD ADD(sum, "r5", "r7", "t")                   \
  ADD(next, "r3", "r6", "b")                                                    \
  "ldr r0, [sp, #44]\n\t" M3NET_FINISH_SUM(sum)                                 \
  "strb r12, [r11]\n\t"                                                         \
  "add r11, r11, r0\n\t"

/// Assembly of a line whose windows are two columns apart. Two outputs a pass; if their number is
/// odd, the loop begins with the second one.
#define M3NET_LINE_OF_STRIDE_TWO(LOAD, ADD, WIDEN, NEXT, ADD_NEXT) \
  M3NET_BEGIN_LINE(LOAD, ADD, WIDEN)                               \
  "ldr r11, [sp, #52]\n\t"                                                                 \
  "ldr r12, [sp, #12]\n\t"                                                                 \
  "ldr lr, [sp, #40]\n\t"                                                                  \
  "add r11, r11, r12\n\t"                                                                  \
  "tst lr, #8\n\t"                                                                         \
  "beq 10f\n\t"                                                                            \
  "mov r2, r1\n\t"                                                                         \
  "b 12f\n\t"                                                                              \
  ".balign 4\n\t"                                                                          \
  "10:\n\t" M3NET_NEXT_WIDE(NEXT, ADD_NEXT, "r1", "r2")                                    \
  "12:\n\t" M3NET_NEXT_WIDE(NEXT, ADD_NEXT, "r2", "r1")                                    \
  "sub r7, r7, #256\n\t"                                                                   \
  "tst r7, #0xff00\n\t"                                                                    \
  "bne 10b\n\t"                                                                            \
  "ldr r12, [sp, #40]\n\t"                                                                 \
  "tst r12, #2\n\t"                                                                        \
  "beq 11f\n\t" LOAD ADD("r1", "r4", "r6", "t")                                            \
  "ldr r12, [sp, #36]\n\t"                                                                 \
  "mov lr, r12\n\t" ADD("r1", "r5", "r7", "t") M3NET_FINISH_SUM("r1")                      \
  "strb r12, [r11]\n\t" M3NET_END_LINE

/// Assembly that adds the products of a column to three sums, the first of which is then complete.
/// The third item is in `next`, and the bias in r11.
#define M3NET_ADD_COLUMN(sum, middle, next)  \
  M3NET_LOAD_COLUMN(next)                    \
  "add r8, r8, r10\n\t"                      \
  "smlad " sum ", r12, r5, " sum             \
  "\n\t"                                     \
  "smlabb " sum ", " next ", r7, " sum       \
  "\n\t"                                     \
  "smlad " middle ", r12, r4, " middle       \
  "\n\t"                                     \
  "smlabt " middle ", " next ", r6, " middle \
  "\n\t"                                     \
  "smlabb " next ", " next                   \
  ", r6, r11\n\t"                            \
  "smlad " next ", r12, r3, " next "\n\t"

/// Assembly that turns a sum of a layer that is `brief` into an output and writes it at r11.
#define M3NET_WRITE_SUM(sum)                               \
  "smmlar " sum ", " sum                                   \
  ", r3, r4\n\t"                                           \
  "ssat " sum ", #8, " sum ", asr #" M3NET_BRIEF_DEPTHWISE \
  "\n\t"                                                   \
  "strb " sum ", [r11]\n\t"

/// Assembly of a line of five outputs whose first and last windows begin and end outside the image.
/// The sums wait for each other, so that the constants of a channel are loaded once. The multiplier
/// is doubled instead of the sums: it is below 2^30. The stack has
/// the sums of two outputs where other lines have a channel's constants, and the distance to the
/// output from the last column.
#define M3NET_LINE_OF_FIVE \
  M3NET_ENTER_LINE "10:\n\t"            \
  "add lr, lr, r10\n\t"                 \
  "sub r11, r11, r10, lsl #1\n\t"       \
  "str lr, [sp, #44]\n\t"               \
  "str r11, [sp, #52]\n\t"              \
  "mov r8, r1\n\t"                      \
  "mov lr, r3\n\t"                      \
  "1:\n\t"                              \
  "ldr r12, [sp, #16]\n\t"              \
  "ldr r11, [lr]\n\t"                   \
  "ldr lr, [sp, #36]\n\t"               \
  "ldm r12!, {r3-r5}\n\t"               \
  "str r12, [sp, #16]\n\t"              \
  M3NET_WIDEN_WEIGHTS("r7")             \
  "smlabb r0, lr, r6, r11\n\t"          \
  "smlad r0, lr, r3, r0\n\t"            \
  M3NET_LOAD_COLUMN("r1")               \
  "add r8, r8, r10\n\t"                 \
  "smlad r0, r12, r4, r0\n\t"           \
  "smlabt r0, r1, r6, r0\n\t"           \
  "smlabb r1, r1, r6, r11\n\t"          \
  "smlad r1, r12, r3, r1\n\t"           \
  M3NET_ADD_COLUMN("r0", "r1", "r2")    \
  "str r0, [sp]\n\t"                    \
  M3NET_ADD_COLUMN("r1", "r2", "r0")    \
  "str r1, [sp, #4]\n\t"                \
  M3NET_ADD_COLUMN("r2", "r0", "r1")    \
  "ldr r3, [sp, #36]\n\t"               \
  M3NET_LOAD_COLUMN("r11")              \
  "smlad r0, r12, r5, r0\n\t"           \
  "smlabb r0, r11, r7, r0\n\t"          \
  "smlad r1, r12, r4, r1\n\t"           \
  "smlabt r1, r11, r6, r1\n\t"          \
  "smlad r1, r3, r5, r1\n\t"            \
  "smlabb r1, r3, r7, r1\n\t"           \
  "ldr lr, [sp, #20]\n\t"               \
  "ldr r6, [sp]\n\t"                    \
  "ldr r3, [lr, #4]\n\t"                \
  "ldr r4, [lr, #8]\n\t"                \
  "ldr r7, [sp, #4]\n\t"                \
  "ldr r11, [sp, #52]\n\t"              \
  "ldr r12, [sp, #44]\n\t"              \
  "lsl r3, r3, #1\n\t"                  \
  "add lr, lr, #16\n\t"                 \
  "str lr, [sp, #20]\n\t"               \
  "add r11, r11, r8\n\t"                \
  M3NET_WRITE_SUM("r6")                 \
  "add r11, r11, r12\n\t"               \
  M3NET_WRITE_SUM("r7")                 \
  "add r11, r11, r12\n\t"               \
  M3NET_WRITE_SUM("r2")                 \
  "add r11, r11, r12\n\t"               \
  M3NET_WRITE_SUM("r0")                 \
  "add r11, r11, r12\n\t"               \
  M3NET_WRITE_SUM("r1")                 \
  "sub r8, r8, r10, lsl #2\n\t"         \
  "add r8, r8, #1\n\t"                  \
  M3NET_NEXT_CHANNEL

// NOLINTBEGIN(bugprone-macro-parentheses): assembly cannot stand in parentheses
#define M3NET_RUN_LINE(assembly)                                                                \
  register const window_line* place __asm__("r0") = line;                                       \
  __asm__ volatile(assembly                                                                     \
                   : "+&r"(place)                                                               \
                   :                                                                            \
                   : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", \
                     "cc", "memory")
// NOLINTEND(bugprone-macro-parentheses)

static void convolve_line_of_three(const window_line* line) {
  M3NET_RUN_LINE(M3NET_LINE_OF_STRIDE_ONE(M3NET_LOAD_THREE, M3NET_ADD_THREE, M3NET_WIDEN_THREE));
}

static void convolve_line_of_two(const window_line* line) {
  M3NET_RUN_LINE(M3NET_LINE_OF_STRIDE_ONE(M3NET_LOAD_TWO, M3NET_ADD_TWO, M3NET_WIDEN_TWO));
}

static void convolve_line_of_five(const window_line* line) { M3NET_RUN_LINE(M3NET_LINE_OF_FIVE); }

static void convolve_wide_line_of_three(const window_line* line) {
  M3NET_RUN_LINE(M3NET_LINE_OF_STRIDE_TWO(M3NET_LOAD_THREE, M3NET_ADD_THREE, M3NET_WIDEN_THREE,
                                          M3NET_NEXT_THREE, M3NET_ADD_WIDE_THREE));
}

static void convolve_wide_line_of_two(const window_line* line) {
  M3NET_RUN_LINE(M3NET_LINE_OF_STRIDE_TWO(M3NET_LOAD_TWO, M3NET_ADD_TWO, M3NET_WIDEN_TWO,
                                          M3NET_LOAD_TWO, M3NET_ADD_TWO));
}

/// A direction in the image.
typedef struct {
  int32_t inputs, outputs;  ///< Pixels.
  int32_t step, output_step;
  int32_t before;  ///< Pixels by which the first window begins before the image.
} direction;

/// Computes an image line by line, each channel by channel.
static void convolve_lines(const m3net_convolution* layer, const int8_t* input, int8_t* output) {
  const m3net_image *from = &layer->input, *to = &layer->output;
  const m3net_window* window = &layer->window;
  const direction rows = {from->rows, to->rows, from->row_step, to->row_step, window->top};
  const direction columns = {from->columns, to->columns, from->column_step, to->column_step,
                             window->left};
  const int32_t by_rows = layer->lines == M3NET_ALONG_ROWS, stride = window->row_stride;
  const direction along = by_rows ? rows : columns, across = by_rows ? columns : rows;
  const int32_t reach = (along.outputs - 1) * stride + 3 - along.before;
  const int32_t outside = reach > along.inputs;
  const int32_t outputs = along.outputs - outside;
  const int32_t five = stride == 1 && along.outputs == 5 && along.before && outside && layer->brief;
  window_line line;
  line.taps = layer->taps;
  line.channel = layer->channels;
  line.end = layer->channels + to->channels;
  line.padding = (int32_t)((uint32_t)(uint16_t)layer->padding * 0x10001u);
  line.along = along.step;
  line.passes = (stride == 1 ? (outputs + 2) / 3 : (outputs + 1) / 2) * 256;
  line.farther = along.output_step - (stride == 1 ? along.step : 0);
  const int32_t rest = (outputs + 2) % 3;
  line.entry = line.farther ? 24 + 12 * rest : 8 * rest - (layer->brief ? 24 : 0);
  for (int32_t index = 0, first = -across.before; index < across.outputs;
       ++index, first += stride) {
    const int32_t before = first < 0;
    const int32_t behind = first + 3 > across.inputs;
    line.from = input + (before ? first + 2 : first) * across.step;
    line.across = before ? -across.step : across.step;
    line.flags = (along.before ? BEGINS_OUTSIDE : 0) | (outside ? ENDS_OUTSIDE : 0) |
                 (before ? LACKS_FIRST : 0) | (outputs % 2 ? IS_ODD : 0);
    const int8_t* place = output + index * across.output_step;
    line.distance = (int32_t)(place - line.from);
    if (stride == 1) {
      line.distance -= (along.before ? 2 : 3) * along.step;
      if (before || behind) {
        convolve_line_of_two(&line);
      } else if (five) {
        convolve_line_of_five(&line);
      } else {
        convolve_line_of_three(&line);
      }
    } else {
      line.distance -= 1;  // the kernel counts from the next channel
      (before || behind ? convolve_wide_line_of_two : convolve_wide_line_of_three)(&line);
    }
  }
}

void m3net_convolve_depthwise(const m3net_convolution* constants, const int8_t* input,
                              int8_t* output, int32_t* scratch) {
  (void)scratch;
  const m3net_convolution layer = *constants;  // which needs no reads from flash for each line
  for (int32_t batch = 0; batch < layer.batches; ++batch) {
    convolve_lines(&layer, input + batch * layer.input.batch_step,
                   output + batch * layer.output.batch_step);
  }
}

#endif

#if M3NET_ENGINE_AVX2

static inline __m128i load_eight(const int8_t* bytes) {
  return _mm_loadl_epi64((const __m128i*)(const void*)bytes);
}

/// Sums the products of eight channels with all taps, an even number.
static inline __m256i multiply_eight(const window_places* parts, const int8_t* input,
                                     const m3net_tap* weights) {
  const __m128i pairs = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  const m3net_tap* upper = weights + 4 * parts->taps;
  const int32_t* place = parts->places;
  __m256i sums = _mm256_setzero_si256();
  for (int32_t left = parts->taps; left > 0; left -= 2, place += 2, weights += 8, upper += 8) {
    const __m128i items =
        _mm_unpacklo_epi8(load_eight(input + place[0]), load_eight(input + place[1]));
    const __m128i taps = _mm_unpacklo_epi64(load_eight(weights), load_eight(upper));
    const __m256i factors = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(taps, pairs));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_cvtepi8_epi16(items), factors));
  }
  return sums;
}

#endif

/// Computes all channels of one pixel.
static void convolve_pixel(const void* any_parts, int32_t row, int32_t column, int8_t* output) {
  const window_places* parts = (const window_places*)any_parts;
  const m3net_convolution* layer = parts->layer;
  const m3net_tap* weights = layer->taps;
  const m3net_channel* channel = layer->channels;
  const int8_t* input = parts->input;
  place_window(layer, parts, row, column);
  int32_t left = layer->output.channels;
#if M3NET_ENGINE_AVX2
  for (; left >= 8; left -= 8) {
    const m3net_eight_channels eight = m3net_load_eight_channels(channel, channel + 4);
    m3net_finish_eight(layer, multiply_eight(parts, input, weights), &eight, channel, 8, output);
    weights += 8 * parts->taps;
    channel += 8;
    input += 8;
    output += 8;
  }
#endif
  for (; left > 0; left -= 4) {
    m3net_finish(layer, multiply(parts, input, weights, m3net_four_biases(channel)), channel, left,
                 output);
    weights += 4 * parts->taps;
    channel += 4;
    input += 4;
    output += 4;
  }
}

void m3net_convolve_depthwise_pixels(const m3net_convolution* constants, const int8_t* input,
                                     int8_t* output, int32_t* scratch) {
  const m3net_convolution copy = *constants;  // which needs no reads from flash for each pixel
  const m3net_convolution* layer = &copy;
  const m3net_window* window = &layer->window;
  const int32_t taps = (window->rows * window->columns + 1) & ~1;
  int8_t* outside = (int8_t*)(scratch + taps + 2);
  M3NET_MEMSET(outside, layer->padding, (uint32_t)((layer->input.channels + 3) & ~3));
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const window_places parts = {layer, scratch, taps, outside,
                                 input + batch * layer->input.batch_step};
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_pixel, &parts);
  }
}

#endif
