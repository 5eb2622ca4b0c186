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

/// Assembly that writes an output.
#define M3NET_FINISH(sum, channel, place)             \
  M3NET_LOAD_CHANNEL("r7", channel, "r4", "r5", "r6") \
  M3NET_WRITE_OUTPUT(sum, "r9", place, "r4", "r5", "r6", "r8")

/// Computes all channels of a pixel, four at a time, with nine taps.
static void convolve_nine_taps(const m3net_convolution* layer, const int32_t* places,
                               const int8_t* input, int8_t* output) {
  register int32_t a __asm__("r0");
  register int32_t b __asm__("r1");
  register int32_t c __asm__("r2");
  register int32_t d __asm__("r3");
  register const m3net_channel* channel __asm__("r8") = layer->channels;
  register int8_t* to __asm__("r9") = output;
  register int8_t* end __asm__("r10") = output + layer->output.channels;
  register const int32_t* place __asm__("r11") = places;
  register const m3net_tap* taps __asm__("r12") = layer->taps;
  register const int8_t* from __asm__("lr") = input;
  // The stack keeps the output, its end, the places, and r7, which may be the frame pointer.
  __asm__ volatile(
      "push {r7}\n\t"
      "mov r7, r8\n\t"
      "push {r9, r10, r11}\n\t"
      "1:\n\t"
      "ldr %[a], [r7]\n\t"
      "ldr %[b], [r7, #16]\n\t"
      "ldr %[c], [r7, #32]\n\t"
      "ldr %[d], [r7, #48]\n\t"
      "ldr %[place], [sp, #8]\n\t"  //
      M3NET_MULTIPLY_TWO_TAPS M3NET_MULTIPLY_TWO_TAPS M3NET_MULTIPLY_TWO_TAPS
          M3NET_MULTIPLY_TWO_TAPS
      "ldr r6, [%[place]]\n\t"
      "ldr r8, [%[weights]], #8\n\t"
      "ldr r6, [%[input], r6]\n\t"  //
      M3NET_MULTIPLY_TAP(r6, r8)    //
      "ldr r9, [sp]\n\t"            //
      M3NET_FINISH("%[a]", 0, 0) M3NET_FINISH("%[b]", 16, 1) M3NET_FINISH("%[c]", 32, 2)
          M3NET_FINISH("%[d]", 48, 3)
      "add r9, r9, #4\n\t"
      "str r9, [sp]\n\t"
      "ldr r4, [sp, #4]\n\t"
      "add r7, r7, #64\n\t"
      "add %[input], %[input], #4\n\t"
      "cmp r9, r4\n\t"
      "bne 1b\n\t"
      "pop {r9, r10, r11}\n\t"
      "pop {r7}\n\t"
      : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), "+&r"(channel), "+&r"(to),
        "+&r"(end), [place] "+&r"(place), [weights] "+&r"(taps), [input] "+&r"(from)
      :
      : "r4", "r5", "r6", "cc", "memory");
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

/// Computes all channels of one pixel.
static void convolve_pixel(const void* any_parts, int32_t row, int32_t column, int8_t* output) {
  const window_places* parts = (const window_places*)any_parts;
  const m3net_convolution* layer = parts->layer;
  const m3net_tap* weights = layer->taps;
  const m3net_channel* channel = layer->channels;
  const int8_t* input = parts->input;
  place_window(layer, parts, row, column);
#if M3NET_ENGINE_DSP
  if (layer->narrow && layer->full && layer->output.channels % 4 == 0 &&
      layer->window.rows * layer->window.columns == 9) {
    convolve_nine_taps(layer, parts->places, input, output);
    return;
  }
#endif
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
