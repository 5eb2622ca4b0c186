// SPDX-License-Identifier: Apache-2.0
// Convolution for x86 processors with AVX2: the windows of up to four pixels are gathered, and
// several times four output channels multiply all of them with their weights, which are loaded
// once.
#include "arithmetic.h"
#include "avx2.h"
#include "engine.h"
#include "memory.h"
#include "pixels.h"

#if M3NET_ENGINE_AVX2

enum {
  MOST_PIXELS = 4,
  MOST_GROUPS = 4,  // of four channels
  MOST_SUMS = 8     // vector registers
};

/// Widens items to 16 bits.
static int8_t* widen(int8_t* patch, const int8_t* items, int32_t count) {
  int8_t* const end = patch + 2 * count;
  for (; count >= 16; count -= 16, items += 16, patch += 32) {
    const __m128i bytes = _mm_loadu_si128((const __m128i*)(const void*)items);
    _mm256_storeu_si256((__m256i*)(void*)patch, _mm256_cvtepi8_epi16(bytes));
  }
  for (; count >= 4; count -= 4, items += 4, patch += 8) {
    int32_t four;
    M3NET_MEMCPY(&four, items, sizeof(four));
    const int64_t wide = _mm_cvtsi128_si64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four)));
    M3NET_MEMCPY(patch, &wide, sizeof(wide));
  }
  for (; count > 0; --count, ++items, patch += 2) {
    const int16_t item = *items;
    M3NET_MEMCPY(patch, &item, sizeof(item));
  }
  return end;
}

static int8_t* fill(int8_t* patch, int32_t value, int32_t count) {
  const int16_t item = (int16_t)value;
  const __m256i items = _mm256_set1_epi16(item);
  for (; count >= 16; count -= 16, patch += 32) {
    _mm256_storeu_si256((__m256i*)(void*)patch, items);
  }
  for (; count > 0; --count, patch += 2) {
    M3NET_MEMCPY(patch, &item, sizeof(item));
  }
  return patch;
}

/// A layer with the pixels whose windows were gathered and that are not computed yet.
typedef struct {
  const m3net_convolution* layer;
  const int8_t* input;
  int16_t* patch;  ///< The windows, one after the other.
  int8_t* outputs[MOST_PIXELS];
  int32_t items;  ///< Of a window, rounded up to a multiple of four.
  int32_t most;   ///< Pixels for which the patch has room.
  int32_t gathered;
} pixels_at_once;

typedef struct {
  pixels_at_once* pixels;
} convolution_state;

/// Sums the products of some pixels with groups of four channels. A register has two sums of each
/// channel. Both numbers are constants where this is inlined.
M3NET_INLINE void multiply(const int16_t* patch, int32_t items, int32_t pixels, int32_t groups,
                           const m3net_block* blocks, __m256i* sums) {
  const int32_t blocks_of_group = items / M3NET_BLOCK_ITEMS;
  __m256i added[MOST_SUMS];
  for (int32_t i = 0; i < pixels * groups; ++i) {
    added[i] = _mm256_setzero_si256();
  }
  for (int32_t left = blocks_of_group; left > 0; --left, patch += M3NET_BLOCK_ITEMS, ++blocks) {
    __m256i weights[MOST_GROUPS];
    for (int32_t group = 0; group < groups; ++group) {
      const m3net_block* block = blocks + group * blocks_of_group;
      weights[group] = _mm256_loadu_si256((const __m256i*)(const void*)block);
      if (pixels > 1) {
        __asm__("" : "+x"(weights[group]));  // else GCC loads them again for each pixel
      }
    }
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
      int64_t four;
      M3NET_MEMCPY(&four, patch + pixel * items, sizeof(four));
      const __m256i inputs = _mm256_set1_epi64x(four);
      for (int32_t group = 0; group < groups; ++group) {
        __m256i* sum = added + pixel * groups + group;
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(inputs, weights[group]));
      }
    }
  }
  for (int32_t i = 0; i < pixels * groups; ++i) {
    sums[i] = added[i];
  }
}

/// Computes some groups of channels, the first of which has the number `done`, of some pixels.
M3NET_INLINE void convolve_groups(const pixels_at_once* state, int32_t done, int32_t pixels,
                                  int32_t groups) {
  const m3net_convolution* layer = state->layer;
  const m3net_channel* channels = layer->channels + done;
  const m3net_block* blocks = layer->blocks + done / 4 * (state->items / M3NET_BLOCK_ITEMS);
  __m256i sums[MOST_SUMS];
  multiply(state->patch, state->items, pixels, groups, blocks, sums);
  for (int32_t group = 0; group < groups; group += 2) {
    const int32_t two = group + 1 < groups;
    const m3net_channel* low = channels + 4 * group;
    const m3net_eight_channels eight = m3net_load_eight_channels(low, two ? low + 4 : low);
    const int32_t left = layer->output.channels - done - 4 * group;
    const int32_t count = two || left < 4 ? left : 4;
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
      const __m256i* sum = sums + pixel * groups + group;
      const __m256i added = _mm256_hadd_epi32(sum[0], sum[two]);
      m3net_finish_eight(layer, _mm256_permute4x64_epi64(added, 0xd8), &eight, low, count,
                         state->outputs[pixel] + done + 4 * group);
    }
  }
}

/// Computes all channels of some pixels, `most` groups at a time.
M3NET_INLINE void convolve_channels(const pixels_at_once* state, int32_t pixels, int32_t most) {
  const int32_t channels = state->layer->output.channels;
  int32_t done = 0;
  for (; channels - done > 4 * (most - 1); done += 4 * most) {
    convolve_groups(state, done, pixels, most);
  }
  for (; most > 2 && channels - done > 4; done += 8) {
    convolve_groups(state, done, pixels, 2);
  }
  if (done < channels) {
    convolve_groups(state, done, pixels, 1);
  }
}

/// Computes the pixels that were gathered.
M3NET_SEPARATE void convolve_pixels(pixels_at_once* state) {
  switch (state->gathered) {
    case 4:
      convolve_channels(state, 4, 2);
      break;
    case 3:
      convolve_channels(state, 3, 2);
      break;
    case 2:
      convolve_channels(state, 2, 4);
      break;
    default:
      convolve_channels(state, 1, 4);
      break;
  }
  state->gathered = 0;
}

/// Gathers a window, with zeros up to a multiple of four items.
static void convolve_window(const void* any_state, int32_t row, int32_t column, int8_t* output) {
  pixels_at_once* state = ((const convolution_state*)any_state)->pixels;
  const m3net_convolution* layer = state->layer;
  const m3net_gatherer gatherer = {widen, fill, 1, layer->padding};
  int8_t* patch = (int8_t*)(state->patch + state->gathered * state->items);
  int8_t* end =
      m3net_gather(&layer->input, &layer->window, state->input, row, column, gatherer, patch);
  (void)fill(end, 0, (int32_t)(state->items - (end - patch) / 2));
  state->outputs[state->gathered++] = output;
  if (state->gathered == state->most) {
    convolve_pixels(state);
  }
}

void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch) {
  const m3net_window* window = &layer->window;
  const int32_t items = window->rows * window->columns * layer->input.channels;
  // Where two are computed together on other cores, the patch has room for one.
  const int32_t most = layer->pixels > 2 ? layer->pixels : 1;
  pixels_at_once pixels = {layer, input, patch, {output}, (items + 3) & ~3, most, 0};
  const convolution_state state = {&pixels};
  for (int32_t batch = 0; batch < layer->batches; ++batch) {
    m3net_for_each_pixel(&layer->output, window, output + batch * layer->output.batch_step,
                         convolve_window, &state);
    pixels.input += layer->input.batch_step;
  }
  if (pixels.gathered > 0) {
    convolve_pixels(&pixels);
  }
}

#endif
