// SPDX-License-Identifier: Apache-2.0
// Convolution: each window is gathered into a patch of 16-bit numbers, which four output channels
// at a time multiply with their weights.
#include "arithmetic.h"
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

#if M3NET_ENGINE_DSP

/// Sums of four channels; `ab` is the sum of channel a plus 256 times the sum of channel b.
typedef struct {
  int32_t a, ab, c, cd;
} twin_sums;

/// Assembly that adds the products of the next four items with the weights of four channels.
#define M3NET_MULTIPLY_FOUR_ITEMS   \
  "ldr r10, [%[patch], #4]\n\t"     \
  "ldr r9, [%[patch]], #8\n\t"      \
  "ldr r5, [%[blocks], #4]\n\t"     \
  "ldr r6, [%[blocks], #8]\n\t"     \
  "ldr r8, [%[blocks], #12]\n\t"    \
  "ldr r4, [%[blocks]], #16\n\t"    \
  "smlad %[ab], r9, r4, %[ab]\n\t"  \
  "sxtb16 r4, r4\n\t"               \
  "smlad %[cd], r9, r5, %[cd]\n\t"  \
  "sxtb16 r5, r5\n\t"               \
  "smlad %[ab], r10, r6, %[ab]\n\t" \
  "sxtb16 r6, r6\n\t"               \
  "smlad %[cd], r10, r8, %[cd]\n\t" \
  "sxtb16 r8, r8\n\t"               \
  "smlad %[a], r9, r4, %[a]\n\t"    \
  "smlad %[c], r9, r5, %[c]\n\t"    \
  "smlad %[a], r10, r6, %[a]\n\t"   \
  "smlad %[c], r10, r8, %[c]\n\t"

/// Products of a patch with the weights of four channels. An iteration takes 16 items; those that
/// are left over come first.
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
  __asm__ volatile(
      "sub r4, %[end], %[patch]\n\t"
      "tst r4, #8\n\t"
      "beq 1f\n\t" M3NET_MULTIPLY_FOUR_ITEMS
      "1:\n\t"
      "sub r4, %[end], %[patch]\n\t"
      "tst r4, #16\n\t"
      "beq 2f\n\t" M3NET_MULTIPLY_FOUR_ITEMS M3NET_MULTIPLY_FOUR_ITEMS
      "2:\n\t"
      "cmp %[patch], %[end]\n\t"
      "beq 4f\n\t"
      "3:\n\t" M3NET_MULTIPLY_FOUR_ITEMS M3NET_MULTIPLY_FOUR_ITEMS M3NET_MULTIPLY_FOUR_ITEMS
          M3NET_MULTIPLY_FOUR_ITEMS
      "cmp %[patch], %[end]\n\t"
      "bne 3b\n\t"
      "4:\n\t"
      : [patch] "+&r"(from), [blocks] "+&r"(weights), [a] "+&r"(a), [ab] "+&r"(ab), [c] "+&r"(c),
        [cd] "+&r"(cd)
      : [end] "r"(end)
      : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  return (twin_sums){a, ab, c, cd};
}

/// Assembly that adds the products of the next two items of two windows with the weights of four
/// channels. Each weight is loaded once.
#define M3NET_MULTIPLY_TWO_PAIRS \
  "ldr r10, [r11, #4]\n\t"       \
  "ldr r9, [r11], #8\n\t"        \
  "ldr r7, [r12, #4]\n\t"        \
  "ldr lr, [r12], #8\n\t"        \
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

/// Assembly that adds up the products of two windows in r0 to r6 and r8. The patch is at r11, the
/// weights are at r12, and the stack has the patch's end in `end`. An iteration takes eight items;
/// four that are left over come first.
#define M3NET_MULTIPLY_TWO_WINDOWS(end)                                               \
  "mov r0, #0\n\t"                                                                    \
  "mov r1, #0\n\t"                                                                    \
  "mov r2, #0\n\t"                                                                    \
  "mov r3, #0\n\t"                                                                    \
  "mov r4, #0\n\t"                                                                    \
  "mov r5, #0\n\t"                                                                    \
  "mov r6, #0\n\t"                                                                    \
  "mov r8, #0\n\t"                                                                    \
  "ldr lr, " end                                                                      \
  "\n\t"                                                                              \
  "sub lr, lr, r11\n\t"                                                               \
  "tst lr, #16\n\t"                                                                   \
  "beq 2f\n\t" M3NET_MULTIPLY_TWO_PAIRS M3NET_MULTIPLY_TWO_PAIRS "ldr lr, " end       \
  "\n\t"                                                                              \
  "cmp r11, lr\n\t"                                                                   \
  "beq 3f\n\t"                                                                        \
  "2:\n\t" M3NET_MULTIPLY_TWO_PAIRS M3NET_MULTIPLY_TWO_PAIRS M3NET_MULTIPLY_TWO_PAIRS \
      M3NET_MULTIPLY_TWO_PAIRS "ldr lr, " end                                         \
  "\n\t"                                                                              \
  "cmp r11, lr\n\t"                                                                   \
  "bne 2b\n\t"                                                                        \
  "3:\n\t"

/// Products of two windows whose pairs of items alternate in the patch, as multiply_one.
static inline void multiply_two(const int16_t* patch, int32_t items, const m3net_block* blocks,
                                twin_sums sums[2]) {
  register int32_t a0 __asm__("r0");
  register int32_t ab0 __asm__("r1");
  register int32_t c0 __asm__("r2");
  register int32_t cd0 __asm__("r3");
  register int32_t a1 __asm__("r4");
  register int32_t ab1 __asm__("r5");
  register int32_t c1 __asm__("r6");
  register int32_t cd1 __asm__("r8");
  register const int16_t* from __asm__("r11") = patch;
  register const m3net_block* weights __asm__("r12") = blocks;
  register const int16_t* end __asm__("lr") = patch + 2 * items;
  // The stack keeps r7, which may be the frame pointer, and the end.
  __asm__ volatile("push {r7, lr}\n\t" M3NET_MULTIPLY_TWO_WINDOWS("[sp, #4]") "pop {r7, lr}\n\t"
                   : "+&r"(from), "+&r"(weights), "=&r"(a0), "=&r"(ab0), "=&r"(c0), "=&r"(cd0),
                     "=&r"(a1), "=&r"(ab1), "=&r"(c1), "=&r"(cd1)
                   : "r"(end)
                   : "r9", "r10", "cc", "memory");
  sums[0] = (twin_sums){a0, ab0, c0, cd0};
  sums[1] = (twin_sums){a1, ab1, c1, cd1};
}

/// Assembly that writes the outputs of two channels of two pixels, at r7 and lr, from the sums in
/// r0 and r1, and in r4 and r5. The constants of the channels are at r11.
#define M3NET_FINISH_TWO_CHANNELS(lower, upper, place, next)                    \
  "ldr r9, [r11, #" #upper                                                      \
  "]\n\t"                                                                       \
  "ldr r10, [r11, #" #lower                                                     \
  "]\n\t"                                                                       \
  "sub r1, r1, r0\n\t"                                                          \
  "sub r5, r5, r4\n\t"                                                          \
  "add r1, r9, r1, asr #8\n\t"                                                  \
  "add r5, r9, r5, asr #8\n\t"                                                  \
  "add r0, r0, r10\n\t"                                                         \
  "add r4, r4, r10\n\t" M3NET_LOAD_CHANNEL("r11", lower, "r9", "r10", "r2")     \
      M3NET_WRITE_OUTPUT("r0", "r7", place, "r9", "r10", "r2", "r3")            \
          M3NET_WRITE_OUTPUT("r4", "lr", place, "r9", "r10", "r2", "r3")        \
              M3NET_LOAD_CHANNEL("r11", upper, "r9", "r10", "r2")               \
                  M3NET_WRITE_OUTPUT("r1", "r7", next, "r9", "r10", "r2", "r3") \
                      M3NET_WRITE_OUTPUT("r5", "lr", next, "r9", "r10", "r2", "r3")

/// All output channels of two pixels, a multiple of four, of a layer with the short form and the
/// whole range.
static void convolve_two_narrow(const m3net_convolution* layer, const int16_t* patch, int32_t items,
                                int8_t* first, int8_t* second) {
  register int8_t* end __asm__("r6") = first + layer->output.channels;
  register const m3net_channel* channel __asm__("r8") = layer->channels;
  register int8_t* to __asm__("r9") = first;
  register int8_t* other __asm__("r10") = second;
  register const int16_t* from __asm__("r11") = patch;
  register const m3net_block* weights __asm__("r12") = layer->blocks;
  register const int16_t* patch_end __asm__("lr") = patch + 2 * items;
  // On the stack: end of the outputs, channels, both outputs, patch, its end; and r7.
  __asm__ volatile(
      "push {r7}\n\t"
      "push {r6, r8, r9, r10, r11, lr}\n\t"
      "1:\n\t"
      "ldr r11, [sp, #16]\n\t"                 //
      M3NET_MULTIPLY_TWO_WINDOWS("[sp, #20]")  //
      "push {r2, r3, r6, r8}\n\t"
      "ldr r11, [sp, #20]\n\t"
      "ldr r7, [sp, #24]\n\t"
      "ldr lr, [sp, #28]\n\t"                  //
      M3NET_FINISH_TWO_CHANNELS(0, 16, 0, 1)   //
      "pop {r0, r1, r4, r5}\n\t"               //
      M3NET_FINISH_TWO_CHANNELS(32, 48, 2, 3)  //
      "add r11, r11, #64\n\t"
      "add r7, r7, #4\n\t"
      "add lr, lr, #4\n\t"
      "str r11, [sp, #4]\n\t"
      "str r7, [sp, #8]\n\t"
      "str lr, [sp, #12]\n\t"
      "ldr r9, [sp]\n\t"
      "cmp r7, r9\n\t"
      "bne 1b\n\t"
      "pop {r6, r8, r9, r10, r11, lr}\n\t"
      "pop {r7}\n\t"
      : "+&r"(end), "+&r"(channel), "+&r"(to), "+&r"(other), "+&r"(from), "+&r"(weights),
        "+&r"(patch_end)
      :
      : "r0", "r1", "r2", "r3", "r4", "r5", "cc", "memory");
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

/// Products of a patch with the weights of four channels, one word for each.
static m3net_four_sums multiply_plain(const int16_t* patch, int32_t items,
                                      const m3net_plain_block* blocks, m3net_four_sums sums) {
  int32_t each[4] = {sums.a, sums.b, sums.c, sums.d};
  for (; items > 0; items -= 4, patch += 4, ++blocks) {
    uint32_t pairs[2];
    M3NET_MEMCPY(pairs, patch, sizeof(pairs));
    for (int32_t i = 0; i < 4; ++i) {
      const uint32_t word = m3net_load_word(blocks->items + 4 * i);
      each[i] = m3net_add_products(pairs[0], m3net_even_bytes(word), each[i]);
      each[i] = m3net_add_products(pairs[1], m3net_odd_bytes(word), each[i]);
    }
  }
  return (m3net_four_sums){each[0], each[1], each[2], each[3]};
}

#else

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
  const m3net_block* blocks = layer->blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    const m3net_four_sums sums = multiply(patch, items, blocks, m3net_four_biases(channel));
    m3net_finish(layer, sums, channel, left, output);
    blocks += items / 2;
    channel += 4;
    output += 4;
  }
}

typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int16_t* patch;
  int32_t items;    ///< Of a window, rounded up to a multiple of four.
  int8_t** first;   ///< Output of the first of two pixels, whose window is in the patch.
  int32_t* pixels;  ///< Pixels left in pairs; an odd number if the next one is a second.
} convolution_state;

/// Gathers a window, with zeros up to a multiple of four items.
M3NET_INLINE void gather(const convolution_state* state, int32_t row, int32_t column,
                         m3net_gatherer gatherer, int8_t* patch) {
  const m3net_convolution* layer = state->layer;
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  int8_t* end = m3net_gather(&layer->input, window, state->input, row, column, gatherer, patch);
  gatherer.fill(end, 0, state->items - items);
}

#if M3NET_ENGINE_DSP

/// All output channels of a pixel whose weights have the plain form.
static void convolve_plain_pixel(const m3net_convolution* layer, const int16_t* patch,
                                 int32_t items, int8_t* output) {
  const m3net_plain_block* blocks = layer->plain_blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    m3net_finish(layer, multiply_plain(patch, items, blocks, m3net_four_biases(channel)), channel,
                 left, output);
    blocks += items / 4;
    channel += 4;
    output += 4;
  }
}

/// All output channels of two pixels.
M3NET_INLINE void convolve_two_pixels(const m3net_convolution* layer, const int16_t* patch,
                                      int32_t items, int8_t* first, int8_t* second) {
  if (layer->narrow && layer->full && layer->output.channels % 4 == 0 &&
      items <= M3NET_TWIN_ITEMS) {
    convolve_two_narrow(layer, patch, items, first, second);
    return;
  }
  const m3net_block* blocks = layer->blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    m3net_four_sums one = m3net_four_biases(channel), two = one;
    for (int32_t done = 0; done < items; done += M3NET_TWIN_ITEMS) {
      const int32_t rest = items - done;
      twin_sums sums[2];
      multiply_two(patch + 2 * done, rest < M3NET_TWIN_ITEMS ? rest : M3NET_TWIN_ITEMS,
                   blocks + done / 2, sums);
      one = add_twins(one, sums[0]);
      two = add_twins(two, sums[1]);
    }
    m3net_finish_two(layer, one, two, channel, left, first, second);
    blocks += items / 2;
    channel += 4;
    first += 4;
    second += 4;
  }
}

/// The place of the next item of one of two windows, whose pairs of items alternate.
static inline int16_t* next_of_two(int16_t* place) {
  return place + (((uintptr_t)place & 2u) ? 3 : 1);
}

/// Widens four items into one of two windows.
static inline void widen_word(int16_t* wide, uint32_t word) {
  const uint32_t even = m3net_even_bytes(word), odd = m3net_odd_bytes(word);
  const uint32_t low = m3net_pack_low(even, odd), high = m3net_pack_high(even, odd);
  M3NET_MEMCPY(wide, &low, sizeof(low));
  M3NET_MEMCPY(wide + 4, &high, sizeof(high));
}

/// As widen, into one of two windows.
static int8_t* widen_of_two(int8_t* patch, const int8_t* items, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  if (((uintptr_t)wide & 2u) && count > 0) {
    *wide = *items++;
    wide += 3;
    --count;
  }
  for (; count >= 8; count -= 8, items += 8, wide += 16) {
    const uint32_t first = m3net_load_word(items), second = m3net_load_word(items + 4);
    widen_word(wide, first);
    widen_word(wide + 8, second);
  }
  if (count >= 4) {
    widen_word(wide, m3net_load_word(items));
    count -= 4;
    items += 4;
    wide += 8;
  }
  for (int32_t i = 0; i < count; ++i) {
    *wide = items[i];
    wide = next_of_two(wide);
  }
  return (int8_t*)wide;
}

static int8_t* fill_of_two(int8_t* patch, int32_t value, int32_t count) {
  int16_t* wide = (int16_t*)(void*)patch;
  for (int32_t i = 0; i < count; ++i) {
    *wide = (int16_t)value;
    wide = next_of_two(wide);
  }
  return (int8_t*)wide;
}

/// Gathers the window of one of two pixels; computes both when both windows are there.
M3NET_INLINE void convolve_of_two(const convolution_state* state, int32_t row, int32_t column,
                                  int8_t* output, int32_t is_second) {
  const m3net_gatherer gatherer = {widen_of_two, fill_of_two, 1, state->layer->padding};
  gather(state, row, column, gatherer, (int8_t*)(state->patch + (is_second ? 2 : 0)));
  if (is_second) {
    convolve_two_pixels(state->layer, state->patch, state->items, *state->first, output);
  } else {
    *state->first = output;
  }
}

#endif

/// Gathers a window and computes its pixel, or leaves it to the next one.
M3NET_INLINE void convolve_window(const void* any_state, int32_t row, int32_t column,
                                  int8_t* output) {
  const convolution_state* state = (const convolution_state*)any_state;
  const m3net_convolution* layer = state->layer;
  const m3net_gatherer gatherer = {widen, fill, 1, layer->padding};
#if M3NET_ENGINE_DSP
  const int32_t pixels = (*state->pixels)--;
  if (layer->pixels == 2 && pixels > 0) {
    convolve_of_two(state, row, column, output, pixels & 1);
    return;
  }
#endif
  gather(state, row, column, gatherer, (int8_t*)state->patch);
#if M3NET_ENGINE_DSP
  if (layer->plain) {
    convolve_plain_pixel(layer, state->patch, state->items, output);
    return;
  }
#endif
  convolve_pixel(layer, state->patch, state->items, output);
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    int8_t* first = output;
    int32_t pixels = (layer->output.rows * layer->output.columns) & ~1;
    const convolution_state state = {
        layer, input + batch * layer->input.batch_step, patch, (items + 3) & ~3, &first, &pixels};
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
