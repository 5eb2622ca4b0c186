// SPDX-License-Identifier: Apache-2.0
// The order of weights in flash. Generated C lists the weights of four channels, a to d, for up to
// 16 items; these macros put them in the order that the target's code path reads.
#ifndef M3NET_ENGINE_WEIGHTS_H_
#define M3NET_ENGINE_WEIGHTS_H_

#include <stdint.h>

// Unnamed unions, assertions and alignment are of C11; compilers with the extensions of GNU have
// them in C99, too.
#if defined(__GNUC__)
#define M3NET_EXTENSION __extension__
#else
#define M3NET_EXTENSION
#endif
/// Kernels load weights by the word.
#if defined(__STDC_VERSION__) && __STDC_VERSION__ < 201112L
#define M3NET_WORD_ALIGNED __attribute__((aligned(4)))
#else
#define M3NET_WORD_ALIGNED _Alignas(4)
#endif
/// 16 bytes that a kernel reads then lie in one line of a flash with lines of 16 bytes.
#if defined(__STDC_VERSION__) && __STDC_VERSION__ < 201112L
#define M3NET_LINE_ALIGNED __attribute__((aligned(16)))
#else
#define M3NET_LINE_ALIGNED _Alignas(16)
#endif
/// Before an array that the C runtime copies from flash into RAM before main(), like other
/// initialised variables.
#if defined(__GNUC__) && defined(__ELF__)
#define M3NET_IN_RAM __attribute__((section(".data.m3net_weights")))
#else
#define M3NET_IN_RAM
#endif

// Armv7E-M multiplies two pairs of 16-bit numbers at once (SMLAD).
#if !defined(M3NET_ENGINE_DSP)
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#define M3NET_ENGINE_DSP 1
#else
#define M3NET_ENGINE_DSP 0
#endif
#endif

// Helium multiplies 16 pairs of bytes at once (VMLADAVA).
#if !defined(M3NET_ENGINE_HELIUM)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define M3NET_ENGINE_HELIUM 1
#else
#define M3NET_ENGINE_HELIUM 0
#endif
#endif

// RISC-V of 32 bits has no multiply-accumulate, and its product of 64 bits is two instructions: one
// product of 32 bits multiplies an input with the weights of two channels.
#if !defined(M3NET_ENGINE_RV32)
#if defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul)
#define M3NET_ENGINE_RV32 1
#else
#define M3NET_ENGINE_RV32 0
#endif
#endif

// AVX2 multiplies 16 pairs of 16-bit numbers at once and adds neighbours (VPMADDWD).
#if !defined(M3NET_ENGINE_AVX2)
#if defined(__AVX2__)
#define M3NET_ENGINE_AVX2 1
#else
#define M3NET_ENGINE_AVX2 0
#endif
#endif

// Constants of layers that are `brief` (m3net_tf/compiler/brief.py).
#define M3NET_ENGINE_BRIEF (M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM)

// Winograd's convolution (winograd.c) needs SMLAD; Helium's products of bytes are faster.
#if M3NET_ENGINE_BRIEF
#define M3NET_ENGINE_WINOGRAD 1
#elif !defined(M3NET_ENGINE_WINOGRAD)
#define M3NET_ENGINE_WINOGRAD 0
#endif

/// Weights of a depthwise convolution, tap by tap, four channels each.
typedef int8_t m3net_tap;
#define M3NET_TAPS(a0, a1, b0, b1, c0, c1, d0, d1) a0, b0, c0, d0, a1, b1, c1, d1

/// Weights of 3 x 3 taps and a zero, of a layer whose lines are computed channel by channel. With
/// the DSP extension each channel has a word for each column of its window, for lines along rows
/// for each row: the bytes 0 and 2 are its first two weights, 1 and 3 the third one or the next
/// column's.
typedef m3net_tap m3net_column_tap;
typedef m3net_tap m3net_row_tap;
#if M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM
#define M3NET_COLUMNS(w0, w1, w2, w3, w4, w5, w6, w7, w8) \
  w0, w6, w3, w7, w1, w7, w4, 0, w2, w8, w5, w8
#define M3NET_COLUMN_TAPS(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, \
                          b8, b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, d0, d1, d2, d3, d4, d5, \
                          d6, d7, d8, d9)                                                         \
  M3NET_COLUMNS(a0, a1, a2, a3, a4, a5, a6, a7, a8),                                              \
      M3NET_COLUMNS(b0, b1, b2, b3, b4, b5, b6, b7, b8),                                          \
      M3NET_COLUMNS(c0, c1, c2, c3, c4, c5, c6, c7, c8),                                          \
      M3NET_COLUMNS(d0, d1, d2, d3, d4, d5, d6, d7, d8)
#define M3NET_ROW_TAPS(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, \
                       b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, d0, d1, d2, d3, d4, d5, d6, d7, \
                       d8, d9)                                                                     \
  M3NET_COLUMNS(a0, a3, a6, a1, a4, a7, a2, a5, a8),                                               \
      M3NET_COLUMNS(b0, b3, b6, b1, b4, b7, b2, b5, b8),                                           \
      M3NET_COLUMNS(c0, c3, c6, c1, c4, c7, c2, c5, c8),                                           \
      M3NET_COLUMNS(d0, d3, d6, d1, d4, d7, d2, d5, d8)
#else
#define M3NET_COLUMN_TAPS(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, \
                          b8, b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, d0, d1, d2, d3, d4, d5, \
                          d6, d7, d8, d9)                                                         \
  M3NET_TAPS(a0, a1, b0, b1, c0, c1, d0, d1), M3NET_TAPS(a2, a3, b2, b3, c2, c3, d2, d3),         \
      M3NET_TAPS(a4, a5, b4, b5, c4, c5, d4, d5), M3NET_TAPS(a6, a7, b6, b7, c6, c7, d6, d7),     \
      M3NET_TAPS(a8, a9, b8, b9, c8, c9, d8, d9)
#define M3NET_ROW_TAPS(...) M3NET_COLUMN_TAPS(__VA_ARGS__)
#endif

#if M3NET_ENGINE_HELIUM

/// Bytes of a vector register.
#define M3NET_VECTOR_BYTES 16

#define M3NET_ZEROS_4 0, 0, 0, 0
#define M3NET_ZEROS_8 M3NET_ZEROS_4, M3NET_ZEROS_4
#define M3NET_ZEROS_12 M3NET_ZEROS_8, M3NET_ZEROS_4

/// Weights of four channels for 16 items, channel by channel; weights of missing items are zero.
typedef struct {
  int8_t items[4 * M3NET_VECTOR_BYTES];
} m3net_block;
#define M3NET_BLOCKS_4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
  {                                                                                    \
    {                                                                                  \
      a0, a1, a2, a3, M3NET_ZEROS_12, b0, b1, b2, b3, M3NET_ZEROS_12, c0, c1, c2, c3,  \
          M3NET_ZEROS_12, d0, d1, d2, d3, M3NET_ZEROS_12                               \
    }                                                                                  \
  }
#define M3NET_BLOCKS_8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
  {                                                                                                \
    {                                                                                              \
      a0, a1, a2, a3, a4, a5, a6, a7, M3NET_ZEROS_8, b0, b1, b2, b3, b4, b5, b6, b7,               \
          M3NET_ZEROS_8, c0, c1, c2, c3, c4, c5, c6, c7, M3NET_ZEROS_8, d0, d1, d2, d3, d4, d5,    \
          d6, d7, M3NET_ZEROS_8                                                                    \
    }                                                                                              \
  }
#define M3NET_BLOCKS_12(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, b0, b1, b2, b3, b4, b5,  \
                        b6, b7, b8, b9, b10, b11, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10,     \
                        c11, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11)                     \
  {                                                                                                \
    {                                                                                              \
      a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, M3NET_ZEROS_4, b0, b1, b2, b3, b4, b5, b6, \
          b7, b8, b9, b10, b11, M3NET_ZEROS_4, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11,   \
          M3NET_ZEROS_4, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, M3NET_ZEROS_4           \
    }                                                                                              \
  }
#define M3NET_BLOCKS_16(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, b0,  \
                        b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, c0, c1,  \
                        c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, d0, d1, d2,  \
                        d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15)                  \
  {                                                                                                \
    {                                                                                              \
      a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, b0, b1, b2, b3, b4,    \
          b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, c0, c1, c2, c3, c4, c5, c6, c7, c8,    \
          c9, c10, c11, c12, c13, c14, c15, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, \
          d13, d14, d15                                                                            \
    }                                                                                              \
  }

/// After the weights of depthwise convolutions: vector loads read beyond the last tap.
#define M3NET_TAPS_END M3NET_ZEROS_12, M3NET_ZEROS_12, M3NET_ZEROS_12, M3NET_ZEROS_12, M3NET_ZEROS_8

#elif M3NET_ENGINE_AVX2

/// Weights of four channels for four items, channel by channel: a vector register.
#define M3NET_BLOCK_ITEMS 4
typedef struct {
  int16_t items[16];
} m3net_block;
#define M3NET_BLOCKS_4(...) \
  {                         \
    { __VA_ARGS__ }         \
  }

#else

/// Weights of four channels for two items. With the DSP extension a number of 16 bits holds two
/// channels' weights: SMLAD sums the products with both, and with the lower one, which SXTB16 takes
/// out. Elsewhere a number of 32 bits holds two, which one long product multiplies.
#define M3NET_BLOCK_ITEMS 2
#if M3NET_ENGINE_DSP
#define M3NET_TWIN_BITS 8
/// So many products of the upper one fit its sum of 24 bits: 16 more than a multiple of 32.
#define M3NET_TWIN_ITEMS 496
#define M3NET_TWIN(low, high) ((low) + (high) * (1 << M3NET_TWIN_BITS))
typedef struct {
  int16_t twins[4];
} m3net_block;
#define M3NET_BLOCK(a0, a1, b0, b1, c0, c1, d0, d1)                                    \
  {                                                                                    \
    { M3NET_TWIN(a0, b0), M3NET_TWIN(a1, b1), M3NET_TWIN(c0, d0), M3NET_TWIN(c1, d1) } \
  }
/// Pairs of items as SXTB16 makes them of a word.
#define M3NET_BLOCKS_4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
  M3NET_BLOCK(a0, a2, b0, b2, c0, c2, d0, d2), M3NET_BLOCK(a1, a3, b1, b3, c1, c3, d1, d3)
#else
/// Distance in bits of two channels' sums in one number. The lower one can hold M3NET_LANE_ITEMS
/// products, on RISC-V two.
#if M3NET_ENGINE_RV32
#define M3NET_LANE_BITS 16
#else
#define M3NET_LANE_BITS 23
#define M3NET_LANE_ITEMS 252
#endif
typedef struct {
  int32_t lanes[4];
} m3net_block;
#define M3NET_LANES(low, high) ((low) + (high) * (1 << M3NET_LANE_BITS))
#define M3NET_BLOCK(a0, a1, b0, b1, c0, c1, d0, d1)                                        \
  {                                                                                        \
    { M3NET_LANES(a0, b0), M3NET_LANES(c0, d0), M3NET_LANES(a1, b1), M3NET_LANES(c1, d1) } \
  }
#define M3NET_BLOCKS_4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
  M3NET_BLOCK(a0, a1, b0, b1, c0, c1, d0, d1), M3NET_BLOCK(a2, a3, b2, b3, c2, c3, d2, d3)
#endif

#endif

#if !M3NET_ENGINE_HELIUM

#define M3NET_SPLIT_8(BLOCKS_4, a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, \
                      c0, c1, c2, c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)           \
  BLOCKS_4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3),                     \
      BLOCKS_4(a4, a5, a6, a7, b4, b5, b6, b7, c4, c5, c6, c7, d4, d5, d6, d7)
#define M3NET_SPLIT_12(BLOCKS_4, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, b0, b1, b2, b3, \
                       b4, b5, b6, b7, b8, b9, b10, b11, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9,   \
                       c10, c11, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11)                 \
  M3NET_SPLIT_8(BLOCKS_4, a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1,  \
                c2, c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7),                           \
      BLOCKS_4(a8, a9, a10, a11, b8, b9, b10, b11, c8, c9, c10, c11, d8, d9, d10, d11)
#define M3NET_SPLIT_16(BLOCKS_4, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, \
                       a15, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, \
                       c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, d0,  \
                       d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15)          \
  M3NET_SPLIT_8(BLOCKS_4, a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, \
                c2, c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7),                          \
      M3NET_SPLIT_8(BLOCKS_4, a8, a9, a10, a11, a12, a13, a14, a15, b8, b9, b10, b11, b12, b13,   \
                    b14, b15, c8, c9, c10, c11, c12, c13, c14, c15, d8, d9, d10, d11, d12, d13,   \
                    d14, d15)
#define M3NET_BLOCKS_8(...) M3NET_SPLIT_8(M3NET_BLOCKS_4, __VA_ARGS__)
#define M3NET_BLOCKS_12(...) M3NET_SPLIT_12(M3NET_BLOCKS_4, __VA_ARGS__)
#define M3NET_BLOCKS_16(...) M3NET_SPLIT_16(M3NET_BLOCKS_4, __VA_ARGS__)

#define M3NET_TAPS_END

#endif

#if M3NET_ENGINE_HELIUM

typedef m3net_block m3net_plain_block;
#define M3NET_PLAIN_BLOCKS_4 M3NET_BLOCKS_4
#define M3NET_PLAIN_BLOCKS_8 M3NET_BLOCKS_8
#define M3NET_PLAIN_BLOCKS_12 M3NET_BLOCKS_12
#define M3NET_PLAIN_BLOCKS_16 M3NET_BLOCKS_16

#else

/// Weights of four channels for four items, one byte each on every core.
typedef struct {
  int8_t items[16];
} m3net_plain_block;
#define M3NET_PLAIN_BLOCKS_4(...) \
  {                               \
    { __VA_ARGS__ }               \
  }
#define M3NET_PLAIN_BLOCKS_8(...) M3NET_SPLIT_8(M3NET_PLAIN_BLOCKS_4, __VA_ARGS__)
#define M3NET_PLAIN_BLOCKS_12(...) M3NET_SPLIT_12(M3NET_PLAIN_BLOCKS_4, __VA_ARGS__)
#define M3NET_PLAIN_BLOCKS_16(...) M3NET_SPLIT_16(M3NET_PLAIN_BLOCKS_4, __VA_ARGS__)

#endif

/// Weights of two items in each column of a row of a window, as winograd.c multiplies them: for
/// each of six products a pair for each of four channels. Other targets have the usual blocks.
#if M3NET_ENGINE_WINOGRAD
typedef struct {
  int16_t items[48];
} m3net_winograd_block;
#else
typedef m3net_block m3net_winograd_block;
#endif

#endif  // M3NET_ENGINE_WEIGHTS_H_
