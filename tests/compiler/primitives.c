// SPDX-License-Identifier: Apache-2.0
// Compares the arithmetic of the kernels with numbers that test_primitives.py computes. Prints, for
// each primitive, how many results differ and how many were compared, in hexadecimal. In a table of
// rows the last column is the expected result.
#include <stdint.h>
#include <string.h>

#include "arithmetic.h"
#include "engine.h"
#include "helium_rows.h"
#include "loops.h"
#include "sigmoid.h"
#include "wide.h"

// For the functions that only these files call.
#if M3NET_ENGINE_RV32
#include "rv32_convolution.c"
#elif !M3NET_ENGINE_HELIUM
#include "convolution.c"
#endif
#include "functions_16.c"
#include "normalization.c"
#include "resampling.c"
#include "softmax.c"
#define softmax_row softmax_row_16
#include "softmax_16.c"

#ifdef BOARD_UART
#include "board.h"
#else
#include <stdio.h>
static void put(char c) { putchar(c); }
static void put_hex(uint32_t value, int digits) { printf("%0*x", digits, (unsigned)value); }
#endif

#include "rows.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define LAST(rows) (COUNT(*(rows)) - 1)

static void report(const char* name, uint32_t wrong, uint32_t compared) {
  while (*name) {
    put(*name++);
  }
  put(' ');
  put_hex(wrong, 8);
  put(' ');
  put_hex(compared, 8);
  put('\n');
}

/// Compares two expressions of `row`, the columns of each row of a table.
#define COMPARE(name, rows, actual, expected)              \
  do {                                                     \
    uint32_t wrong = 0;                                    \
    for (uint32_t i = 0; i < COUNT(rows); ++i) {           \
      const int32_t* row = rows[i];                        \
      wrong += (uint32_t)(actual) != (uint32_t)(expected); \
    }                                                      \
    report(name, wrong, COUNT(rows));                      \
  } while (0)
#define CHECK(name, actual) COMPARE(#name, name##_rows, actual, row[LAST(name##_rows)])

static m3net_factor factor_of(const int32_t* row) {
  const m3net_factor factor = {row[0], row[1]};
  return factor;
}

static m3net_channel channel_of(const int32_t* row) {
  const m3net_channel channel = {row[0], row[1], row[2], (int16_t)row[3], (int16_t)row[4]};
  return channel;
}

/// Four bytes as one number.
static int32_t packed(const int8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return word;
}

/// Row: sums of four channels, their multiplier, offset, left and right shift, number of channels,
/// narrow, full, smallest and largest output. Outputs that are not written keep 99.
static int32_t finish(const int32_t* row) {
  const m3net_convolution layer = {.narrow = (int8_t)row[9],
                                   .full = (int8_t)row[10],
                                   .minimum = (int8_t)row[11],
                                   .maximum = (int8_t)row[12]};
  m3net_channel channels[4];
  int8_t output[4] = {99, 99, 99, 99};
  for (int32_t i = 0; i < 4; ++i) {
    channels[i] = (m3net_channel){i, row[4], row[5], (int16_t)row[6], (int16_t)row[7]};
  }
  m3net_four_sums sums = m3net_four_biases(channels);
  sums.a += row[0];
  sums.b += row[1];
  sums.c += row[2];
  sums.d += row[3];
  m3net_finish(&layer, sums, channels, row[8], output);
  return packed(output);
}

/// Items of one and two bytes at any address.
static int32_t load_and_store(const int32_t* row) {
  int8_t memory[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  m3net_store(memory + row[1], row[0], row[2]);
  const int32_t loaded = m3net_load(memory + row[1], row[2]);
  return loaded + (memory[row[1] + row[2]] == row[1] + row[2] + 1 ? 0 : 1 << 20);
}

/// Row: the layer, then four items of each input. Five items are computed, the first one twice,
/// with steps of 1 or 2 bytes. What lies behind them must stay 0.
static int32_t combine(const int32_t* row,
                       void (*kernel)(const m3net_binary*, const int8_t*, const int8_t*, int8_t*)) {
  int8_t first[20] = {0}, second[20] = {0}, output[20] = {0};
  const int32_t step = row[11];
  const m3net_binary layer = {
      .loop = {{1, 1, 1, 5}, {0, 0, 0, step}, {0, 0, 0, step}, {0, 0, 0, step}},
      .first = factor_of(row),
      .second = factor_of(row + 2),
      .output = factor_of(row + 4),
      .first_offset = (int16_t)row[6],
      .second_offset = (int16_t)row[7],
      .output_offset = (int16_t)row[8],
      .minimum = (int8_t)row[9],
      .maximum = (int8_t)row[10]};
  for (int32_t i = 0; i < 5; ++i) {
    first[i * step] = (int8_t)row[12 + i % 4];
    second[i * step] = (int8_t)row[16 + i % 4];
  }
  kernel(&layer, first, second, output);
  int8_t items[4];
  for (int32_t i = 0; i < 4; ++i) {
    items[i] = output[i * step];
  }
  const int32_t right = output[4 * step] == items[0] && output[5 * step] == 0;
  return packed(items) ^ (right ? 0 : 1);
}

/// Row: four items, two to a row, and the weights of the second row and column.
static int32_t between(const int32_t* row) {
  const int8_t items[4] = {(int8_t)row[0], (int8_t)row[1], (int8_t)row[2], (int8_t)row[3]};
  const m3net_between rows[1] = {{0, 2, row[4]}}, columns[1] = {{0, 1, row[5]}};
  const m3net_resizing layer = {rows, columns, {1, 1}, 1, 1, 4};
  int8_t output;
  m3net_resize_bilinear(&layer, items, &output);
  return output;
}

/// Row: four items and the offset of all.
static int32_t unit_vector(const int32_t* row) {
  const int8_t items[4] = {(int8_t)row[0], (int8_t)row[1], (int8_t)row[2], (int8_t)row[3]};
  const m3net_normalization layer = {1, 4, (int16_t)row[4]};
  int8_t output[4];
  m3net_normalize(&layer, items, output);
  return packed(output);
}

/// Tables from the first item on and from the last one on, with the output in the input's memory.
static void check_tables(void) {
  uint32_t wrong = 0, compared = 0;
  static int8_t table[256], memory[80];
  for (int i = 0; i < 256; ++i) {
    table[i] = (int8_t)(uint8_t)(i * 77 + 5);
  }
  for (int32_t count = 1; count <= 64; ++count) {
    for (int32_t step = -1; step <= 1; step += 2) {
      const int32_t first = step > 0 ? 8 : 8 + count - 1, away = -3 * step;
      const m3net_loop loop = {
          .size = {1, 1, 1, count}, .output = {0, 0, 0, step}, .first = {0, 0, 0, step}};
      for (int32_t i = 0; i < count; ++i) {
        memory[8 + i] = (int8_t)(uint8_t)(i * 91 + count);
      }
      m3net_look_up(&loop, table, memory + first, memory + first + away);
      for (int32_t i = 0; i < count; ++i) {
        const int8_t item = (int8_t)(uint8_t)(i * 91 + count);
        wrong += memory[8 + away + i] != table[item - INT8_MIN];
        ++compared;
      }
    }
  }
  report("look_up", wrong, compared);
}

/// Row: a sum and the number of its items.
static int32_t average(const int32_t* row) {
  const m3net_pooling layer = {.output = {.channels = 1},
                               .window = {.rows = 1, .columns = (int16_t)row[1]},
                               .minimum = INT8_MIN,
                               .maximum = INT8_MAX};
  int8_t output;
  m3net_average_lines(&layer, row, &output);
  return output;
}

/// A root's multiplier, and its shift in the lowest bits.
static int32_t root_of(int32_t value) {
  const m3net_factor root = m3net_inverse_root(value);
  return root.multiplier ^ (root.shift & 31);
}

static int32_t table_place(const int32_t* row) {
  const m3net_sigmoid layer = {.multiplier = row[1], .shift = row[2]};
  return to_table(&layer, row[0]);
}

static void check_portable(void) {
  CHECK(sum, m3net_sum(row[0], row[1]));
  CHECK(shift_left, m3net_shift_left(row[0], row[1]));
  CHECK(clamp, m3net_clamp(row[0], row[1], row[2]));
  CHECK(saturate, m3net_saturate(row[0]));
  CHECK(product, m3net_product(row[0], row[1]));
  CHECK(high_product, m3net_high_product(row[0], row[1]));
  CHECK(divide, m3net_divide(row[0], row[1]));
  CHECK(scale, m3net_scale(row[2], factor_of(row)));
  CHECK(reduce, m3net_reduce(row[2], m3net_prepare(factor_of(row))));
  m3net_channel channel;
  CHECK(narrow, (channel = channel_of(row), m3net_requantize_narrow(row[5], &channel)));
  CHECK(wide, (channel = channel_of(row), m3net_requantize_wide(row[5], &channel)));
  CHECK(finish, finish(row));
  CHECK(load_and_store, load_and_store(row));
  CHECK(scale_long, m3net_scale_long((int64_t)((uint64_t)(uint32_t)row[2] << 32 | (uint32_t)row[3]),
                                     factor_of(row)));
  CHECK(logistic, m3net_logistic(sigmoid_table, row[0]));
  CHECK(tanh, m3net_tanh(sigmoid_table, row[0]));
  CHECK(add, combine(row, m3net_add));
  CHECK(subtract, combine(row, m3net_subtract));
  CHECK(squared_difference, combine(row, m3net_squared_difference));
  CHECK(multiply, combine(row, m3net_multiply));
  CHECK(scale_negatives, combine(row, m3net_scale_negatives));
  CHECK(between, between(row));
  CHECK(unit_vector, unit_vector(row));
  CHECK(average, average(row));
  CHECK(reciprocal, reciprocal(row[0]));
  CHECK(logarithm, logarithm(row[0]));
  CHECK(root, root_of(row[0]));
  CHECK(table_place, table_place(row));
  CHECK(interpolated, look_up(step_table, row[0]));
  check_tables();
}

#if M3NET_ENGINE_RV32

/// Sums of four channels, of which c and d have the weights of a and b, with two items.
static m3net_four_sums two_items(const int32_t* row) {
  static const m3net_channel channels[4];
  const int32_t first = M3NET_LANES(row[0], row[1]), second = M3NET_LANES(row[2], row[3]);
  const m3net_block block = {{first, first, second, second}};
  const int8_t items[2] = {(int8_t)row[4], (int8_t)row[5]};
  pixel_sums sums = {{0, 0}, {0, 0}};
  add_two_items(&sums, &block, items);
  return unpacked(sums, channels, OFFSET);
}

static void check_two_items(void) {
  CHECK(lower_sum, two_items(row).a);
  CHECK(upper_sum, two_items(row).b);
  CHECK(other_lower_sum, two_items(row).c);
  CHECK(other_upper_sum, two_items(row).d);
}

#elif !M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM

/// A long sum of two channels.
static int64_t two_lanes(const int32_t* row) {
  return (int64_t)row[1] * (1 << M3NET_LANE_BITS) + row[0];
}

static void check_lanes(void) {
  CHECK(low_lane, low_lane(two_lanes(row)));
  CHECK(high_lane, high_lane(two_lanes(row)));
}

#endif

#if M3NET_ENGINE_DSP

/// The four bytes at one of four addresses.
static uint32_t load_word(const int32_t* row) {
  int8_t memory[8] = {0};
  memcpy(memory + row[1], &row[0], 4);
  return m3net_load_word(memory + row[1]);
}

/// Row: as of m3net_requantize_narrow. An output of a depthwise layer whose lines, of some outputs,
/// are computed channel by channel; the sum has the product of the window's middle, too. The window
/// has three rows or one.
static int32_t finish_line(const int32_t* row, uint32_t index, int16_t columns, int16_t rows,
                           int8_t brief) {
  enum { ITEM = 3, WEIGHT = 5, MOST = 18 };
  // The first channel has the others' zero point, unless its multiplier is zero.
  static const m3net_channel equal_outputs = {0, 0, -255, 0, 1};
  m3net_channel channels[4] = {
      index == 1 ? equal_outputs : channel_of(row), {2, 1 << 30, 4, 0, 2}, {0}, {0}};
  channels[index] = channel_of(row);
  channels[index].bias = m3net_sum(row[5], -ITEM * WEIGHT);
  static const m3net_column_tap taps[] = {
      M3NET_COLUMN_TAPS(0, 0, 0, 0, WEIGHT, 0, 0, 0, 0, 0, 0, 0, 0, 0, WEIGHT, 0, 0, 0, 0, 0,  //
                        0, 0, 0, 0, WEIGHT, 0, 0, 0, 0, 0, 0, 0, 0, 0, WEIGHT, 0, 0, 0, 0, 0),
      M3NET_TAPS_END};
  M3NET_WORD_ALIGNED static const m3net_tap three_taps[] = {
      M3NET_TAPS(0, WEIGHT, 0, WEIGHT, 0, WEIGHT, 0, WEIGHT), M3NET_TAPS(0, 0, 0, 0, 0, 0, 0, 0),
      M3NET_TAPS_END};
  const int32_t pixels = 3 * columns;
  int8_t input[4 * MOST] = {0}, output[4 * MOST];
  int32_t scratch[16];
  for (uint32_t i = index; i < 4 * (uint32_t)pixels; i += 4) {
    input[i] = ITEM;
  }
  const m3net_image image = {3, columns, 4, 4 * pixels, 4 * columns, 4};
  const m3net_convolution layer = {.taps = rows == 1 ? three_taps : taps,
                                   .channels = channels,
                                   .input = image,
                                   .output = image,
                                   .window = {rows, 3, 1, 1, 1, 1, (int16_t)(rows / 2), 1},
                                   .batches = 1,
                                   .pixels = 6,
                                   .lines = rows == 1 ? 0 : M3NET_ALONG_COLUMNS,
                                   .narrow = 1,
                                   .full = 1,
                                   .minimum = INT8_MIN,
                                   .maximum = INT8_MAX,
                                   .brief = brief};
  if (rows == 1) {
    m3net_convolve_depthwise_line(&layer, input, output, scratch);
  } else {
    m3net_convolve_depthwise(&layer, input, output, scratch);
  }
  for (uint32_t i = index; i < 4 * (uint32_t)pixels; i += 4) {
    if (output[i] != output[index]) {
      return INT8_MAX + 1;
    }
  }
  return output[index];
}

/// Row: as above. An output of a convolution of which some pixels share the weights, in rows with
/// or without a gap; the sum has a product, too. An upper channel's sum has 24 bits.
static int32_t finish_pixels(const int32_t* row, uint32_t index, int32_t pixels) {
  enum { ITEM = 3, WEIGHT = 5, COLUMNS = 7, ROWS = 2, MOST = 4 * (COLUMNS + 1) };
  const int32_t is_long = row[5] >= 1 << 22 || row[5] < -(1 << 22);
  const uint32_t channel = is_long ? index & 2u : index;
  const int16_t left = (int16_t)row[3], right = (int16_t)row[4];
  int32_t bias[4] = {0};
  bias[channel] = m3net_sum(row[5], -ITEM * WEIGHT);
  const m3net_channel_pair pairs[2] = {
      M3NET_CHANNELS(bias[0], row[1], row[2], left, right, bias[1], row[1], row[2], left, right),
      M3NET_CHANNELS(bias[2], row[1], row[2], left, right, bias[3], row[1], row[2], left, right)};
  static const m3net_block blocks[] = {
      M3NET_BLOCKS_4(0, WEIGHT, 0, 0, 0, WEIGHT, 0, 0, 0, WEIGHT, 0, 0, 0, WEIGHT, 0, 0)};
  int8_t input[ROWS * MOST] = {0}, output[ROWS * MOST];
  int32_t patch[8];
  const int32_t row_step = index < 2 ? MOST : 4 * COLUMNS;
  const m3net_image image = {ROWS, COLUMNS, 4, ROWS * row_step, row_step, 4};
  for (int32_t i = 0; i < ROWS * COLUMNS; ++i) {
    input[i / COLUMNS * row_step + i % COLUMNS * 4 + 1] = ITEM;
  }
  const m3net_convolution layer = {.blocks = blocks,
                                   .pairs = pairs,
                                   .input = image,
                                   .output = image,
                                   .window = {1, 1, 1, 1, 1, 1, 0, 0},
                                   .batches = 1,
                                   .pixels = (int8_t)pixels,
                                   .narrow = 1,
                                   .full = 1,
                                   .minimum = INT8_MIN,
                                   .maximum = INT8_MAX};
  m3net_convolve(&layer, input, output, (int16_t*)patch);
  for (int32_t i = 0; i < ROWS * COLUMNS; ++i) {
    if (output[i / COLUMNS * row_step + i % COLUMNS * 4 + (int32_t)channel] != output[channel]) {
      return INT8_MAX + 1;
    }
  }
  return output[channel];
}

#if M3NET_ENGINE_WINOGRAD

/// Row: as above. An output of two tiles of a convolution; the kernel has eight times the sum,
/// which must fit 31 bits. All outputs are alike, as the items are, also in the padding.
static int32_t finish_tile(const int32_t* row, uint32_t index, int32_t pixels) {
  enum { ITEM = 3, WEIGHT = 5, COLUMNS = 8 };
  if (row[5] >= 1 << 28 || row[5] <= -(1 << 28)) {
    return m3net_saturate(row[6]);
  }
  m3net_channel channels[4] = {channel_of(row), channel_of(row), channel_of(row), channel_of(row)};
  for (uint32_t i = 0; i < 4; ++i) {
    channels[i].bias = i == index ? m3net_sum(row[5], -ITEM * WEIGHT) : 0;
  }
  // The weight of the second item in the middle of the window, for the six products.
  static const int8_t transform[] = {0, -4, 4, 2, -2, 0};
  m3net_winograd_block blocks[6] = {0};
  for (uint32_t i = 0; i < 24; ++i) {
    blocks[3].items[2 * i] = (int16_t)(WEIGHT * transform[i / 4]);
  }
  int8_t input[4 * COLUMNS] = {0}, output[4 * COLUMNS];
  int32_t patch[72];
  for (uint32_t i = 1; i < 4 * COLUMNS; i += 4) {
    input[i] = ITEM;
  }
  const m3net_image image = {1, COLUMNS, 4, 4 * COLUMNS, 4 * COLUMNS, 4};
  const m3net_convolution layer = {.winograd_blocks = blocks,
                                   .channels = channels,
                                   .input = image,
                                   .output = image,
                                   .window = {3, 3, 1, 1, 1, 1, 1, 1},
                                   .batches = 1,
                                   .padding = ITEM,
                                   .pixels = (int8_t)pixels,
                                   .narrow = 1,
                                   .full = 1,
                                   .minimum = INT8_MIN,
                                   .maximum = INT8_MAX};
  m3net_convolve_winograd(&layer, input, output, (int16_t*)patch);
  for (uint32_t i = index; i < 4 * COLUMNS; i += 4) {
    if (output[i] != output[index]) {
      return INT8_MAX + 1;
    }
  }
  return output[index];
}

#endif

static void check_dsp(void) {
  CHECK(load_word, load_word(row));
  CHECK(even_bytes, m3net_even_bytes((uint32_t)row[0]));
  CHECK(odd_bytes, m3net_odd_bytes((uint32_t)row[0]));
  CHECK(add_products, m3net_add_products((uint32_t)row[0], (uint32_t)row[1], row[2]));
  COMPARE("line", narrow_rows, finish_line(row, i % 4, 5, 3, 0), m3net_saturate(row[6]));
  COMPARE("longer_line", narrow_rows, finish_line(row, i % 4, 6, 3, 0), m3net_saturate(row[6]));
  COMPARE("window", narrow_rows, finish_line(row, i % 4, 6, 1, 0), m3net_saturate(row[6]));
  COMPARE("pixels", narrow_rows, finish_pixels(row, i % 4, 2 + (int32_t)(i / 4 % 3)),
          m3net_saturate(row[6]));
#if M3NET_ENGINE_BRIEF
  CHECK(brief, finish_line(row, i % 4, 5, 3, 1));
#endif
#if M3NET_ENGINE_WINOGRAD
  COMPARE("tile", narrow_rows, finish_tile(row, i % 4, i / 4 % 2 ? 4 : 8), m3net_saturate(row[6]));
#endif
}

#endif

#if M3NET_ENGINE_HELIUM

static int32_t lane(int32x4_t vector, uint32_t index) {
  int32_t lanes[4];
  vstrwq_s32(lanes, vector);
  return lanes[index];
}

/// A number in one lane, others beside it.
static int32x4_t beside(int32_t value, uint32_t index) {
  int32_t lanes[4] = {7, -300, 1 << 20, INT32_MIN};
  lanes[index] = value;
  return m3net_vector_of(lanes[0], lanes[1], lanes[2], lanes[3]);
}

static int32_t reduce_vector(const int32_t* row, uint32_t index) {
  const m3net_vector_reducer factor = m3net_vector_reducer_of(factor_of(row));
  return lane(m3net_reduce_vector(beside(row[2], index), factor), index);
}

static int32_t limited(int32_t value) { return value < -100 ? -100 : value > 101 ? 101 : value; }

static int32_t finish_vector(const int32_t* row, int32_t narrow, uint32_t index) {
  const m3net_convolution layer = {.minimum = -100, .maximum = 101};
  m3net_channel channels[4] = {{1, 1 << 30, 3, 0, 1}, {2, 1 << 30, 4, 0, 2}, {0}, {0}};
  channels[index] = channel_of(row);
  const int32x4_t sums = beside(m3net_sum(row[5], -row[0]), index);
  return lane(m3net_finish_vector(sums, channels, narrow, m3net_limits_of(&layer)), index);
}

/// As finish_line, of two pixels of a convolution with four channels, or of one with eight; the
/// product is of the last of 17 items.
static int32_t finish_vectors(const int32_t* row, int32_t pixels, uint32_t index) {
  enum { ITEM = 3, WEIGHT = 5, ITEMS = 17 };
  const int16_t count = (int16_t)(8 / pixels);
  m3net_channel channels[8] = {{1, 1 << 30, 3, 0, 1}, {2, 1 << 30, 4, 0, 2}};
  channels[index] = channel_of(row);
  channels[index].bias = m3net_sum(row[5], -ITEM * WEIGHT);
  m3net_block blocks[4] = {0};
  int8_t input[2 * ITEMS] = {0}, output[8];
  int16_t patch[2 * ITEMS];
  blocks[index / 4 * 2 + 1].items[index % 4 * M3NET_VECTOR_BYTES] = WEIGHT;
  input[ITEMS - 1] = input[2 * ITEMS - 1] = ITEM;
  const m3net_convolution layer = {
      .blocks = blocks,
      .channels = channels,
      .input = {1, (int16_t)pixels, ITEMS, 2 * ITEMS, 2 * ITEMS, ITEMS},
      .output = {1, (int16_t)pixels, count, 8, 8, count},
      .window = {1, 1, 1, 1, 1, 1, 0, 0},
      .batches = 1,
      .narrow = 1,
      .full = 1,
      .minimum = INT8_MIN,
      .maximum = INT8_MAX};
  m3net_convolve(&layer, input, output, patch);
  return pixels == 1 || output[index] == output[4 + index] ? output[index] : INT8_MAX + 1;
}

/// Moves some bytes; the first one behind them must stay.
static uint32_t move_bytes(int32_t count) {
  int8_t source[48], target[48];
  memset(source, 5, sizeof(source));
  memset(target, 9, sizeof(target));
  for (int32_t i = 0; i < count; ++i) {
    source[i] = (int8_t)(i + 1);
  }
  uint32_t wrong = m3net_copy_bytes(target, source, count) != target + count;
  for (int32_t i = 0; i < 48; ++i) {
    wrong += target[i] != (i < count ? i + 1 : 9);
  }
  wrong += m3net_fill_bytes(target, 3, count) != target + count;
  for (int32_t i = 0; i < 48; ++i) {
    wrong += target[i] != (i < count ? 3 : 9);
  }
  return wrong;
}

static void check_helium(void) {
  COMPARE("vector_divide", divide_rows,
          lane(m3net_divide_vector(beside(row[0], i % 4), vdupq_n_s32(-row[1])), i % 4), row[2]);
  COMPARE("vector_reduce", scale_rows, row[1] > 0 ? row[3] : reduce_vector(row, i % 4), row[3]);
  COMPARE("vector_narrow", narrow_rows, finish_vector(row, 1, i % 4), limited(row[6]));
  COMPARE("vector_wide", wide_rows, finish_vector(row, 0, i % 4), limited(row[6]));
  COMPARE("pair", narrow_rows, finish_vectors(row, 2, i % 4), m3net_saturate(row[6]));
  COMPARE("single", narrow_rows, finish_vectors(row, 1, i % 8), m3net_saturate(row[6]));
  uint32_t wrong = 0;
  for (int32_t count = 0; count <= 40; ++count) {
    wrong += move_bytes(count);
  }
  report("move_bytes", wrong, 41);
}

#endif

#ifdef BOARD_UART
void run_program(void)
#else
int main(void)
#endif
{
  check_portable();
#if M3NET_ENGINE_RV32
  check_two_items();
#elif !M3NET_ENGINE_DSP && !M3NET_ENGINE_HELIUM
  check_lanes();
#endif
#if M3NET_ENGINE_DSP
  check_dsp();
#endif
#if M3NET_ENGINE_HELIUM
  check_helium();
#endif
}
