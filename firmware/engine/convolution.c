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

/// Assembly that adds the products of the next four items with the weights of four channels.
#define M3NET_MULTIPLY_FOUR_ITEMS           \
  "ldrd r8, r9, [%[patch]], #8\n\t"         \
  "ldmia %[blocks]!, {r4, r5, r6, r10}\n\t" \
  "smlad %[a], r8, r4, %[a]\n\t"            \
  "smlad %[b], r8, r5, %[b]\n\t"            \
  "smlad %[c], r8, r6, %[c]\n\t"            \
  "smlad %[d], r8, r10, %[d]\n\t"           \
  "ldmia %[blocks]!, {r4, r5, r6, r10}\n\t" \
  "smlad %[a], r9, r4, %[a]\n\t"            \
  "smlad %[b], r9, r5, %[b]\n\t"            \
  "smlad %[c], r9, r6, %[c]\n\t"            \
  "smlad %[d], r9, r10, %[d]\n\t"

/// Adds the products of a patch with the weights of four channels. Each pair of items has four
/// pairs of weights, one for each channel. An iteration takes eight items; four that are left over
/// come first.
static inline m3net_four_sums multiply(const int16_t* patch, int32_t items,
                                       const m3net_block* blocks, m3net_four_sums sums) {
  // Fixed registers: with an FPU, GCC cannot allocate so many operands itself.
  register int32_t a __asm__("r0") = sums.a;
  register int32_t b __asm__("r1") = sums.b;
  register int32_t c __asm__("r2") = sums.c;
  register int32_t d __asm__("r3") = sums.d;
  register const int16_t* from __asm__("r11") = patch;
  register const m3net_block* weights __asm__("r12") = blocks;
  register const int16_t* end __asm__("lr") = patch + items;
  __asm__ volatile(
      "sub r8, %[end], %[patch]\n\t"
      "tst r8, #8\n\t"
      "beq 1f\n\t" M3NET_MULTIPLY_FOUR_ITEMS
      "cmp %[patch], %[end]\n\t"
      "beq 2f\n\t"
      "1:\n\t" M3NET_MULTIPLY_FOUR_ITEMS
      "ldrd r8, r9, [%[patch]], #8\n\t"
      "ldmia %[blocks]!, {r4, r5, r6, r10}\n\t"
      "smlad %[a], r8, r4, %[a]\n\t"
      "smlad %[b], r8, r5, %[b]\n\t"
      "smlad %[c], r8, r6, %[c]\n\t"
      "smlad %[d], r8, r10, %[d]\n\t"
      "ldmia %[blocks]!, {r4, r5, r6, r10}\n\t"
      "cmp %[patch], %[end]\n\t"
      "smlad %[a], r9, r4, %[a]\n\t"
      "smlad %[b], r9, r5, %[b]\n\t"
      "smlad %[c], r9, r6, %[c]\n\t"
      "smlad %[d], r9, r10, %[d]\n\t"
      "bne 1b\n\t"
      "2:\n\t"
      : [patch] "+&r"(from), [blocks] "+&r"(weights), [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c),
        [d] "+&r"(d)
      : [end] "r"(end)
      : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  return (m3net_four_sums){a, b, c, d};
}

#if M3NET_ENGINE_BYTES

/// Assembly that widens the weights of one channel for four items, and adds the products.
#define M3NET_WIDEN_AND_MULTIPLY(sum, word) \
  "sxtb16 r10, " #word                      \
  "\n\t"                                    \
  "sxtb16 " #word ", " #word                \
  ", ror #8\n\t"                            \
  "smlad %[" #sum "], r8, r10, %[" #sum     \
  "]\n\t"                                   \
  "smlad %[" #sum "], r9, " #word ", %[" #sum "]\n\t"

/// As multiply, with weights of bytes. An iteration takes four items; SXTB16 widens a channel's
/// word of weights to two pairs.
static inline m3net_four_sums multiply_bytes(const int16_t* patch, int32_t items,
                                             const m3net_byte_block* blocks, m3net_four_sums sums) {
  register int32_t a __asm__("r0") = sums.a;
  register int32_t b __asm__("r1") = sums.b;
  register int32_t c __asm__("r2") = sums.c;
  register int32_t d __asm__("r3") = sums.d;
  register const int16_t* from __asm__("r11") = patch;
  register const m3net_byte_block* weights __asm__("r12") = blocks;
  register const int16_t* end __asm__("lr") = patch + items;
  __asm__ volatile(
      "1:\n\t"
      "ldrd r8, r9, [%[patch]], #8\n\t"
      "ldrd r4, r5, [%[blocks]], #8\n\t"
      M3NET_WIDEN_AND_MULTIPLY(a, r4) M3NET_WIDEN_AND_MULTIPLY(b, r5)
      "ldrd r4, r5, [%[blocks]], #8\n\t"
      "cmp %[patch], %[end]\n\t"
      M3NET_WIDEN_AND_MULTIPLY(c, r4) M3NET_WIDEN_AND_MULTIPLY(d, r5)
      "bne 1b\n\t"
      : [patch] "+&r"(from), [blocks] "+&r"(weights), [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c),
        [d] "+&r"(d)
      : [end] "r"(end)
      : "r4", "r5", "r8", "r9", "r10", "cc", "memory");
  return (m3net_four_sums){a, b, c, d};
}

#endif

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

#if !M3NET_ENGINE_BYTES
#define multiply_bytes multiply  // one form of weights
#endif

/// All output channels of one pixel. `in_bytes` is a constant, so that each form of weights gets a
/// loop of its own.
M3NET_INLINE void convolve_pixel(const m3net_convolution* layer, const int16_t* patch,
                                 int32_t items, int8_t* output, int32_t in_bytes) {
  const m3net_block* blocks = layer->blocks;
  const m3net_byte_block* byte_blocks = layer->byte_blocks;
  const m3net_channel* channel = layer->channels;
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    const m3net_four_sums biases = m3net_four_biases(channel);
    const m3net_four_sums sums = in_bytes ? multiply_bytes(patch, items, byte_blocks, biases)
                                          : multiply(patch, items, blocks, biases);
    m3net_finish(layer, sums, channel, left, output);
    blocks += items / 2;
    byte_blocks += items / 4;
    channel += 4;
    output += 4;
  }
}

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
  const m3net_gatherer gatherer = {widen, fill, 1, layer->padding};
  int8_t* end = m3net_gather(&layer->input, &layer->window, state->input, row, column, gatherer,
                             (int8_t*)state->patch);
  const int32_t items = (int32_t)((int16_t*)(void*)end - state->patch);
  const int32_t padded = (items + 3) & ~3;
  fill(end, 0, padded - items);
  if (M3NET_ENGINE_BYTES && layer->in_bytes) {
    convolve_pixel(layer, state->patch, padded, output, 1);
  } else {
    convolve_pixel(layer, state->patch, padded, output, 0);
  }
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    const convolution_state state = {layer, input + batch * layer->input.batch_step, patch};
    m3net_for_each_pixel(&layer->output, &layer->window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
  }
}

#endif
