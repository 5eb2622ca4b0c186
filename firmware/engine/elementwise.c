// SPDX-License-Identifier: Apache-2.0
// Elementwise operators of two inputs; a step of zero broadcasts an input along a dimension.
#include "arithmetic.h"
#include "engine.h"
#include "helium_rows.h"
#include "loops.h"
#include "wide.h"

typedef void (*row_function)(const void* layer, const m3net_row* row);

static void for_each_row(const m3net_loop* loop, const void* layer, const int8_t* first,
                         const int8_t* second, int8_t* output, row_function run) {
  m3net_row row = {.count = loop->size[3],
                   .first_step = loop->first[3],
                   .second_step = loop->second[3],
                   .output_step = loop->output[3]};
  m3net_places places = {0, 0, 0};
  const int32_t rows = m3net_rows(loop);
  for (int32_t i = 1; i <= rows; ++i) {
    row.first = first + places.first;
    row.second = second + places.second;
    row.output = output + places.output;
    run(layer, &row);
    m3net_next_row(loop, i, &places);
  }
}

/// Whether a sum has assembly. The DSP extension's needs every register, and without
/// optimisation one is the frame pointer.
#if M3NET_ENGINE_HELIUM || (M3NET_ENGINE_DSP && defined(__OPTIMIZE__))
#define ADDS_BY_HALF 1
#else
#define ADDS_BY_HALF 0
#endif

#if M3NET_ENGINE_HELIUM

/// Adds contiguous items. The factor of `halved` is one half.
static void add_items(const m3net_binary* layer, const int8_t* halved, int32_t halved_offset,
                      const int8_t* scaled, int32_t scaled_offset, m3net_factor factor,
                      int8_t* output, int32_t count) {
  const int32_t last_right = -layer->output.shift;
  __asm__ volatile(
      "wlstp.32 lr, %[count], 2f\n\t"
      "1:\n\t"
      "vldrb.s32 q0, [%[scaled]], #4\n\t"
      "vldrb.s32 q1, [%[halved]], #4\n\t"
      "vshl.i32 q0, q0, #20\n\t"
      "vadd.i32 q0, q0, %[start]\n\t"
      "vqrdmulh.s32 q0, q0, %[multiplier]\n\t"
      "vshr.s32 q2, q0, #31\n\t"
      "vadd.i32 q0, q0, q2\n\t"
      "vrshl.s32 q0, %[shift]\n\t"
      "vmla.s32 q0, q1, %[half]\n\t"
      "vadd.i32 q0, q0, %q[constant]\n\t"
      "vqrdmulh.s32 q0, q0, %[last_multiplier]\n\t"
      "vshr.s32 q2, q0, #31\n\t"
      "vadd.i32 q0, q0, q2\n\t"
      "vadd.i32 q0, q0, %q[offset]\n\t"
      // An output moves to the highest byte, where it saturates.
      "vqshl.s32 q0, %[left]\n\t"
      "vshr.s32 q0, q0, #24\n\t"
      "vstrb.32 q0, [%[output]], #4\n\t"
      "letp lr, 1b\n\t"
      "2:\n\t"
      : [halved] "+&l"(halved), [scaled] "+&l"(scaled), [output] "+&l"(output)
      : [count] "r"(count), [start] "r"(scaled_offset * (1 << M3NET_SUM_BITS)),
        [multiplier] "r"(factor.multiplier), [shift] "r"(factor.shift),
        [half] "r"(1 << (M3NET_SUM_BITS - 1)),
        [constant] "w"(vdupq_n_s32(halved_offset * (1 << (M3NET_SUM_BITS - 1)))),
        [last_multiplier] "r"(layer->output.multiplier),
        [offset] "w"(
            vdupq_n_s32((1 << (last_right - 1)) + layer->output_offset * (1 << last_right))),
        [left] "r"(24 - last_right)
      : "q0", "q1", "q2", "lr", "cc", "memory");
}

#elif ADDS_BY_HALF

/// Adds contiguous items, at least one. The factor of `halved` is one half.
static void add_items(const m3net_binary* layer, const int8_t* halved, int32_t halved_offset,
                      const int8_t* scaled, int32_t scaled_offset, m3net_factor factor,
                      int8_t* output, int32_t count) {
  const m3net_reducer inner = m3net_prepare(factor), outer = m3net_prepare(layer->output);
  register const int8_t* first __asm__("r0") = halved;
  register const int8_t* second __asm__("r1") = scaled;
  register int8_t* to __asm__("r2") = output;
  register int32_t start __asm__("r3") = scaled_offset * (1 << (M3NET_SUM_BITS + 1));
  register int32_t multiplier __asm__("r4") = inner.multiplier;
  register int32_t half __asm__("r5") = inner.half;
  register int32_t right __asm__("r6") = inner.shift;
  register int32_t constant __asm__("r8") = halved_offset * (1 << M3NET_SUM_BITS);
  register int32_t last_multiplier __asm__("r9") = outer.multiplier;
  register int32_t last_half __asm__("r10") =
      outer.half + layer->output_offset * (1 << outer.shift);
  // A shift takes the lowest byte of its register; above it are the items that are left.
  register int32_t last_right __asm__("r11") = outer.shift + (count - 1) * 256;
  __asm__ volatile(
      "1:\n\t"
      "ldrsb lr, [r0], #1\n\t"
      "ldrsb r12, [r1], #1\n\t"
      "add r12, r3, r12, lsl #21\n\t"
      "smmlar %[x], r12, r4, r5\n\t"
      "add %[x], %[x], r12, asr #31\n\t"
      "asr %[x], %[x], r6\n\t"
      "add %[x], %[x], lr, lsl #19\n\t"
      "add %[x], r8, %[x], lsl #1\n\t"
      "smmlar r12, %[x], r9, r10\n\t"
      "add r12, r12, %[x], asr #31\n\t"
      "asr r12, r12, r11\n\t"
      "ssat r12, #8, r12\n\t"
      "subs r11, r11, #256\n\t"
      "strb r12, [r2], #1\n\t"
      "bpl 1b\n\t"
      : "+&r"(first), "+&r"(second), "+&r"(to), "+&r"(last_right), [x] "=&r"(count)
      : "r"(start), "r"(multiplier), "r"(half), "r"(right), "r"(constant), "r"(last_multiplier),
        "r"(last_half)
      : "r12", "lr", "cc", "memory");
}

#endif

#if ADDS_BY_HALF

/// Whether a factor is one half, as TensorFlow Lite's for the input of the larger scale.
static inline int32_t is_half(m3net_factor factor) {
  return factor.multiplier == 1 << 30 && factor.shift == 0;
}

/// Adds contiguous items by add_items, if outputs have the whole range and a factor is one half, as
/// TensorFlow Lite's for the input of the larger scale. Returns whether it did.
static int32_t add_by_half(const m3net_binary* layer, const m3net_row* row) {
  const int32_t right = -layer->output.shift;
  if (row->first_step != 1 || row->second_step != 1 || row->output_step != 1 ||
      layer->minimum != INT8_MIN || layer->maximum != INT8_MAX || right <= 0 || right > 22) {
    return 0;
  }
  if (is_half(layer->first) && layer->second.shift < 0) {
    add_items(layer, row->first, layer->first_offset, row->second, layer->second_offset,
              layer->second, row->output, row->count);
    return 1;
  }
  if (is_half(layer->second) && layer->first.shift < 0) {
    add_items(layer, row->second, layer->second_offset, row->first, layer->first_offset,
              layer->first, row->output, row->count);
    return 1;
  }
  return 0;
}

#endif

#if M3NET_ENGINE_HELIUM

static void add(const void* layer, const m3net_row* row) {
  if (!add_by_half((const m3net_binary*)layer, row)) {
    m3net_run_any_row(layer, row, m3net_add_items);
  }
}

static void subtract(const void* layer, const m3net_row* row) {
  m3net_run_any_row(layer, row, m3net_subtract_items);
}

static void square_difference(const void* layer, const m3net_row* row) {
  m3net_run_any_row(layer, row, m3net_difference_items);
}

static void multiply(const void* layer, const m3net_row* row) {
  m3net_run_any_row(layer, row, m3net_multiply_items);
}

#else

/// An input in the scale that both inputs share.
static inline int32_t enlarge(int8_t value, int32_t offset, int32_t bits, m3net_factor factor) {
  return m3net_scale((value + offset) * (1 << bits), factor);
}

static inline int8_t finish(const m3net_binary* layer, int32_t value) {
  const int32_t scaled = m3net_scale(value, layer->output) + layer->output_offset;
  return (int8_t)m3net_clamp(scaled, layer->minimum, layer->maximum);
}

/// The factors of an addition are at most one, and its inputs below 2^28. All that the loop reads
/// is copied to variables: an output of int8_t may alias any structure.
static inline void add_row(const m3net_binary* layer, const m3net_row* operands, int32_t sign) {
  const m3net_reducer first_factor = m3net_prepare(layer->first);
  const m3net_reducer second_factor = m3net_prepare(layer->second);
  const m3net_reducer factor = m3net_prepare(layer->output);
  const int32_t first_offset = layer->first_offset, second_offset = layer->second_offset;
  const int32_t output_offset = layer->output_offset;
  const int32_t minimum = layer->minimum, maximum = layer->maximum;
  m3net_row row = *operands;
  for (; row.count > 0; --row.count) {
    const int32_t a = (*row.first + first_offset) * (1 << M3NET_SUM_BITS);
    const int32_t b = (*row.second + second_offset) * (1 << M3NET_SUM_BITS);
    const int32_t sum = m3net_reduce(a, first_factor) + sign * m3net_reduce(b, second_factor);
    const int32_t value = m3net_reduce(sum, factor) + output_offset;
    *row.output = (int8_t)m3net_clamp(value, minimum, maximum);
    row.first += row.first_step;
    row.second += row.second_step;
    row.output += row.output_step;
  }
}

static void add(const void* layer, const m3net_row* row) {
#if ADDS_BY_HALF
  if (add_by_half((const m3net_binary*)layer, row)) {
    return;
  }
#endif
  add_row((const m3net_binary*)layer, row, 1);
}

static void subtract(const void* layer, const m3net_row* row) {
  add_row((const m3net_binary*)layer, row, -1);
}

static void square_difference(const void* any_layer, const m3net_row* row) {
  const m3net_binary* layer = (const m3net_binary*)any_layer;
  for (int32_t i = 0; i < row->count; ++i) {
    const int32_t a = enlarge(row->first[i * row->first_step], layer->first_offset,
                              M3NET_DIFFERENCE_BITS, layer->first);
    const int32_t b = enlarge(row->second[i * row->second_step], layer->second_offset,
                              M3NET_DIFFERENCE_BITS, layer->second);
    row->output[i * row->output_step] = finish(layer, (a - b) * (a - b));
  }
}

/// The products are below 2^16.
static void multiply(const void* any_layer, const m3net_row* operands) {
  const m3net_binary* layer = (const m3net_binary*)any_layer;
  const int32_t first_offset = layer->first_offset, second_offset = layer->second_offset;
  const int32_t output_offset = layer->output_offset;
  const int32_t minimum = layer->minimum, maximum = layer->maximum;
  m3net_row row = *operands;
  if (layer->output.shift > 0) {
    for (int32_t i = 0; i < row.count; ++i) {
      row.output[i * row.output_step] =
          finish(layer, (row.first[i * row.first_step] + first_offset) *
                            (row.second[i * row.second_step] + second_offset));
    }
    return;
  }
  const m3net_reducer factor = m3net_prepare(layer->output);
  for (; row.count > 0; --row.count) {
    const int32_t product = (*row.first + first_offset) * (*row.second + second_offset);
    const int32_t value = m3net_reduce(product, factor) + output_offset;
    *row.output = (int8_t)m3net_clamp(value, minimum, maximum);
    row.first += row.first_step;
    row.second += row.second_step;
    row.output += row.output_step;
  }
}

#endif

static inline int32_t scale_negative(const m3net_binary* layer, int32_t input, int32_t slope) {
  const int32_t value = input + layer->first_offset;
  if (value >= 0) {
    return m3net_sum(m3net_scale(value, layer->first), layer->output_offset);
  }
  const int32_t product = value * (slope + layer->second_offset);
  return m3net_sum(m3net_scale(product, layer->second), layer->output_offset);
}

static void scale_negatives(const void* layer, const m3net_row* row) {
  for (int32_t i = 0; i < row->count; ++i) {
    const int32_t value =
        scale_negative((const m3net_binary*)layer, row->first[i * row->first_step],
                       row->second[i * row->second_step]);
    row->output[i * row->output_step] = (int8_t)m3net_clamp(value, INT8_MIN, INT8_MAX);
  }
}

static void scale_negatives_16(const void* layer, const m3net_row* row) {
  for (int32_t i = 0; i < row->count; ++i) {
    const int32_t value =
        scale_negative((const m3net_binary*)layer, m3net_load_16(row->first + i * row->first_step),
                       row->second[i * row->second_step]);
    m3net_store_16(row->output + i * row->output_step, m3net_clamp(value, INT16_MIN, INT16_MAX));
  }
}

/// Bits of a number that is not negative.
static inline int32_t bits_of(int32_t value) {
  int32_t bits = 0;
  for (; value > 0; value /= 2) {
    ++bits;
  }
  return bits;
}

static inline int32_t divide_item(const m3net_division* layer, int32_t first, int32_t second) {
  const int32_t divisor = second + layer->second_offset;
  const int32_t value = divisor < 0 ? -(first + layer->first_offset) : first + layer->first_offset;
  // The numerator is enlarged as far as it fits; the quotient has the divisor's bits less.
  const int32_t left = 31 - bits_of(value < 0 ? ~value : value);
  const int32_t below = divisor == 0 ? 0 : bits_of(divisor < 0 ? -divisor : divisor) - 1;
  const int32_t right = left + below - layer->factor.shift;
  const int32_t reciprocal = layer->reciprocals[second - INT8_MIN];
  const int32_t quotient = m3net_product(m3net_shift_left(value, left), reciprocal);
  const int32_t scaled = m3net_product(quotient, layer->factor.multiplier);
  const int32_t result = right > 31 ? 0 : m3net_divide(scaled, right);
  return m3net_clamp(result + layer->output_offset, layer->minimum, layer->maximum);
}

static void divide_row(const void* layer, const m3net_row* row) {
  for (int32_t i = 0; i < row->count; ++i) {
    row->output[i * row->output_step] =
        (int8_t)divide_item((const m3net_division*)layer, row->first[i * row->first_step],
                            row->second[i * row->second_step]);
  }
}

static void take_smaller(const void* layer, const m3net_row* row) {
  (void)layer;
  for (int32_t i = 0; i < row->count; ++i) {
    const int8_t a = row->first[i * row->first_step], b = row->second[i * row->second_step];
    row->output[i * row->output_step] = a < b ? a : b;
  }
}

static void take_larger(const void* layer, const m3net_row* row) {
  (void)layer;
  for (int32_t i = 0; i < row->count; ++i) {
    const int8_t a = row->first[i * row->first_step], b = row->second[i * row->second_step];
    row->output[i * row->output_step] = a > b ? a : b;
  }
}

void m3net_add(const m3net_binary* layer, const int8_t* first, const int8_t* second,
               int8_t* output) {
  for_each_row(&layer->loop, layer, first, second, output, add);
}

void m3net_subtract(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                    int8_t* output) {
  for_each_row(&layer->loop, layer, first, second, output, subtract);
}

void m3net_squared_difference(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                              int8_t* output) {
  for_each_row(&layer->loop, layer, first, second, output, square_difference);
}

void m3net_multiply(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                    int8_t* output) {
  for_each_row(&layer->loop, layer, first, second, output, multiply);
}

void m3net_scale_negatives(const m3net_binary* layer, const int8_t* input, const int8_t* slopes,
                           int8_t* output) {
  for_each_row(&layer->loop, layer, input, slopes, output, scale_negatives);
}

void m3net_scale_negatives_16(const m3net_binary* layer, const int8_t* input, const int8_t* slopes,
                              int8_t* output) {
  for_each_row(&layer->loop, layer, input, slopes, output, scale_negatives_16);
}

void m3net_divide_items(const m3net_division* layer, const int8_t* first, const int8_t* second,
                        int8_t* output) {
  for_each_row(&layer->loop, layer, first, second, output, divide_row);
}

void m3net_minimum(const m3net_loop* loop, const int8_t* first, const int8_t* second,
                   int8_t* output) {
  for_each_row(loop, loop, first, second, output, take_smaller);
}

void m3net_maximum(const m3net_loop* loop, const int8_t* first, const int8_t* second,
                   int8_t* output) {
  for_each_row(loop, loop, first, second, output, take_larger);
}
