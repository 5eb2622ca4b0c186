// SPDX-License-Identifier: Apache-2.0
// Sums and outputs of eight channels in a vector register of x86 processors. The sums wrap around.
#ifndef M3NET_ENGINE_AVX2_H_
#define M3NET_ENGINE_AVX2_H_

#include "arithmetic.h"
#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_AVX2
#include <immintrin.h>

/// Four channels in the lower half, four in the upper one.
typedef struct {
  __m256i biases, multipliers, offsets, rights;
} m3net_eight_channels;

static inline __m256i m3net_load_two_channels(const m3net_channel* low, const m3net_channel* high) {
  return _mm256_set_m128i(_mm_loadu_si128((const __m128i*)(const void*)high),
                          _mm_loadu_si128((const __m128i*)(const void*)low));
}

static inline m3net_eight_channels m3net_load_eight_channels(const m3net_channel* low,
                                                             const m3net_channel* high) {
  const __m256i a = m3net_load_two_channels(low, high);
  const __m256i b = m3net_load_two_channels(low + 1, high + 1);
  const __m256i c = m3net_load_two_channels(low + 2, high + 2);
  const __m256i d = m3net_load_two_channels(low + 3, high + 3);
  const __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
  const __m256i upper_ab = _mm256_unpackhi_epi32(a, b), upper_cd = _mm256_unpackhi_epi32(c, d);
  // A channel's last word has both shifts.
  const __m256i shifts = _mm256_unpackhi_epi64(upper_ab, upper_cd);
  return (m3net_eight_channels){_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd),
                                _mm256_unpacklo_epi64(upper_ab, upper_cd),
                                _mm256_srai_epi32(shifts, 16)};
}

/// The rounded upper words of the products of four 32-bit numbers at even places.
static inline __m256i m3net_round_products(__m256i a, __m256i b) {
  const __m256i half = _mm256_set1_epi64x(0x80000000);
  return _mm256_add_epi64(_mm256_mul_epi32(a, b), half);
}

/// As m3net_requantize_narrow, clamped.
static inline __m256i m3net_eight_outputs(const m3net_convolution* layer, __m256i sums,
                                          const m3net_eight_channels* channels) {
  const __m256i doubled = _mm256_slli_epi32(sums, 1);
  const __m256i even = m3net_round_products(doubled, channels->multipliers);
  const __m256i odd = m3net_round_products(_mm256_srli_epi64(doubled, 32),
                                           _mm256_srli_epi64(channels->multipliers, 32));
  const __m256i products = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  const __m256i shifted =
      _mm256_add_epi32(_mm256_add_epi32(products, channels->offsets), _mm256_srai_epi32(sums, 31));
  const __m256i values = _mm256_srav_epi32(shifted, channels->rights);
  const __m256i least = _mm256_set1_epi32(layer->minimum);
  return _mm256_min_epi32(_mm256_max_epi32(values, least), _mm256_set1_epi32(layer->maximum));
}

/// Writes the outputs of up to eight channels. `sums` do not have the biases.
static inline void m3net_finish_eight(const m3net_convolution* layer, __m256i sums,
                                      const m3net_eight_channels* channels,
                                      const m3net_channel* channel, int32_t count, int8_t* output) {
  sums = _mm256_add_epi32(sums, channels->biases);
  if (!layer->narrow) {
    int32_t each[8];
    M3NET_MEMCPY(each, &sums, sizeof(each));
    const m3net_four_sums low = {each[0], each[1], each[2], each[3]};
    const m3net_four_sums high = {each[4], each[5], each[6], each[7]};
    m3net_finish_any(layer, low, channel, count, output);
    m3net_finish_any(layer, high, channel + 4, count - 4, output + 4);
    return;
  }
  const __m256i values = m3net_eight_outputs(layer, sums, channels);
  const __m256i words = _mm256_packs_epi32(values, values);
  const __m256i bytes = _mm256_packs_epi16(words, words);
  const int32_t low = _mm256_cvtsi256_si32(bytes);
  const int32_t high = _mm_cvtsi128_si32(_mm256_extracti128_si256(bytes, 1));
  if (count >= 8) {
    M3NET_MEMCPY(output, &low, sizeof(low));
    M3NET_MEMCPY(output + 4, &high, sizeof(high));
    return;
  }
  const int64_t both = (int64_t)(((uint64_t)(uint32_t)high << 32) | (uint32_t)low);
  for (int32_t i = 0; i < count; ++i) {
    output[i] = (int8_t)(both >> (8 * i));
  }
}

#endif

#endif  // M3NET_ENGINE_AVX2_H_
