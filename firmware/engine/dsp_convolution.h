// SPDX-License-Identifier: Apache-2.0
// Sums and outputs of a convolution with the DSP extension, whose windows are in a patch of 16-bit
// numbers. SMLAD multiplies two items with weights.
#ifndef M3NET_ENGINE_DSP_CONVOLUTION_H_
#define M3NET_ENGINE_DSP_CONVOLUTION_H_

#include <stdint.h>

#include "arithmetic.h"
#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM

/// Sums of four channels; `ab` is the sum of channel a plus 256 times the sum of channel b.
typedef struct {
  int32_t a, ab, c, cd;
} twin_sums;

/// Assembly that adds the products of the next four items with the weights of four channels, to the
/// sums a, ab, c and cd in r0 to r3. The items are at r11, the weights at r12.
#define M3NET_MULTIPLY_FOUR_ITEMS \
  "ldr r10, [r11, #4]\n\t"        \
  "ldr r9, [r11], #8\n\t"         \
  "ldr r5, [r12, #4]\n\t"         \
  "ldr r6, [r12, #8]\n\t"         \
  "ldr r8, [r12, #12]\n\t"        \
  "ldr r4, [r12], #16\n\t"        \
  "smlad r1, r9, r4, r1\n\t"      \
  "sxtb16 r4, r4\n\t"             \
  "smlad r3, r9, r5, r3\n\t"      \
  "sxtb16 r5, r5\n\t"             \
  "smlad r1, r10, r6, r1\n\t"     \
  "sxtb16 r6, r6\n\t"             \
  "smlad r3, r10, r8, r3\n\t"     \
  "sxtb16 r8, r8\n\t"             \
  "smlad r0, r9, r4, r0\n\t"      \
  "smlad r2, r9, r5, r2\n\t"      \
  "smlad r0, r10, r6, r0\n\t"     \
  "smlad r2, r10, r8, r2\n\t"

/// Products of a patch with the weights of four channels.
static inline twin_sums multiply_one(const int16_t* patch, int32_t items,
                                     const m3net_block* blocks) {
  // Fixed registers: with an FPU, GCC cannot allocate so many operands itself.
  register int32_t a __asm__("r0") = 0;
  register int32_t ab __asm__("r1") = 0;
  register int32_t c __asm__("r2") = 0;
  register int32_t cd __asm__("r3") = 0;
  register const int16_t* from __asm__("r11") = patch;
  register const m3net_block* weights __asm__("r12") = blocks;
  register const int16_t* end __asm__("lr") = patch + items;
  __asm__ volatile("1:\n\t" M3NET_MULTIPLY_FOUR_ITEMS
                   "cmp r11, lr\n\t"
                   "bne 1b\n\t"
                   : "+&r"(from), "+&r"(weights), "+&r"(a), "+&r"(ab), "+&r"(c), "+&r"(cd)
                   : "r"(end)
                   : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  return (twin_sums){a, ab, c, cd};
}

/// The sum of the upper channel of two; the difference is 256 times it.
static inline int32_t upper_sum(int32_t both, int32_t lower) {
  return (int32_t)((uint32_t)both - (uint32_t)lower) >> M3NET_TWIN_BITS;
}

static inline m3net_four_sums add_twins(m3net_four_sums sums, twin_sums twins) {
  const m3net_four_sums all = {
      m3net_sum(sums.a, twins.a),
      m3net_sum(sums.b, upper_sum(twins.ab, twins.a)),
      m3net_sum(sums.c, twins.c),
      m3net_sum(sums.d, upper_sum(twins.cd, twins.c)),
  };
  return all;
}

/// Adds the products of a patch with the weights of four channels.
static inline m3net_four_sums multiply(const int16_t* patch, int32_t items,
                                       const m3net_block* blocks, m3net_four_sums sums) {
  while (items > 0) {
    const int32_t count = items < M3NET_TWIN_ITEMS ? items : M3NET_TWIN_ITEMS;
    sums = add_twins(sums, multiply_one(patch, count, blocks));
    patch += count;
    blocks += count / 2;
    items -= count;
  }
  return sums;
}

/// Assembly that adds the products of the next two items of two windows with the weights of four
/// channels at r12. The items are in r9 and r10.
#define M3NET_MULTIPLY_TWO_PAIRS \
  "smlad r1, r9, lr, r1\n\t"     \
  "smlad r5, r10, lr, r5\n\t"    \
  "sxtb16 lr, lr\n\t"            \
  "smlad r3, r9, r7, r3\n\t"     \
  "smlad r8, r10, r7, r8\n\t"    \
  "sxtb16 r7, r7\n\t"            \
  "smlad r0, r9, lr, r0\n\t"     \
  "smlad r4, r10, lr, r4\n\t"    \
  "smlad r2, r9, r7, r2\n\t"     \
  "smlad r6, r10, r7, r6\n\t"

/// As above, with items from the patch at r11, where the bytes of both windows alternate.
#define M3NET_MULTIPLY_TWO_OF_BYTES \
  "ldr r7, [r12, #4]\n\t"           \
  "ldr lr, [r12], #8\n\t"           \
  "ldr r10, [r11], #4\n\t"          \
  "sxtb16 r9, r10\n\t"              \
  "sxtb16 r10, r10, ror #8\n\t" M3NET_MULTIPLY_TWO_PAIRS

/// As above; pairs of 16-bit items of both windows alternate.
#define M3NET_MULTIPLY_TWO_OF_PAIRS \
  "ldr r10, [r11, #4]\n\t"          \
  "ldr r9, [r11], #8\n\t"           \
  "ldr r7, [r12, #4]\n\t"           \
  "ldr lr, [r12], #8\n\t" M3NET_MULTIPLY_TWO_PAIRS

/// As above with three windows and two channels; the other two channels' weights are skipped.
#define M3NET_MULTIPLY_THREE_PAIRS \
  "ldr r7, [r11, #4]\n\t"          \
  "ldr r8, [r11, #8]\n\t"          \
  "ldr r9, [r11], #12\n\t"         \
  "ldr r6, [r12], #8\n\t"          \
  "smlad r1, r9, r6, r1\n\t"       \
  "smlad r3, r7, r6, r3\n\t"       \
  "smlad r5, r8, r6, r5\n\t"       \
  "sxtb16 r6, r6\n\t"              \
  "smlad r0, r9, r6, r0\n\t"       \
  "smlad r2, r7, r6, r2\n\t"       \
  "smlad r4, r8, r6, r4\n\t"

/// As above with four windows.
#define M3NET_MULTIPLY_FOUR_PAIRS \
  "ldr r8, [r12], #8\n\t"         \
  "ldr r10, [r11, #4]\n\t"        \
  "ldr lr, [r11, #8]\n\t"         \
  "smlad r3, r10, r8, r3\n\t"     \
  "smlad r5, lr, r8, r5\n\t"      \
  "sxtb16 r9, r8\n\t"             \
  "smlad r2, r10, r9, r2\n\t"     \
  "smlad r4, lr, r9, r4\n\t"      \
  "ldr r10, [r11, #12]\n\t"       \
  "ldr lr, [r11], #16\n\t"        \
  "smlad r7, r10, r8, r7\n\t"     \
  "smlad r1, lr, r8, r1\n\t"      \
  "smlad r6, r10, r9, r6\n\t"     \
  "smlad r0, lr, r9, r0\n\t"

#define M3NET_TWICE(assembly) assembly assembly

/// Assembly that turns a sum into an output, as m3net_finish does for layers with the short form
/// and the whole range. `doubled` is twice the sum and becomes the output; `x` is a register.
#define M3NET_REQUANTIZE(doubled, multiplier, offset, right, x) \
  "smmlar " x ", " doubled ", " multiplier ", " offset          \
  "\n\t"                                                        \
  "add " x ", " x ", " doubled                                  \
  ", asr #31\n\t"                                               \
  "asr " x ", " x ", " right                                    \
  "\n\t"                                                        \
  "ssat " doubled ", #8, " x "\n\t"

/// As above for a layer that is `brief`: `sum` is a lower channel's, or 256 times an upper one's.
#define M3NET_REQUANTIZE_BRIEF(sum, multiplier, offset, bits) \
  "smmlar " sum ", " sum ", " multiplier ", " offset          \
  "\n\t"                                                      \
  "ssat " sum ", #8, " sum ", asr #" bits "\n\t"

// The kernels of several pixels take one of two forms, EXACT or BRIEF, of what follows: assembly
// that prepares the sum of a lower channel, or 256 times an upper one's; that loads a channel's
// constants; and that turns a sum into an output.
#define M3NET_LOWER_EXACT(sum) "lsl " sum ", " sum ", #1\n\t"
#define M3NET_LOWER_BRIEF(sum) ""
#define M3NET_UPPER_EXACT(sum) "asr " sum ", " sum ", #7\n\t"
#define M3NET_UPPER_BRIEF(sum) ""
#define M3NET_OUTPUT_LOWER_EXACT M3NET_REQUANTIZE
#define M3NET_OUTPUT_UPPER_EXACT M3NET_REQUANTIZE
#define M3NET_OUTPUT_LOWER_BRIEF(sum, multiplier, offset, right, x) \
  M3NET_REQUANTIZE_BRIEF(sum, multiplier, offset, M3NET_BRIEF_LOWER)
#define M3NET_OUTPUT_UPPER_BRIEF(sum, multiplier, offset, right, x) \
  M3NET_REQUANTIZE_BRIEF(sum, multiplier, offset, M3NET_BRIEF_UPPER)

/// Assembly that loads the constants of a channel, whose bias is `place` bytes after an address.
/// Single loads in a row take a cycle each.
#define M3NET_LOAD_EXACT(channel, place, multiplier, offset, right) \
  M3NET_LOAD_BRIEF(channel, place, multiplier, offset, right)       \
  "ldrsh " right ", [" channel ", #" #place " + 6]\n\t"
#define M3NET_LOAD_BRIEF(channel, place, multiplier, offset, right) \
  "ldr " multiplier ", [" channel ", #" #place                      \
  " + 16]\n\t"                                                      \
  "ldr " offset ", [" channel ", #" #place " + 20]\n\t"

/// As above, of the last channel that a pass takes of a group; its shift is at `channel`, which
/// then moves on to the next group.
#define M3NET_LOAD_LAST_EXACT(channel, multiplier, offset, right) \
  "ldr " multiplier ", [" channel                                 \
  ", #10]\n\t"                                                    \
  "ldr " offset ", [" channel                                     \
  ", #14]\n\t"                                                    \
  "ldrsh " right ", [" channel "], #64\n\t"
#define M3NET_LOAD_LAST_BRIEF(channel, multiplier, offset, right) \
  "ldr " multiplier ", [" channel                                 \
  ", #10]\n\t"                                                    \
  "ldr " offset ", [" channel                                     \
  ", #14]\n\t"                                                    \
  "add " channel ", " channel ", #64\n\t"

/// The output of a channel from its sum; its bias is `place` bytes from r11.
#define M3NET_FINISH_ONE_EXACT(sum, place)         \
  M3NET_LOAD_EXACT("r11", place, "r6", "r8", "r9") \
  "lsl " sum ", " sum ", #1\n\t" M3NET_REQUANTIZE(sum, "r6", "r8", "r9", "r10")

/// As above for a layer that is `brief`.
#define M3NET_FINISH_ONE_BRIEF(sum, place, bits)   \
  M3NET_LOAD_BRIEF("r11", place, "r6", "r8", "r9") \
  M3NET_REQUANTIZE_BRIEF(sum, "r6", "r8", bits)

/// Output channels of a pixel, a multiple of four. Windows with more than M3NET_TWIN_ITEMS are
/// added in parts, of which the last ones have so many items.
static void convolve_one(const m3net_convolution* layer, const int16_t* patch, int32_t items,
                         int8_t* output) {
  const int32_t parts = (items - 1) / M3NET_TWIN_ITEMS;
  // What is brief beside other pixels has constants for lower and upper channels.
  const int32_t alike = layer->alike && (layer->pixels == 1 || !layer->brief);
  register const int16_t* from __asm__("r0") = patch;
  register const int16_t* part_end __asm__("r1") = patch + items - parts * M3NET_TWIN_ITEMS;
  // An iteration takes 32 items; the first one begins where fewer are left. Four items have 72
  // bytes of code.
  register int32_t skipped __asm__("r2") = ((parts * M3NET_TWIN_ITEMS - items) & 31) * 18;
  register const m3net_channel_pair* pair __asm__("r3") = layer->pairs;
  register int8_t* to __asm__("r4") = output;
  register int8_t* end __asm__("r5") = output + (layer->output.channels & ~3);
  register const int16_t* patch_end __asm__("r6") = patch + items;
  // The first channel's constants stand for all if they are alike.
  register int32_t multiplier __asm__("r8") = layer->pairs->ends[0].multiplier;
  // 0 if all are alike, or 1; two less if the layer is `brief`.
  register int32_t form __asm__("r9") = !alike - 2 * layer->brief;
  register int32_t offset __asm__("r10") = layer->pairs->ends[0].offset;
  register int32_t right __asm__("r11") = layer->pairs->starts[0].right;
  register const m3net_block* weights __asm__("r12") = layer->blocks;
  // The stack keeps the sums of the upper channels, r0 to r8, r10 and r11. The form moves to r7,
  // which may be the frame pointer.
  __asm__ volatile(
      "adr lr, 2f\n\t"
      "add r2, r2, lr\n\t"
      "orr r2, r2, #1\n\t"
      "push {r0-r8, r10, r11}\n\t"
      "mov r7, r9\n\t"
      "sub sp, sp, #8\n\t"
      "1:\n\t"
      "ldr r0, [r3]\n\t"
      "ldr r4, [r3, #8]\n\t"
      "ldr r2, [r3, #32]\n\t"
      "ldr r5, [r3, #40]\n\t"
      "ldr r11, [sp, #8]\n\t"
      "ldr lr, [sp, #12]\n\t"
      "str r4, [sp]\n\t"
      "mov r1, r0\n\t"
      "str r5, [sp, #4]\n\t"
      "mov r3, r2\n\t"
      "ldr pc, [sp, #16]\n\t"
      "2:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_FOUR_ITEMS))
      "4:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_FOUR_ITEMS))
      "cmp r11, lr\n\t"
      "bne 2b\n\t"
      "ldr r4, [sp]\n\t"
      "ldr r5, [sp, #4]\n\t"
      "ldr r6, [sp, #32]\n\t"
      "sub r1, r1, r0\n\t"
      "sub r3, r3, r2\n\t"
      "add r4, r4, r1, asr #8\n\t"
      "add r5, r5, r3, asr #8\n\t"
      "cmp lr, r6\n\t"
      "bne 3f\n\t"
      "cmp r7, #0\n\t"
      "bgt 5f\n\t"
      "blt 8f\n\t"
      // All channels have the same constants but for the bias.
      "ldr r6, [sp, #40]\n\t"
      "ldr r8, [sp, #44]\n\t"
      "ldr r9, [sp, #48]\n\t"
      "lsl r0, r0, #1\n\t"
      "lsl r4, r4, #1\n\t"
      "lsl r2, r2, #1\n\t"
      "lsl r5, r5, #1\n\t"  //
      M3NET_REQUANTIZE("r0", "r6", "r8", "r9", "r10")
      M3NET_REQUANTIZE("r4", "r6", "r8", "r9", "r10")
      M3NET_REQUANTIZE("r2", "r6", "r8", "r9", "r10")
      M3NET_REQUANTIZE("r5", "r6", "r8", "r9", "r10")
      "6:\n\t"
      "ldr r3, [sp, #20]\n\t"
      "ldr r6, [sp, #24]\n\t"
      "ldr r8, [sp, #28]\n\t"
      "add r3, r3, #64\n\t"
      "bfi r0, r4, #8, #8\n\t"
      "bfi r0, r2, #16, #8\n\t"
      "bfi r0, r5, #24, #8\n\t"
      "str r0, [r6], #4\n\t"
      "str r3, [sp, #20]\n\t"
      "str r6, [sp, #24]\n\t"
      "cmp r6, r8\n\t"
      "bne 1b\n\t"
      "b 7f\n\t"
      // The next part.
      "3:\n\t"
      "str r4, [sp]\n\t"
      "str r5, [sp, #4]\n\t"
      "mov r1, r0\n\t"
      "mov r3, r2\n\t"
      "add lr, lr, %[part]\n\t"
      "b 4b\n\t"
      "5:\n\t"
      "ldr r11, [sp, #20]\n\t"  //
      M3NET_FINISH_ONE_EXACT("r0", 0)
      M3NET_FINISH_ONE_EXACT("r4", 8)
      M3NET_FINISH_ONE_EXACT("r2", 32)
      M3NET_FINISH_ONE_EXACT("r5", 40)
      "b 6b\n\t"
      // The layer is `brief`.
      "8:\n\t"
      "cmp r7, #-2\n\t"
      "bne 9f\n\t"
      "ldr r6, [sp, #40]\n\t"
      "ldr r8, [sp, #44]\n\t"  //
      M3NET_REQUANTIZE_BRIEF("r0", "r6", "r8", M3NET_BRIEF_LOWER)
      M3NET_REQUANTIZE_BRIEF("r4", "r6", "r8", M3NET_BRIEF_LOWER)
      M3NET_REQUANTIZE_BRIEF("r2", "r6", "r8", M3NET_BRIEF_LOWER)
      M3NET_REQUANTIZE_BRIEF("r5", "r6", "r8", M3NET_BRIEF_LOWER)
      "b 6b\n\t"
      "9:\n\t"
      "ldr r11, [sp, #20]\n\t"
      "lsl r4, r4, #8\n\t"
      "lsl r5, r5, #8\n\t"  //
      M3NET_FINISH_ONE_BRIEF("r0", 0, M3NET_BRIEF_LOWER)
      M3NET_FINISH_ONE_BRIEF("r4", 8, M3NET_BRIEF_UPPER)
      M3NET_FINISH_ONE_BRIEF("r2", 32, M3NET_BRIEF_LOWER)
      M3NET_FINISH_ONE_BRIEF("r5", 40, M3NET_BRIEF_UPPER)
      "b 6b\n\t"
      "7:\n\t"
      "ldr r7, [sp, #36]\n\t"
      "add sp, sp, #52\n\t"
      : "+&r"(from), "+&r"(part_end), "+&r"(skipped), "+&r"(pair), "+&r"(to), "+&r"(end),
        "+&r"(patch_end), "+&r"(multiplier), "+&r"(form), "+&r"(offset), "+&r"(right),
        "+&r"(weights)
      : [part] "i"(2 * M3NET_TWIN_ITEMS)
      : "lr", "cc", "memory");
}

/// The outputs of two channels of two pixels, from a sum of each and the other one as its form
/// takes it. The outputs of a pixel become the lower half of its `a`. LOAD_B loads the constants of
/// the second channel into r9, r10 and r7; the first one's bias is `place` bytes from r11.
#define M3NET_FINISH_TWO_PIXELS(FORM, place, LOAD_B, a0, b0, a1, b1)                               \
  M3NET_LOAD_##FORM("r11", place, "r9", "r10", "r7") M3NET_LOWER_##FORM(a0) M3NET_LOWER_##FORM(a1) \
      M3NET_OUTPUT_LOWER_##FORM(a0, "r9", "r10", "r7", "lr")                                       \
          M3NET_OUTPUT_LOWER_##FORM(a1, "r9", "r10", "r7", "lr")                                   \
              LOAD_B M3NET_OUTPUT_UPPER_##FORM(b0, "r9", "r10", "r7", "lr")                        \
                  M3NET_OUTPUT_UPPER_##FORM(b1, "r9", "r10", "r7", "lr") "bfi " a0 ", " b0         \
                                                                         ", #8, #8\n\t"            \
                                                                         "bfi " a1 ", " b1         \
                                                                         ", #8, #8\n\t"

/// The outputs of four channels of two pixels.
#define M3NET_FINISH_TWO(FORM)                                                                   \
  "ldr r11, [sp, #24]\n\t" M3NET_FINISH_TWO_PIXELS(                                              \
      FORM, -46, M3NET_LOAD_##FORM("r11", -38, "r9", "r10", "r7"), "r0", "r1", "r4", "r5")       \
      M3NET_FINISH_TWO_PIXELS(FORM, -14, M3NET_LOAD_LAST_##FORM("r11", "r9", "r10", "r7"), "r2", \
                              "r3", "r6", "r8")

/// Assembly that turns the sum of two channels into 256 times the upper one's.
#define M3NET_TAKE_UPPER(ab, a) "sub " ab ", " ab ", " a "\n\t"

/// Assembly that moves the upper channel's part of a sum to the stack.
#define M3NET_MOVE_UPPER(ab, a, place) \
  "ldr r9, [sp, #" #place              \
  "]\n\t"                              \
  "sub " ab ", " ab ", " a             \
  "\n\t"                               \
  "add r9, r9, " ab                    \
  ", asr #8\n\t"                       \
  "mov " ab ", " a                     \
  "\n\t"                               \
  "str r9, [sp, #" #place "]\n\t"

/// Assembly that takes the upper channel's sum from the stack, shifted left.
#define M3NET_LOAD_UPPER(ab, place, bits) \
  "ldr " ab ", [sp, #" #place             \
  "]\n\t"                                 \
  "str lr, [sp, #" #place                 \
  "]\n\t"                                 \
  "lsl " ab ", " ab ", #" #bits "\n\t"

/// The shift of the second one of two channels, from which the kernels address their constants.
static inline const int16_t* shift_of(const m3net_channel_pair* pair) {
  return &pair->starts[1].right;
}

/// Pixels that are computed together.
typedef struct {
  const m3net_block* blocks;
  const m3net_channel_pair* pairs;
  int32_t channel_count;
  int32_t items;     ///< Of a window in the patch.
  int32_t step;      ///< Bytes from a pixel's outputs to the next one's.
  int32_t exact;     ///< 0 if the layer is `brief`, else 1.
  int32_t of_bytes;  ///< Two windows in the patch are bytes.
  const int16_t* patch;
} pixel_group;

/// All output channels of two pixels, a multiple of four; the layer's `pixels` is above one. The
/// items are bytes if the patch has no room for more; windows with more of them than an upper
/// channel's sum can take are then added in parts, of which the last ones have M3NET_TWIN_ITEMS.
static void convolve_two(const pixel_group* group, int8_t* output) {
  const int32_t items = group->items, of_bytes = group->of_bytes;
  const int8_t* whole = (const int8_t*)(group->patch + (of_bytes ? 1 : 2) * items);
  const int32_t parts = of_bytes ? (items - 1) / M3NET_TWIN_ITEMS : 0;
  register int8_t* to __asm__("r0") = output;
  register int32_t step __asm__("r1") = group->step;
  register int8_t* end __asm__("r2") = output + group->channel_count;
  register const int16_t* from __asm__("r3") = group->patch;
  // Pairs: one less if exact, which the comparison with it shows.
  register const int8_t* part_end __asm__("r4") =
      whole - (of_bytes ? 2 * parts * M3NET_TWIN_ITEMS : group->exact);
  // An iteration takes 16 items; the first one begins where fewer are left. An item has 28 bytes of
  // code, or 30. Loop and outputs are below 1 KiB, the code that an STM32F4 keeps.
  register int32_t skipped __asm__("r5") = (-items & 15) * (of_bytes ? 30 : 28) + of_bytes;
  register const int16_t* channel __asm__("r6") = shift_of(group->pairs + 1);
  register const int8_t* patch_end __asm__("r8") = whole;
  register int32_t is_exact __asm__("r10") = group->exact;
  register const m3net_block* weights __asm__("r12") = group->blocks;
  // The stack keeps r0 to r6, and r7, which may be the frame pointer; where bytes go on after their
  // loop; `exact`; the end of the first part and of the patch; and the upper channels' sums of the
  // parts.
  __asm__ volatile(
      "mov r9, #0\n\t"
      "mov r11, #0\n\t"
      "push {r9, r11}\n\t"
      "push {r9, r11}\n\t"
      "push {r4, r8}\n\t"
      "cmp r10, #0\n\t"
      "ite eq\n\t"
      "adreq r9, 4f\n\t"
      "adrne r9, 7f\n\t"
      "cmp r4, r8\n\t"
      "it ne\n\t"
      "adrne r9, 8f\n\t"
      "orr r9, r9, #1\n\t"
      "push {r9, r10}\n\t"
      "adr lr, 2f\n\t"
      "tst r5, #1\n\t"
      "it ne\n\t"
      "adrne lr, 3f\n\t"
      "add r5, r5, lr\n\t"
      "orr r5, r5, #1\n\t"
      "push {r0-r7}\n\t"
      "mov r11, r6\n\t"
      "1:\n\t"
      "ldr r0, [r11, #-46]\n\t"
      "ldr r1, [r11, #-38]\n\t"
      "ldr r2, [r11, #-14]\n\t"
      "ldr r3, [r11, #-6]\n\t"
      "ldr r11, [sp, #12]\n\t"
      "add r1, r0, r1, lsl #8\n\t"
      "add r3, r2, r3, lsl #8\n\t"
      "mov r4, r0\n\t"
      "mov r5, r1\n\t"
      "mov r6, r2\n\t"
      "mov r8, r3\n\t"
      "ldr pc, [sp, #20]\n\t"
      "2:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_TWO_OF_PAIRS)))
      "ldr lr, [sp, #16]\n\t"
      "cmp r11, lr\n\t"
      "blo 2b\n\t"
      "4:\n\t"  //
      M3NET_TAKE_UPPER("r1", "r0")
      M3NET_TAKE_UPPER("r3", "r2")
      M3NET_TAKE_UPPER("r5", "r4")
      M3NET_TAKE_UPPER("r8", "r6")
      "bne 6f\n\t"
      "5:\n\t"  //
      M3NET_FINISH_TWO(BRIEF)
      "9:\n\t"
      "bfi r0, r2, #16, #16\n\t"
      "bfi r4, r6, #16, #16\n\t"
      "ldm sp, {r7, r9, r10}\n\t"
      "str r4, [r7, r9]\n\t"
      "str r0, [r7], #4\n\t"
      "str r11, [sp, #24]\n\t"
      "str r7, [sp]\n\t"
      "cmp r7, r10\n\t"
      "bne 1b\n\t"
      "ldr r7, [sp, #28]\n\t"
      "add sp, sp, #64\n\t"
      "b 10f\n\t"
      "6:\n\t"  //
      M3NET_UPPER_EXACT("r1")
      M3NET_UPPER_EXACT("r3")
      M3NET_UPPER_EXACT("r5")
      M3NET_UPPER_EXACT("r8")
      "11:\n\t"  //
      M3NET_FINISH_TWO(EXACT)
      "b 9b\n\t"
      "7:\n\t"
      "cmp r11, #0\n\t"
      "b 4b\n\t"
      "3:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_TWO_OF_BYTES)))
      "ldr lr, [sp, #16]\n\t"
      "cmp r11, lr\n\t"
      "bne 3b\n\t"
      "ldr pc, [sp, #32]\n\t"
      "8:\n\t"
      "ldr r9, [sp, #40]\n\t"
      "ldr r10, [sp, #44]\n\t"
      "add lr, lr, %[part]\n\t"
      "cmp r11, r10\n\t"
      "it eq\n\t"
      "moveq lr, r9\n\t"
      "str lr, [sp, #16]\n\t"  //
      M3NET_MOVE_UPPER("r1", "r0", 48)
      M3NET_MOVE_UPPER("r3", "r2", 52)
      M3NET_MOVE_UPPER("r5", "r4", 56)
      M3NET_MOVE_UPPER("r8", "r6", 60)
      "bne 3b\n\t"
      "mov lr, #0\n\t"
      "ldr r9, [sp, #36]\n\t"
      "cmp r9, #0\n\t"
      "bne 12f\n\t"  //
      M3NET_LOAD_UPPER("r1", 48, 8)
      M3NET_LOAD_UPPER("r3", 52, 8)
      M3NET_LOAD_UPPER("r5", 56, 8)
      M3NET_LOAD_UPPER("r8", 60, 8)
      "b 5b\n\t"
      "12:\n\t"  //
      M3NET_LOAD_UPPER("r1", 48, 1)
      M3NET_LOAD_UPPER("r3", 52, 1)
      M3NET_LOAD_UPPER("r5", 56, 1)
      M3NET_LOAD_UPPER("r8", 60, 1)
      "b 11b\n\t"
      "10:\n\t"
      : "+&r"(to), "+&r"(step), "+&r"(end), "+&r"(from), "+&r"(part_end), "+&r"(skipped),
        "+&r"(channel), "+&r"(patch_end), "+&r"(is_exact), "+&r"(weights)
      : [part] "i"(2 * M3NET_TWIN_ITEMS)
      : "r9", "r11", "lr", "cc", "memory");
}

/// The outputs of two channels of three pixels, in the lower half of r0, r2 and r4.
#define M3NET_FINISH_THREE(FORM) \
  M3NET_LOAD_##FORM("lr", -14, "r6", "r7", "r8")           \
  "sub r1, r1, r0\n\t"                                     \
  "sub r3, r3, r2\n\t"                                     \
  "sub r5, r5, r4\n\t"                                     \
  M3NET_LOWER_##FORM("r0")                                 \
  M3NET_LOWER_##FORM("r2")                                 \
  M3NET_LOWER_##FORM("r4")                                 \
  M3NET_OUTPUT_LOWER_##FORM("r0", "r6", "r7", "r8", "r9")  \
  M3NET_OUTPUT_LOWER_##FORM("r2", "r6", "r7", "r8", "r9")  \
  M3NET_OUTPUT_LOWER_##FORM("r4", "r6", "r7", "r8", "r9")  \
  M3NET_LOAD_LAST_##FORM("lr", "r6", "r7", "r8")           \
  M3NET_UPPER_##FORM("r1")                                 \
  M3NET_UPPER_##FORM("r3")                                 \
  M3NET_UPPER_##FORM("r5")                                 \
  M3NET_OUTPUT_UPPER_##FORM("r1", "r6", "r7", "r8", "r9")  \
  M3NET_OUTPUT_UPPER_##FORM("r3", "r6", "r7", "r8", "r9")  \
  M3NET_OUTPUT_UPPER_##FORM("r5", "r6", "r7", "r8", "r9")

/// All output channels of three pixels, as convolve_two: first channels a and b of each group of
/// four, whose weights end where the next group's begin, then c and d.
static void convolve_three(const pixel_group* group, int8_t* output) {
  register int8_t* to __asm__("r0") = output;
  register int32_t step __asm__("r1") = group->step;
  register int8_t* end __asm__("r2") = output + group->channel_count;
  register const int16_t* from __asm__("r3") = group->patch;
  // An iteration takes 32 items of 22 bytes of code; two items come before the loop. With more,
  // loop and outputs would exceed 1 KiB, the code that an STM32F4 keeps.
  register int32_t skipped __asm__("r4") = ((2 - group->items) & 31) * 22;
  register int8_t* second __asm__("r5") = output + 2;
  register const int16_t* second_channel __asm__("r6") = shift_of(group->pairs + 1);
  register const int16_t* second_weights __asm__("r8") = group->blocks->twins + 2;
  // One less if exact, which the comparison with it shows.
  register const int8_t* patch_end __asm__("r10") =
      (const int8_t*)(group->patch + 3 * group->items) - group->exact;
  register const m3net_block* weights __asm__("r12") = group->blocks;
  register const int16_t* channel __asm__("lr") = shift_of(group->pairs);
  // The stack keeps r0 to r8, among them r7, which may be the frame pointer.
  __asm__ volatile(
      "adr r9, 2f\n\t"
      "add r4, r4, r9\n\t"
      "orr r4, r4, #1\n\t"
      "push {r0-r8}\n\t"
      "1:\n\t"
      "ldr r0, [lr, #-14]\n\t"
      "ldr r1, [lr, #-6]\n\t"
      "ldr r11, [sp, #12]\n\t"
      "ldr r6, [r12], #8\n\t"
      "ldr r7, [r11, #4]\n\t"
      "ldr r8, [r11, #8]\n\t"
      "ldr r9, [r11], #12\n\t"
      "add r1, r0, r1, lsl #8\n\t"
      "smlad r3, r7, r6, r1\n\t"
      "smlad r5, r8, r6, r1\n\t"
      "smlad r1, r9, r6, r1\n\t"
      "sxtb16 r6, r6\n\t"
      "smlad r2, r7, r6, r0\n\t"
      "smlad r4, r8, r6, r0\n\t"
      "smlad r0, r9, r6, r0\n\t"
      "ldr pc, [sp, #16]\n\t"
      "2:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_THREE_PAIRS))))
      "cmp r11, r10\n\t"
      "blo 2b\n\t"
      "bne 3f\n\t"  //
      M3NET_FINISH_THREE(BRIEF)
      "4:\n\t"
      "bfi r0, r1, #8, #8\n\t"
      "bfi r2, r3, #8, #8\n\t"
      "bfi r4, r5, #8, #8\n\t"
      "ldm sp, {r6, r7, r8}\n\t"
      "strh r2, [r6, r7]\n\t"
      "strh r4, [r6, r7, lsl #1]\n\t"
      "strh r0, [r6], #4\n\t"
      "str r6, [sp]\n\t"
      "cmp r6, r8\n\t"
      "blo 1b\n\t"
      "ldr r6, [sp, #20]\n\t"
      "ldr lr, [sp, #24]\n\t"
      "ldr r12, [sp, #32]\n\t"
      "str r8, [sp, #20]\n\t"
      "str r6, [sp]\n\t"
      "cmp r6, r8\n\t"
      "blo 1b\n\t"
      "ldr r7, [sp, #28]\n\t"
      "add sp, sp, #36\n\t"
      "b 5f\n\t"
      "3:\n\t"  //
      M3NET_FINISH_THREE(EXACT)
      "b 4b\n\t"
      "5:\n\t"
      : "+&r"(to), "+&r"(step), "+&r"(end), "+&r"(from), "+&r"(skipped), "+&r"(second),
        "+&r"(second_channel), "+&r"(second_weights), "+&r"(patch_end), "+&r"(weights),
        "+&r"(channel)
      :
      : "r9", "r11", "cc", "memory");
}

/// The outputs of two channels of four pixels, in the lower half of r0, r2, r4 and r6.
#define M3NET_FINISH_FOUR(FORM) \
  "ldr r11, [sp, #24]\n\t"                                  \
  M3NET_LOAD_##FORM("r11", -14, "r8", "r9", "r10")          \
  "sub r1, r1, r0\n\t"                                      \
  "sub r3, r3, r2\n\t"                                      \
  "sub r5, r5, r4\n\t"                                      \
  "sub r7, r7, r6\n\t"                                      \
  M3NET_LOWER_##FORM("r0")                                  \
  M3NET_LOWER_##FORM("r2")                                  \
  M3NET_LOWER_##FORM("r4")                                  \
  M3NET_LOWER_##FORM("r6")                                  \
  M3NET_OUTPUT_LOWER_##FORM("r0", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_LOWER_##FORM("r2", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_LOWER_##FORM("r4", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_LOWER_##FORM("r6", "r8", "r9", "r10", "lr")  \
  M3NET_LOAD_LAST_##FORM("r11", "r8", "r9", "r10")          \
  M3NET_UPPER_##FORM("r1")                                  \
  M3NET_UPPER_##FORM("r3")                                  \
  M3NET_UPPER_##FORM("r5")                                  \
  M3NET_UPPER_##FORM("r7")                                  \
  M3NET_OUTPUT_UPPER_##FORM("r1", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_UPPER_##FORM("r3", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_UPPER_##FORM("r5", "r8", "r9", "r10", "lr")  \
  M3NET_OUTPUT_UPPER_##FORM("r7", "r8", "r9", "r10", "lr")

/// All output channels of four pixels, as convolve_three.
static void convolve_four(const pixel_group* group, int8_t* output) {
  register int8_t* to __asm__("r0") = output;
  register int32_t step __asm__("r1") = group->step;
  register int8_t* end __asm__("r2") = output + group->channel_count;
  register const int16_t* from __asm__("r3") = group->patch;
  // One less if exact, which the comparison with it shows.
  register const int8_t* patch_end __asm__("r4") =
      (const int8_t*)(group->patch + 4 * group->items) - group->exact;
  // An iteration takes 16 items of 28 bytes of code; two items come before the loop.
  register int32_t skipped __asm__("r5") = ((2 - group->items) & 15) * 28;
  register const int16_t* channel __asm__("r6") = shift_of(group->pairs);
  register int8_t* second __asm__("r8") = output + 2;
  register const int16_t* second_channel __asm__("r9") = shift_of(group->pairs + 1);
  register const int16_t* second_weights __asm__("r10") = group->blocks->twins + 2;
  register const m3net_block* weights __asm__("r12") = group->blocks;
  // The stack keeps r0 to r10, among them r7, which may be the frame pointer.
  __asm__ volatile(
      "adr lr, 2f\n\t"
      "add r5, r5, lr\n\t"
      "orr r5, r5, #1\n\t"
      "push {r0-r10}\n\t"
      "mov r11, r6\n\t"
      "1:\n\t"
      "ldr r0, [r11, #-14]\n\t"
      "ldr r1, [r11, #-6]\n\t"
      "ldr r11, [sp, #12]\n\t"
      "ldr r8, [r12], #8\n\t"
      "ldr r10, [r11, #4]\n\t"
      "ldr lr, [r11, #8]\n\t"
      "add r1, r0, r1, lsl #8\n\t"
      "smlad r3, r10, r8, r1\n\t"
      "smlad r5, lr, r8, r1\n\t"
      "sxtb16 r9, r8\n\t"
      "smlad r2, r10, r9, r0\n\t"
      "smlad r4, lr, r9, r0\n\t"
      "ldr r10, [r11, #12]\n\t"
      "ldr lr, [r11], #16\n\t"
      "smlad r7, r10, r8, r1\n\t"
      "smlad r6, r10, r9, r0\n\t"
      "smlad r1, lr, r8, r1\n\t"
      "smlad r0, lr, r9, r0\n\t"
      "ldr pc, [sp, #20]\n\t"
      "2:\n\t"  //
      M3NET_TWICE(M3NET_TWICE(M3NET_TWICE(M3NET_MULTIPLY_FOUR_PAIRS)))
      "ldr lr, [sp, #16]\n\t"
      "cmp r11, lr\n\t"
      "blo 2b\n\t"
      "bne 3f\n\t"  //
      M3NET_FINISH_FOUR(BRIEF)
      "4:\n\t"
      "bfi r0, r1, #8, #8\n\t"
      "bfi r2, r3, #8, #8\n\t"
      "bfi r4, r5, #8, #8\n\t"
      "bfi r6, r7, #8, #8\n\t"
      "ldm sp, {r1, r5, r8}\n\t"
      "add r3, r5, r5, lsl #1\n\t"
      "strh r2, [r1, r5]\n\t"
      "strh r4, [r1, r5, lsl #1]\n\t"
      "strh r6, [r1, r3]\n\t"
      "strh r0, [r1], #4\n\t"
      "str r11, [sp, #24]\n\t"
      "str r1, [sp]\n\t"
      "cmp r1, r8\n\t"
      "blo 1b\n\t"
      "ldr r1, [sp, #32]\n\t"
      "ldr r11, [sp, #36]\n\t"
      "ldr r12, [sp, #40]\n\t"
      "str r8, [sp, #32]\n\t"
      "str r11, [sp, #24]\n\t"
      "str r1, [sp]\n\t"
      "cmp r1, r8\n\t"
      "blo 1b\n\t"
      "ldr r7, [sp, #28]\n\t"
      "add sp, sp, #44\n\t"
      "b 5f\n\t"
      "3:\n\t"  //
      M3NET_FINISH_FOUR(EXACT)
      "b 4b\n\t"
      "5:\n\t"
      : "+&r"(to), "+&r"(step), "+&r"(end), "+&r"(from), "+&r"(patch_end), "+&r"(skipped),
        "+&r"(channel), "+&r"(second), "+&r"(second_channel), "+&r"(second_weights), "+&r"(weights)
      :
      : "r11", "lr", "cc", "memory");
}

#endif

#endif  // M3NET_ENGINE_DSP_CONVOLUTION_H_
