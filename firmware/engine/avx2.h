// SPDX-License-Identifier: Apache-2.0
// Sums of products with the vector registers of x86 processors. The sums wrap around.
#ifndef M3NET_ENGINE_AVX2_H_
#define M3NET_ENGINE_AVX2_H_

#include "arithmetic.h"
#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_AVX2
#include <immintrin.h>

static inline m3net_four_sums m3net_add_vector(m3net_four_sums sums, __m128i products) {
  sums.a = m3net_sum(sums.a, _mm_extract_epi32(products, 0));
  sums.b = m3net_sum(sums.b, _mm_extract_epi32(products, 1));
  sums.c = m3net_sum(sums.c, _mm_extract_epi32(products, 2));
  sums.d = m3net_sum(sums.d, _mm_extract_epi32(products, 3));
  return sums;
}

/// Adds the products of a window's items, a multiple of four, with the weights of four channels.
static inline m3net_four_sums m3net_multiply_blocks(const int16_t* patch, int32_t items,
                                                    const m3net_block* blocks,
                                                    m3net_four_sums sums) {
  __m256i halves = _mm256_setzero_si256();  // two sums of each channel
  for (; items > 0; items -= M3NET_BLOCK_ITEMS, patch += M3NET_BLOCK_ITEMS, ++blocks) {
    int64_t four;
    M3NET_MEMCPY(&four, patch, sizeof(four));
    const __m256i weights = _mm256_loadu_si256((const __m256i*)(const void*)blocks);
    halves = _mm256_add_epi32(halves, _mm256_madd_epi16(_mm256_set1_epi64x(four), weights));
  }
  const __m256i added = _mm256_hadd_epi32(halves, halves);
  const __m128i ab = _mm256_castsi256_si128(added), cd = _mm256_extracti128_si256(added, 1);
  return m3net_add_vector(sums, _mm_unpacklo_epi64(ab, cd));
}

static inline __m128i m3net_load_four(const int8_t* bytes) {
  int32_t four;
  M3NET_MEMCPY(&four, bytes, sizeof(four));
  return _mm_cvtsi32_si128(four);
}

/// Adds the products of four channels with their taps, an even number, which lie at `places`.
static inline m3net_four_sums m3net_multiply_taps(const int32_t* places, int32_t taps,
                                                  const int8_t* input, const m3net_tap* weights,
                                                  m3net_four_sums sums) {
  __m128i products = _mm_setzero_si128();
  for (; taps > 0; taps -= 2, places += 2, weights += 8) {
    const __m128i items =
        _mm_unpacklo_epi8(m3net_load_four(input + places[0]), m3net_load_four(input + places[1]));
    const __m128i factors =
        _mm_unpacklo_epi8(m3net_load_four(weights), m3net_load_four(weights + 4));
    products = _mm_add_epi32(products,
                             _mm_madd_epi16(_mm_cvtepi8_epi16(items), _mm_cvtepi8_epi16(factors)));
  }
  return m3net_add_vector(sums, products);
}

#endif

#endif  // M3NET_ENGINE_AVX2_H_
