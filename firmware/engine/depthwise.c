// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution: each output pixel lists the places of its window's pixels, then sums four
// channels at a time over all of them. A pixel of zero points stands for those outside the image.
#include "arithmetic.h"
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

/// Adds the products of four channels with all taps. Each pair of taps has four pairs of weights,
/// in the order of channels 0, 2, 1 and 3, because SXTB16 widens every other byte.
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
  __asm__ volatile(
      "ldrd r4, r5, [%[place]], #8\n\t"
      "1:\n\t"
      "ldr r4, [%[input], r4]\n\t"
      "ldr r5, [%[input], r5]\n\t"
      "sxtb16 r6, r4\n\t"
      "sxtb16 r8, r5\n\t"
      "pkhbt r9, r6, r8, lsl #16\n\t"
      "pkhtb r8, r8, r6, asr #16\n\t"
      "ldrd r6, r10, [%[weights]], #8\n\t"
      "smlad %[a], r9, r6, %[a]\n\t"
      "smlad %[c], r8, r10, %[c]\n\t"
      "sxtb16 r4, r4, ror #8\n\t"
      "sxtb16 r5, r5, ror #8\n\t"
      "ldrd r6, r10, [%[weights]], #8\n\t"
      "pkhbt r9, r4, r5, lsl #16\n\t"
      "pkhtb r8, r5, r4, asr #16\n\t"
      "ldrd r4, r5, [%[place]], #8\n\t"
      "smlad %[b], r9, r6, %[b]\n\t"
      "smlad %[d], r8, r10, %[d]\n\t"
      "cmp r4, #0x80000000\n\t"
      "bne 1b\n\t"
      : [place] "+&r"(place), [weights] "+&r"(taps), [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c),
        [d] "+&r"(d)
      : [input] "r"(from)
      : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
  return (m3net_four_sums){a, b, c, d};
}

#elif defined(__ARM_ARCH_7M__) && defined(__thumb2__)

/// Adds the products of four channels with all taps, in the order of the weights above.
static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  const int32_t* place = parts->places;
  __asm__ volatile(
      "ldrd r4, r5, [%[place]], #8\n\t"
      "1:\n\t"
      "add r4, %[input]\n\t"
      "add r5, %[input]\n\t"
      "ldrsb r6, [r4, #0]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[a], r6, r8, %[a]\n\t"
      "ldrsb r6, [r5, #0]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[a], r6, r8, %[a]\n\t"
      "ldrsb r6, [r4, #2]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[c], r6, r8, %[c]\n\t"
      "ldrsb r6, [r5, #2]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[c], r6, r8, %[c]\n\t"
      "ldrsb r6, [r4, #1]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[b], r6, r8, %[b]\n\t"
      "ldrsb r6, [r5, #1]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[b], r6, r8, %[b]\n\t"
      "ldrsb r6, [r4, #3]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[d], r6, r8, %[d]\n\t"
      "ldrsb r6, [r5, #3]\n\t"
      "ldrsb r8, [%[weights]], #1\n\t"
      "mla %[d], r6, r8, %[d]\n\t"
      "ldrd r4, r5, [%[place]], #8\n\t"
      "cmp r4, #0x80000000\n\t"
      "bne 1b\n\t"
      : [place] "+&r"(place), [weights] "+&r"(weights), [a] "+&r"(sums.a), [b] "+&r"(sums.b),
        [c] "+&r"(sums.c), [d] "+&r"(sums.d)
      : [input] "r"(input)
      : "r4", "r5", "r6", "r8", "cc", "memory");
  return sums;
}

#else

static inline m3net_four_sums multiply(const window_places* parts, const int8_t* input,
                                       const m3net_tap* weights, m3net_four_sums sums) {
  for (int32_t tap = 0; tap < parts->taps; tap += 2, weights += 8) {
    const int8_t* first = input + parts->places[tap];
    const int8_t* second = input + parts->places[tap + 1];
    sums.a = m3net_sum(m3net_sum(sums.a, first[0] * weights[0]), second[0] * weights[1]);
    sums.c = m3net_sum(m3net_sum(sums.c, first[2] * weights[2]), second[2] * weights[3]);
    sums.b = m3net_sum(m3net_sum(sums.b, first[1] * weights[4]), second[1] * weights[5]);
    sums.d = m3net_sum(m3net_sum(sums.d, first[3] * weights[6]), second[3] * weights[7]);
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
  for (int32_t left = layer->output.channels; left > 0; left -= 4) {
    m3net_finish(layer, multiply(parts, input, weights, m3net_four_biases(channel)), channel, left,
                 output);
    weights += 4 * parts->taps;
    channel += 4;
    input += 4;
    output += 4;
  }
}

void m3net_convolve_depthwise(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                              int32_t* scratch) {
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
