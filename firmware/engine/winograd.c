// SPDX-License-Identifier: Apache-2.0
// Convolution of 3 x 3 windows by Winograd's F(4, 3): four outputs of a row need six products with
// each row of three weights, instead of twelve.
//
// With g the weights and d the six items of a row of four windows, the outputs are
// A^T ((24 G g) * (B^T d)) / 24 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", 2015). 24 G and B^T are whole numbers: the weights 24 G g, at most 3,072, and the
// items B^T d, at most 1,280, fit in 16 bits. All sums are modulo 2^32, so it does not matter that
// they wrap around in between. Their end is 24 times the true sum. A product with the inverse of
// three modulo 2^32 makes it eight times the true sum, which m3net_tf/compiler/winograd.py proves
// to be below 2^31; so a shift gives the sum itself.
#include "arithmetic.h"
#include "engine.h"
#include "memory.h"

#if M3NET_ENGINE_WINOGRAD

enum {
  ROWS = 3,        // of a window
  OUTPUTS = 4,     // of a tile, side by side
  PRODUCTS = 6,    // of a row of a tile, and columns that it reads
  PAIR = 2,        // items that are multiplied at once
  MOST_TILES = 2,  // that share each weight
};

#define THIRD 0xaaaaaaabu  // times three it is one, modulo 2^32

/// Where the items of a tile are.
typedef struct {
  const int8_t* items;
  int32_t row, pixel, four;  ///< Bytes to the next row, pixel, and four channels.
} tile_items;

#if M3NET_ENGINE_DSP

/// Assembly that computes B^T d of two of four channels of six pixels, from r0 and r2 on, and
/// stores the six results from `place` on, `tile` bytes apart.
#define M3NET_TRANSFORM(rotation, place) \
  "ldr r7, [r0]\n\t"                     \
  "ldr r8, [r0, r1]\n\t"                 \
  "ldr r9, [r0, r1, lsl #1]\n\t"         \
  "ldr r10, [r2]\n\t"                    \
  "ldr r11, [r2, r1]\n\t"                \
  "ldr r12, [r2, r1, lsl #1]\n\t"        \
  "sxtb16 r7, r7" rotation               \
  "\n\t"                                 \
  "sxtb16 r8, r8" rotation               \
  "\n\t"                                 \
  "sxtb16 r9, r9" rotation               \
  "\n\t"                                 \
  "sxtb16 r10, r10" rotation             \
  "\n\t"                                 \
  "sxtb16 r11, r11" rotation             \
  "\n\t"                                 \
  "ssub16 r7, r7, r9\n\t"                \
  "ssub16 lr, r11, r9\n\t"               \
  "and r7, r6, r7, lsl #2\n\t"           \
  "and r9, r6, r9, lsl #2\n\t"           \
  "sadd16 r7, r7, lr\n\t"                \
  "ssub16 r11, r11, r9\n\t"              \
  "str r7, [r4, #" place                 \
  "]\n\t"                                \
  "and r9, r6, r8, lsl #2\n\t"           \
  "ssub16 r9, r10, r9\n\t"               \
  "ssub16 r8, r8, r10\n\t"               \
  "sadd16 r7, r11, r9\n\t"               \
  "ssub16 r11, r11, r9\n\t"              \
  "sadd16 r8, r8, r8\n\t"                \
  "str r7, [r4, #" place                 \
  " + %c[tile]]\n\t"                     \
  "str r11, [r4, #" place                \
  " + 2 * %c[tile]]\n\t"                 \
  "ssub16 r7, lr, r8\n\t"                \
  "sadd16 r9, lr, r8\n\t"                \
  "sadd16 r8, r8, r8\n\t"                \
  "str r7, [r4, #" place                 \
  " + 3 * %c[tile]]\n\t"                 \
  "ssub16 r8, r8, r10\n\t"               \
  "str r9, [r4, #" place                 \
  " + 4 * %c[tile]]\n\t"                 \
  "sxtab16 r8, r8, r12" rotation         \
  "\n\t"                                 \
  "str r8, [r4, #" place " + 5 * %c[tile]]\n\t"

/// Defines a function that computes B^T d of rows of six pixels, four channels at a time, among the
/// values of some tiles.
#define M3NET_DEFINE_TRANSFORM(name, tiles)                                                      \
  M3NET_SEPARATE void name(const tile_items* tile, int32_t channels, int16_t* values) {          \
    register const int8_t* from __asm__("r0") = tile->items;                                     \
    register int32_t step __asm__("r1") = tile->pixel;                                           \
    register const int8_t* other __asm__("r2") = tile->items + 3 * tile->pixel;                  \
    register int32_t next __asm__("r3") = tile->four;                                            \
    register int16_t* to __asm__("r4") = values;                                                 \
    register int32_t left __asm__("r5") = channels;                                              \
    register uint32_t mask __asm__("r6") = 0xfffcffff; /* of four times two small numbers */     \
    register int32_t gap __asm__("r8") = tile->row - channels / 4 * tile->four;                  \
    register int32_t rows __asm__("r9") = ROWS;                                                  \
    /* The stack keeps r5, r8 and r9, and r7, which may be the frame pointer. */                 \
    __asm__ volatile(                                                                          \
        "push {r5, r7, r8, r9}\n\t"                                                                        \
        "1:\n\t" M3NET_TRANSFORM("", "0") M3NET_TRANSFORM(", ror #8", "6 * %c[tile]") \
        "add r0, r0, r3\n\t"                                                                   \
        "add r2, r2, r3\n\t"                                                                   \
        "add r4, r4, #12 * %c[tile]\n\t"                                                       \
        "subs r5, r5, #4\n\t"                                                                  \
        "bne 1b\n\t"                                                                           \
        "ldr r5, [sp]\n\t" \
        "ldr r8, [sp, #8]\n\t" \
        "ldr r9, [sp, #12]\n\t" \
        "add r0, r0, r8\n\t" \
        "add r2, r2, r8\n\t" \
        "subs r9, r9, #1\n\t" \
        "str r9, [sp, #12]\n\t" \
        "bne 1b\n\t" \
        "pop {r5, r7, r8, r9}\n\t"                                                                         \
        : "+&r"(from), "+&r"(other), "+&r"(to), "+&r"(left), "+&r"(gap), "+&r"(rows)                                    \
        : "r"(step), "r"(next), "r"(mask), [tile] "i"(4 * (tiles))                             \
        : "r10", "r11", "r12", "lr", "cc", "memory"); \
  }
M3NET_DEFINE_TRANSFORM(transform_for_two, 2)
M3NET_DEFINE_TRANSFORM(transform_for_one, 1)

M3NET_INLINE void transform(const tile_items* tile, int32_t channels, int16_t* values,
                            int32_t tiles) {
  if (tiles == 2) {
    transform_for_two(tile, channels, values);
  } else {
    transform_for_one(tile, channels, values);
  }
}

/// Assembly that adds a pair of products to a sum, or begins one.
#define M3NET_ADD(sum, a, b) "smlad " sum ", " a ", " b ", " sum "\n\t"
#define M3NET_BEGIN(sum, a, b) "smuad " sum ", " a ", " b "\n\t"

/// Assembly that multiplies a pair of items of two tiles, at r11, with the weights of four
/// channels, at r12, for the sums in r0 to r3 and in r4 to r7. It has 56 bytes of code.
#define M3NET_MULTIPLY_TWO_TILES(ADD) \
  "ldr r9, [r11, #4]\n\t"        \
  "ldr r8, [r11], #48\n\t"       \
  "ldr lr, [r12, #4]\n\t"        \
  "ldr r10, [r12], #96\n\t"      \
  ADD("r0", "r8", "r10") ADD("r4", "r9", "r10") ADD("r1", "r8", "lr") ADD("r5", "r9", "lr")  \
  "ldr r10, [r12, #-88]\n\t"     \
  "ldr lr, [r12, #-84]\n\t"      \
  ADD("r2", "r8", "r10") ADD("r6", "r9", "r10") ADD("r3", "r8", "lr") ADD("r7", "r9", "lr")

/// As above of one tile, with 36 bytes of code.
#define M3NET_MULTIPLY_ONE_TILE(ADD)                                                           \
  "ldr r8, [r11], #24\n\t"                                                                     \
  "ldr r5, [r12, #4]\n\t"                                                                      \
  "ldr r6, [r12, #8]\n\t"                                                                      \
  "ldr r9, [r12, #12]\n\t"                                                                     \
  "ldr r10, [r12], #96\n\t" ADD("r0", "r8", "r10") ADD("r1", "r8", "r5") ADD("r2", "r8", "r6") \
      ADD("r3", "r8", "r9")

#define M3NET_TWICE(assembly) assembly assembly
#define M3NET_FOUR_TIMES(assembly) M3NET_TWICE(assembly) M3NET_TWICE(assembly)
#define M3NET_EIGHT_TIMES(assembly) M3NET_FOUR_TIMES(assembly) M3NET_FOUR_TIMES(assembly)
#define M3NET_TWELVE_TIMES(assembly) M3NET_EIGHT_TIMES(assembly) M3NET_FOUR_TIMES(assembly)

/// Defines a function that computes the sums of four channels of some tiles: for each product the
/// four sums of a tile, then of the next one. MULTIPLY has `code_bytes` of code. An iteration takes
/// `repeats` pairs of items after the first pair; the first iteration begins where fewer are left.
/// STORE stores the sums at lr. The weights have 4 / `tiles` times as many bytes as the values.
#define M3NET_DEFINE_MULTIPLY(name, MULTIPLY, code_bytes, REPEAT, repeats, STORE, tiles)         \
  static void name(const int16_t* values, int32_t pairs, const m3net_winograd_block* weights,    \
                   int32_t* sums) {                                                              \
    const int32_t bytes = 4 * PRODUCTS * (tiles)*pairs;                                          \
    register int32_t* to __asm__("r0") = sums;                                                   \
    register int32_t length __asm__("r1") = bytes;                                               \
    register int32_t* end __asm__("r2") = sums + 4 * PRODUCTS * (tiles);                         \
    register const int8_t* last __asm__("r3") = (const int8_t*)values + bytes;                   \
    register int32_t skipped __asm__("r4") =                                                     \
        ((repeats)-1 - (pairs - 2) % (repeats)) * (code_bytes);                                  \
    register const int16_t* from __asm__("r11") = values;                                        \
    register const m3net_winograd_block* with __asm__("r12") = weights;                          \
    /* The stack keeps r0 to r4, and r7, which may be the frame pointer. */                      \
    __asm__ volatile(                                                                          \
        "adr lr, 2f\n\t" \
        "add r4, r4, lr\n\t" \
        "orr r4, r4, #1\n\t" \
        "push {r0, r1, r2, r3, r4, r7}\n\t"                                                        \
        "1:\n\t" MULTIPLY(M3NET_BEGIN)                                                           \
        "ldr pc, [sp, #16]\n\t" \
        "2:\n\t" REPEAT(MULTIPLY(M3NET_ADD))          \
        "ldr r8, [sp, #12]\n\t"                                                                \
        "cmp r11, r8\n\t"                                                                      \
        "bne 2b\n\t"                                                                           \
        "ldr r9, [sp, #4]\n\t"                                                                 \
        "ldr r10, [sp, #8]\n\t"                                                                \
        "ldr lr, [sp]\n\t"                                                                     \
        "add r8, r8, %[tile]\n\t"                                                              \
        "str r8, [sp, #12]\n\t" STORE                                                          \
        "sub r11, r8, r9\n\t"                                                                  \
        "sub r12, r12, r9, lsl %[ratio]\n\t"                                                   \
        "add r12, r12, #16\n\t"                                                                \
        "cmp lr, r10\n\t"                                                                      \
        "str lr, [sp]\n\t"                                                                     \
        "bne 1b\n\t"                                                                           \
        "pop {r0, r1, r2, r3, r4, r7}\n\t"                                                         \
        : "+&r"(to), "+&r"(length), "+&r"(end), "+&r"(last), "+&r"(skipped), "+&r"(from), "+&r"(with)          \
        : [tile] "i"(4 * (tiles)), [ratio] "i"(3 - (tiles))                                        \
        : "r5", "r6", "r8", "r9", "r10", "lr", "cc", "memory"); \
  }
M3NET_DEFINE_MULTIPLY(multiply_two, M3NET_MULTIPLY_TWO_TILES, 56, M3NET_EIGHT_TIMES, 8,
                      "stmia lr!, {r0-r7}\n\t", 2)
M3NET_DEFINE_MULTIPLY(multiply_one, M3NET_MULTIPLY_ONE_TILE, 36, M3NET_TWELVE_TIMES, 12,
                      "stmia lr!, {r0-r3}\n\t", 1)

M3NET_INLINE void multiply(const int16_t* values, int32_t pairs,
                           const m3net_winograd_block* weights, int32_t* sums, int32_t tiles) {
  if (tiles == 2) {
    multiply_two(values, pairs, weights, sums);
  } else {
    multiply_one(values, pairs, weights, sums);
  }
}

/// Assembly that turns 24 times a sum into an output, in place; r10 is the inverse of three. Twice
/// the sum is requantised as in M3NET_REQUANTIZE, with multiplier, offset and shift in r6, r8 and
/// r9.
#define M3NET_FINISH(number, x) \
  "mul " number ", " number     \
  ", r10\n\t"                   \
  "asr " number ", " number     \
  ", #2\n\t"                    \
  "smmlar " x ", " number       \
  ", r6, r8\n\t"                \
  "add " x ", " x ", " number   \
  ", asr #31\n\t"               \
  "asr " x ", " x               \
  ", r9\n\t"                    \
  "ssat " number ", #8, " x "\n\t"

/// Defines a function that computes A^T of the sums of four channels of a tile, among the sums of
/// some tiles, and writes the outputs, `step` bytes from a pixel to the next one. The four sums of
/// a product are aligned to 16 bytes.
#define M3NET_DEFINE_FINISH_TILE(name, tiles)                                                    \
  M3NET_SEPARATE void name(const int32_t* sums, const m3net_channel* channels, int8_t* output,   \
                           int32_t step) {                                                       \
    register const m3net_channel* channel __asm__("r6") = channels;                              \
    register uint32_t third __asm__("r10") = THIRD;                                              \
    register const int32_t* from __asm__("r11") = sums;                                          \
    register int8_t* to __asm__("r12") = output;                                                 \
    register int32_t farther __asm__("lr") = step;                                               \
    __asm__ volatile(                                                                          \
        "push {r7}\n\t"                                                                        \
        "mov r7, r6\n\t"                                                                       \
        "1:\n\t"                                                                               \
        "ldr r6, [r7], #16\n\t"                                                                \
        "ldr r1, [r11, #%c[product]]\n\t"                                                      \
        "ldr r2, [r11, #2 * %c[product]]\n\t"                                                  \
        "ldr r3, [r11, #3 * %c[product]]\n\t"                                                  \
        "ldr r4, [r11, #4 * %c[product]]\n\t"                                                  \
        "ldr r5, [r11, #5 * %c[product]]\n\t"                                                  \
        "ldr r0, [r11], #4\n\t"                                                                \
        "ldr r8, [r7, #-8]\n\t"                                                                \
        "ldrsh r9, [r7, #-2]\n\t"                                                              \
        "add r6, r6, r6, lsl #1\n\t"                                                           \
        "add r1, r1, r6, lsl #3\n\t"                                                           \
        "ldr r6, [r7, #-12]\n\t"                                                               \
        "add r1, r1, r2\n\t"                                                                   \
        "sub r2, r1, r2, lsl #1\n\t"                                                           \
        "add r3, r3, r4\n\t"                                                                   \
        "sub r4, r3, r4, lsl #1\n\t"                                                           \
        "add r0, r0, r1\n\t"                                                                   \
        "add r0, r0, r3\n\t"                                                                   \
        "add r1, r1, r3, lsl #2\n\t"                                                           \
        "add r5, r5, r2\n\t"                                                                   \
        "add r5, r5, r4, lsl #3\n\t"                                                           \
        "add r2, r2, r4, lsl #1\n\t"                                                           \
        M3NET_FINISH("r0", "r3") "strb r0, [r12]\n\t"                                          \
        "add r12, r12, lr\n\t" M3NET_FINISH("r2", "r3") "strb r2, [r12]\n\t"                   \
        "add r12, r12, lr\n\t" M3NET_FINISH("r1", "r3") "strb r1, [r12]\n\t"                   \
        "add r12, r12, lr\n\t" M3NET_FINISH("r5", "r3") "strb r5, [r12], #1\n\t"               \
        "sub r12, r12, lr\n\t"                                                                 \
        "sub r12, r12, lr, lsl #1\n\t"                                                         \
        "tst r11, #15\n\t"                                                                     \
        "bne 1b\n\t"                                                                           \
        "pop {r7}\n\t"                                                                         \
        : "+&r"(channel), "+&r"(from), "+&r"(to)                                               \
        : "r"(third), "r"(farther), [product] "i"(16 * (tiles))                                \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r8", "r9", "cc", "memory"); \
  }
M3NET_DEFINE_FINISH_TILE(finish_tile_of_two, 2)
M3NET_DEFINE_FINISH_TILE(finish_tile_of_one, 1)

M3NET_INLINE void finish_tile(const int32_t* sums, int32_t tiles, const m3net_channel* channels,
                              int8_t* output, int32_t step) {
  if (tiles == 2) {
    finish_tile_of_two(sums, channels, output, step);
  } else {
    finish_tile_of_one(sums, channels, output, step);
  }
}

#else

/// Four channels of B^T d of a row of six pixels, among the values of some tiles.
static inline void transform_four(const int8_t* items, int32_t pixel, int16_t* values,
                                  int32_t tiles) {
  const int32_t step = PAIR * tiles;
  int8_t all[PRODUCTS][4];
  for (int32_t x = 0; x < PRODUCTS; ++x) {
    M3NET_MEMCPY(all[x], items + x * pixel, sizeof(all[x]));
  }
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t d1 = all[1][i], d2 = all[2][i], d3 = all[3][i], d4 = all[4][i];
    int16_t* to = values + i % 2 * PRODUCTS * step + i / 2;
    to[0] = (int16_t)(4 * all[0][i] - 5 * d2 + d4);
    to[step] = (int16_t)(-4 * d1 - 4 * d2 + d3 + d4);
    to[2 * step] = (int16_t)(4 * d1 - 4 * d2 - d3 + d4);
    to[3 * step] = (int16_t)(-2 * d1 - d2 + 2 * d3 + d4);
    to[4 * step] = (int16_t)(2 * d1 - d2 - 2 * d3 + d4);
    to[5 * step] = (int16_t)(4 * d1 - 5 * d3 + all[5][i]);
  }
}

/// B^T d of rows of six pixels, among the values of some tiles.
static inline void transform(const tile_items* tile, int32_t channels, int16_t* values,
                             int32_t tiles) {
  for (int32_t row = 0; row < ROWS; ++row) {
    const int8_t* items = tile->items + row * tile->row;
    for (int32_t four = 0; four < channels; four += 4, items += tile->four) {
      transform_four(items, tile->pixel, values, tiles);
      values += 2 * PRODUCTS * PAIR * tiles;
    }
  }
}

/// Sums four channels of some tiles; for each product, the sums of a tile follow the ones before.
static inline void multiply(const int16_t* values, int32_t pairs,
                            const m3net_winograd_block* weights, int32_t* sums, int32_t tiles) {
  for (int32_t product = 0; product < PRODUCTS; ++product) {
    for (int32_t i = 0; i < 4 * tiles; ++i, ++sums) {
      *sums = 0;
      for (int32_t pair = 0; pair < pairs; ++pair) {
        const int16_t* weight = weights[pair].items + 8 * product + i % 4 * 2;
        const int16_t* value = values + ((pair * PRODUCTS + product) * tiles + i / 4) * PAIR;
        *sums = m3net_sum(*sums, weight[0] * value[0] + weight[1] * value[1]);
      }
    }
  }
}

/// The output of a number that is 24 times a sum.
static inline int8_t finish(uint32_t number, const m3net_channel* channel) {
  const int32_t sum = (int32_t)(number * THIRD) >> 3;
  return (int8_t)m3net_saturate(m3net_requantize_narrow(sum, channel));
}

/// A^T of the sums of four channels of a tile, as outputs, `step` bytes from a pixel to the next.
static inline void finish_tile(const int32_t* sums, int32_t tiles, const m3net_channel* channels,
                               int8_t* output, int32_t step) {
  for (int32_t i = 0; i < 4; ++i, ++sums, ++channels, ++output) {
    uint32_t m[PRODUCTS];
    for (int32_t product = 0; product < PRODUCTS; ++product) {
      m[product] = (uint32_t)sums[4 * tiles * product];
    }
    m[1] += 24 * (uint32_t)channels->bias;
    const uint32_t a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    output[0] = finish(m[0] + a + c, channels);
    output[step] = finish(b + 2 * d, channels);
    output[2 * step] = finish(a + 4 * c, channels);
    output[3 * step] = finish(b + 8 * d + m[5], channels);
  }
}

#endif

/// Tiles that share the weights.
typedef struct {
  const m3net_convolution* layer;
  int16_t* values;              ///< B^T d: for each row, pair of channels, product and tile a pair.
  int8_t* outputs[MOST_TILES];  ///< The first one of each tile.
  int32_t columns[MOST_TILES];  ///< Outputs that lie in the image.
} tile_group;

/// Copies the items of a tile that is partly outside the image. Each row of them comes to the
/// second half of its place among the values, which the transformed items reach after it has been
/// read.
M3NET_SEPARATE void copy_tile(const m3net_convolution* layer, const int8_t* items, int32_t row,
                              int32_t column, int16_t* values, int32_t tiles) {
  const m3net_image* image = &layer->input;
  const int32_t channels = image->channels, gap = PRODUCTS * PAIR * tiles;
  const uint32_t padding = (uint8_t)layer->padding * 0x01010101u;
  for (int32_t i = 0; i < ROWS; ++i, ++row, items += image->row_step) {
    const int32_t columns = row >= 0 && row < image->rows ? image->columns : 0;
    const int8_t* pixel = items;
    values += channels / 4 * gap;
    for (int32_t x = column; x < column + PRODUCTS; ++x, pixel += image->column_step) {
      int16_t* to = values + (x - column) * PAIR * tiles;
      if (x >= 0 && x < columns) {
        for (int32_t four = 0; four < channels; four += 4, to += gap) {
          M3NET_MEMCPY(to, pixel + four, 4);
        }
      } else {
        for (int32_t four = 0; four < channels; four += 4, to += gap) {
          M3NET_MEMCPY(to, &padding, 4);
        }
      }
    }
    values += channels / 4 * gap;
  }
}

/// Transforms the items of a tile that begins at (row, column), among some tiles.
M3NET_INLINE void transform_tile(const m3net_convolution* layer, const int8_t* input, int32_t row,
                                 int32_t column, int16_t* values, int32_t tiles) {
  const m3net_image* image = &layer->input;
  const int32_t channels = image->channels, step = image->column_step;
  const int32_t four = 4 * PRODUCTS * tiles;  // bytes of a pair of channels of all products
  tile_items tile = {input + row * image->row_step + column * step, image->row_step, step, 4};
  if (row < 0 || row + ROWS > image->rows || column < 0 || column + PRODUCTS > image->columns) {
    copy_tile(layer, tile.items, row, column, values, tiles);
    const int8_t* copy = (const int8_t*)values + channels / 4 * four;
    tile = (tile_items){copy, channels / 2 * four, 4 * tiles, four};
  }
  transform(&tile, channels, values, tiles);
}

/// All output channels of some tiles.
M3NET_INLINE void compute_tiles(const tile_group* group, int32_t tiles) {
  const m3net_convolution* layer = group->layer;
  const int32_t pairs = ROWS * layer->input.channels / PAIR, step = layer->output.column_step;
  const m3net_winograd_block* weights = layer->winograd_blocks;
  const m3net_channel* channel = layer->channels;
  __attribute__((aligned(16))) int32_t sums[PRODUCTS * 4 * MOST_TILES];
  for (int32_t done = 0; done < layer->output.channels; done += 4, weights += pairs, channel += 4) {
    multiply(group->values, pairs, weights, sums, tiles);
    for (int32_t tile = 0; tile < tiles; ++tile) {
      int8_t* output = group->outputs[tile] + done;
      if (group->columns[tile] == OUTPUTS) {
        finish_tile(sums + 4 * tile, tiles, channel, output, step);
        continue;
      }
      int8_t all[OUTPUTS][4];
      finish_tile(sums + 4 * tile, tiles, channel, all[0], 4);
      for (int32_t x = 0; x < group->columns[tile]; ++x) {
        M3NET_MEMCPY(output + x * step, all[x], 4);
      }
    }
  }
}

M3NET_SEPARATE void compute_one(const tile_group* group) { compute_tiles(group, 1); }

M3NET_SEPARATE void compute_two(const tile_group* group) { compute_tiles(group, 2); }

/// Computes an image, some tiles at a time.
static void convolve_image(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                           int16_t* values) {
  const m3net_image* to = &layer->output;
  int32_t left = to->rows * ((to->columns + OUTPUTS - 1) / OUTPUTS), row = 0, column = 0;
  tile_group group = {.layer = layer, .values = values};
  for (int32_t size = 0; left > 0; left -= size) {
    size = left > 1 && layer->pixels > OUTPUTS ? 2 : 1;
    for (int32_t i = 0; i < size; ++i) {
      const int32_t top = row - layer->window.top, first = column - layer->window.left;
      const int32_t columns = to->columns - column;
      group.outputs[i] = output + row * to->row_step + column * to->column_step;
      group.columns[i] = columns < OUTPUTS ? columns : OUTPUTS;
      if (size == 2) {
        transform_tile(layer, input, top, first, values + i * PAIR, 2);
      } else {
        transform_tile(layer, input, top, first, values, 1);
      }
      column += OUTPUTS;
      if (column >= to->columns) {
        column = 0;
        ++row;
      }
    }
    if (size == 2) {
      compute_two(&group);
    } else {
      compute_one(&group);
    }
  }
}

void m3net_convolve_winograd(const m3net_convolution* constants, const int8_t* input,
                             int8_t* output, int16_t* patch) {
  const m3net_convolution layer = *constants;  // which needs no reads from flash for each tile
  for (int32_t batch = 0; batch < layer.batches; ++batch) {
    convolve_image(&layer, input + batch * layer.input.batch_step,
                   output + batch * layer.output.batch_step, patch);
  }
}

#endif
