// SPDX-License-Identifier: Apache-2.0
// Convolution for RISC-V of 32 bits: the windows of two pixels are gathered, and four output
// channels at a time multiply both with their weights, which are loaded once. One product
// multiplies an item with the weights of two channels.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if M3NET_ENGINE_RV32

/// Makes the sums of the products of two items positive, both in 16 bits: they are between
/// -2 * 127 * 128 and 2 * 128 * 128.
#define OFFSET 0x7FFFu
#define BOTH_OFFSETS (OFFSET << M3NET_LANE_BITS | OFFSET)

/// Sums of two channels. `both` is the lower channel's sum plus 2^16 times the upper one's, modulo
/// 2^32; `upper` is the upper one's. Their difference gives the lower one.
typedef struct {
  uint32_t both, upper;
} two_sums;

/// Sums of four channels for one pixel.
typedef struct {
  two_sums ab, cd;
} pixel_sums;

/// Adds the products of two items with the weights of two channels, and an offset to each channel.
M3NET_INLINE void add_products(two_sums* sums, int32_t first_weights, int32_t first,
                               int32_t second_weights, int32_t second) {
#if defined(__riscv)
  uint32_t products, upper;  // assembly, because compilers move parts of sums and need more moves
  __asm__ volatile(
      "mul %[products], %[first_weights], %[first]\n\t"
      "mul %[upper], %[second_weights], %[second]\n\t"
      "add %[products], %[products], %[offsets]\n\t"
      "add %[products], %[products], %[upper]\n\t"
      "srli %[upper], %[products], 16\n\t"
      "add %[both], %[both], %[products]\n\t"
      "add %[sum], %[sum], %[upper]\n\t"
      : [both] "+r"(sums->both), [sum] "+r"(sums->upper), [products] "=&r"(products),
        [upper] "=&r"(upper)
      : [first_weights] "r"(first_weights), [first] "r"(first),
        [second_weights] "r"(second_weights), [second] "r"(second), [offsets] "r"(BOTH_OFFSETS));
#else
  const uint32_t products = (uint32_t)first_weights * (uint32_t)first +
                            (uint32_t)second_weights * (uint32_t)second + BOTH_OFFSETS;
  sums->both += products;
  sums->upper += products >> M3NET_LANE_BITS;
#endif
}

/// Adds the products of two items of a pixel with the weights of four channels.
M3NET_INLINE void add_two_items(pixel_sums* sums, const m3net_block* block, const int8_t* items) {
  const int32_t first = items[0], second = items[1];
  add_products(&sums->ab, block->lanes[0], first, block->lanes[2], second);
  add_products(&sums->cd, block->lanes[1], first, block->lanes[3], second);
}

/// Keeps compilers from loading all operands first, for which registers are missing.
#if defined(__GNUC__)
#define M3NET_LOAD_LATER __asm__ volatile("" ::: "memory")
#else
#define M3NET_LOAD_LATER
#endif

/// Adds the products of a pixel's items with the weights of four channels. It is not inlined, so
/// that its sums get registers.
static __attribute__((noinline)) void multiply(const int8_t* patch, const int8_t* end,
                                               const m3net_block* blocks, pixel_sums* sums) {
  pixel_sums first = {{0, 0}, {0, 0}};
  for (; patch != end; patch += 4, blocks += 2) {
    add_two_items(&first, &blocks[0], patch);
    add_two_items(&first, &blocks[1], patch + 2);
  }
  *sums = first;
}

/// As multiply, for two pixels whose patches lie side by side.
static __attribute__((noinline)) void multiply_two(const int8_t* patch, const int8_t* end,
                                                   const m3net_block* blocks, pixel_sums* sums) {
  pixel_sums first = {{0, 0}, {0, 0}}, second = {{0, 0}, {0, 0}};
  for (const int8_t* other = end; patch != end; patch += 4, other += 4, blocks += 2) {
    add_two_items(&first, &blocks[0], patch);
    add_two_items(&second, &blocks[0], other);
    M3NET_LOAD_LATER;
    add_two_items(&first, &blocks[1], patch + 2);
    add_two_items(&second, &blocks[1], other + 2);
  }
  sums[0] = first;
  sums[1] = second;
}

/// The sums of the channels with their biases. `offset` is the sum of all offsets of a channel.
M3NET_INLINE m3net_four_sums unpacked(pixel_sums sums, const m3net_channel* channel,
                                      uint32_t offset) {
  const uint32_t a = sums.ab.both - (sums.ab.upper << M3NET_LANE_BITS) - offset;
  const uint32_t b = sums.ab.upper - offset;
  const uint32_t c = sums.cd.both - (sums.cd.upper << M3NET_LANE_BITS) - offset;
  const uint32_t d = sums.cd.upper - offset;
  return (m3net_four_sums){
      m3net_sum((int32_t)a, channel[0].bias), m3net_sum((int32_t)b, channel[1].bias),
      m3net_sum((int32_t)c, channel[2].bias), m3net_sum((int32_t)d, channel[3].bias)};
}

/// Copies items, whole words where both sides are aligned.
static int8_t* copy(int8_t* patch, const int8_t* items, int32_t count) {
  if ((((uintptr_t)patch | (uintptr_t)items) & 3u) == 0u) {
    for (; count >= 4; count -= 4, items += 4, patch += 4) {
      M3NET_MEMCPY(M3NET_WORDS(patch), M3NET_WORDS(items), 4);
    }
  }
  for (; count >= 4; count -= 4, items += 4, patch += 4) {
    patch[0] = items[0];
    patch[1] = items[1];
    patch[2] = items[2];
    patch[3] = items[3];
  }
  for (; count > 0; --count) {
    *patch++ = *items++;
  }
  return patch;
}

static int8_t* fill(int8_t* patch, int32_t value, int32_t count) {
  for (; count > 0; --count) {
    *patch++ = (int8_t)value;
  }
  return patch;
}

/// A layer with the pixels whose windows were gathered and that are not computed yet.
typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int8_t* patch;  ///< Two windows, side by side.
  int8_t* outputs[2];
  int32_t items;  ///< Of a window, rounded up to a multiple of four.
  int32_t gathered;
} pixels_at_once;

typedef struct {
  pixels_at_once* pixels;
} convolution_state;

/// All output channels of the pixels that were gathered.
static void convolve_pixels(pixels_at_once* pixels) {
  const m3net_convolution* layer = pixels->layer;
  const m3net_block* blocks = layer->blocks;
  const m3net_channel* channel = layer->channels;
  const int8_t *patch = pixels->patch, *end = patch + pixels->items;
  const uint32_t offset = (uint32_t)(pixels->items / 2) * OFFSET;
  for (int32_t done = 0; done < layer->output.channels; done += 4) {
    const int32_t left = layer->output.channels - done;
    pixel_sums sums[2];
    if (pixels->gathered == 2) {
      multiply_two(patch, end, blocks, sums);
      m3net_finish_two(layer, unpacked(sums[0], channel, offset),
                       unpacked(sums[1], channel, offset), channel, left, pixels->outputs[0] + done,
                       pixels->outputs[1] + done);
    } else {
      multiply(patch, end, blocks, sums);
      m3net_finish(layer, unpacked(sums[0], channel, offset), channel, left,
                   pixels->outputs[0] + done);
    }
    blocks += pixels->items / 2;
    channel += 4;
  }
  pixels->gathered = 0;
}

/// Gathers a window, with zeros up to a multiple of four items; computes two pixels at once.
static void convolve_window(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  pixels_at_once* pixels = ((const convolution_state*)any_state)->pixels;
  const m3net_convolution* layer = pixels->layer;
  const m3net_gatherer gatherer = {copy, fill, 1, layer->padding};
  int8_t* start = pixels->patch + pixels->gathered * pixels->items;
  int8_t* end =
      m3net_gather(&layer->input, &layer->window, pixels->input, row, column, gatherer, start);
  const int32_t items = (int32_t)(end - start);
  pixels->items = (items + 3) & ~3;
  (void)fill(end, 0, pixels->items - items);
  pixels->outputs[pixels->gathered++] = output;
  if (pixels->gathered == 2) {
    convolve_pixels(pixels);
  }
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  pixels_at_once pixels = {layer, input, (int8_t*)patch, {output, output}, 0, 0};
  const convolution_state state = {&pixels};
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    m3net_for_each_pixel(&layer->output, &layer->window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
    pixels.input += layer->input.batch_step;
  }
  if (pixels.gathered > 0) {
    convolve_pixels(&pixels);
  }
}

#endif
