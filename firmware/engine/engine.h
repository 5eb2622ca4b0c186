// SPDX-License-Identifier: Apache-2.0
// Kernels that compiled networks call. They give the output bytes of TensorFlow Lite Micro's
// reference kernels. Layers are constants that `m3net compile` writes; no kernel keeps state, and
// each uses only the memory that it is given. libc: memcpy and memset.
#ifndef M3NET_ENGINE_ENGINE_H_
#define M3NET_ENGINE_ENGINE_H_

#include <stdint.h>

#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A condition that must hold when C is compiled. Compilers of C99 without C11's assertion get an
/// array of a negative size.
#if defined(__cplusplus)
#define M3NET_ASSERT(condition, message) static_assert(condition, message)
#elif defined(__GNUC__) || __STDC_VERSION__ >= 201112L
#define M3NET_ASSERT(condition, message) M3NET_EXTENSION _Static_assert(condition, message)
#else
#define M3NET_ASSERT(condition, message) extern char m3net_assertion[(condition) ? 1 : -1]
#endif

/// What generated C requires of the engine: sizes of structures, and constants that both use.
#define M3NET_REQUIRE(condition) \
  M3NET_ASSERT(condition, "network and engine are from different versions of m3net")

/// Dimensions of strided loops; smaller tensors have leading ones.
#define M3NET_DIMENSIONS 4

/// How a sum becomes an int8 output of one channel.
typedef struct {
  int32_t bias;        ///< Starts the sum: the layer's bias with the input's zero point in it.
  int32_t multiplier;  ///< In units of 2^-31.
  int32_t offset;      ///< Zero point; narrow layers: shifted left by `right`, plus half a step.
  int16_t left;        ///< Shift before the product; narrow layers: 24 less `right`.
  int16_t right;       ///< Shift after the product.
} m3net_channel;

/// Two channels of a convolution, with the DSP extension in the order in which its kernels read
/// them: what starts a sum, and what ends it, is a line of 16 bytes of flash each.
#if M3NET_ENGINE_BRIEF
typedef struct {
  struct {
    int32_t bias;
    int16_t left, right;
  } starts[2];
  struct {
    int32_t multiplier, offset;
  } ends[2];
} m3net_channel_pair;
#define M3NET_CHANNELS(a0, a1, a2, a3, a4, b0, b1, b2, b3, b4) \
  {                                                            \
    {{a0, a3, a4}, {b0, b3, b4}}, {                            \
      {a1, a2}, { b1, b2 }                                     \
    }                                                          \
  }
#else
typedef struct {
  m3net_channel channels[2];
} m3net_channel_pair;
#define M3NET_CHANNELS(a0, a1, a2, a3, a4, b0, b1, b2, b3, b4) \
  {                                                            \
    {                                                          \
      {a0, a1, a2, a3, a4}, { b0, b1, b2, b3, b4 }             \
    }                                                          \
  }
#endif

/// Where the pixels of an image are. A negative step reads a mirrored image.
typedef struct {
  int16_t rows, columns, channels;
  int32_t batch_step, row_step, column_step;  ///< Bytes.
} m3net_image;

/// Window of a convolution or pooling.
typedef struct {
  int16_t rows, columns;
  int16_t row_stride, column_stride;
  int16_t row_dilation, column_dilation;
  int16_t top, left;  ///< Rows and columns by which it begins before the image.
} m3net_window;

/// The lines of a depthwise convolution of 3 x 3 pixels that are computed channel by channel.
enum { M3NET_ALONG_COLUMNS = 1, M3NET_ALONG_ROWS = 2 };

/// A convolution, depthwise convolution or fully connected layer.
typedef struct {
  M3NET_EXTENSION union {
    const m3net_block* blocks;              ///< Of a convolution; see m3net_tf/compiler/weights.py.
    const m3net_plain_block* plain_blocks;  ///< The same if `plain`.
    const m3net_winograd_block* winograd_blocks;  ///< Of m3net_convolve_winograd.
    const m3net_tap* taps;                        ///< Of a depthwise convolution.
  };
  M3NET_EXTENSION union {
    const m3net_channel* channels;    ///< One for each output channel, and up to three more.
    const m3net_channel_pair* pairs;  ///< The same of m3net_convolve.
  };
  m3net_image input, output;
  m3net_window window;
  int16_t batches;
  int8_t padding;           ///< The input's zero point.
  int8_t plain;             ///< The weights are in `plain_blocks`.
  int8_t pixels;            ///< Windows that are computed together; depthwise: of a line.
  int8_t lines;             ///< Depthwise: whether lines are computed channel by channel.
  int8_t narrow;            ///< Every sum fits the short form of the requantisation.
  int8_t full;              ///< The outputs reach from -128 to 127.
  int8_t alike;             ///< All channels have one multiplier, offset and shift.
  int8_t minimum, maximum;  ///< Of the outputs.
  int8_t brief;  ///< With M3NET_ENGINE_BRIEF the channels have constants for the shortest form.
} m3net_convolution;

/// A pooling layer.
typedef struct {
  m3net_image input, output;
  m3net_window window;
  int16_t batches;
  int16_t minimum, maximum;
} m3net_pooling;

/// A loop over up to four dimensions with the byte steps of each operand.
typedef struct {
  int32_t size[M3NET_DIMENSIONS];
  int32_t output[M3NET_DIMENSIONS];
  int32_t first[M3NET_DIMENSIONS];
  int32_t second[M3NET_DIMENSIONS];  ///< Unused by kernels of one input.
} m3net_loop;

/// TensorFlow Lite's form of a real factor: multiplier * 2^(shift - 31).
typedef struct {
  int32_t multiplier;
  int32_t shift;
} m3net_factor;

/// Bits by which sums and squared differences enlarge their inputs.
#define M3NET_SUM_BITS 20
#define M3NET_SUM_BITS_16 15
#define M3NET_DIFFERENCE_BITS 7

/// A layer of two inputs.
typedef struct {
  m3net_loop loop;
  m3net_factor first, second, output;  ///< `first` and `second` are unused by m3net_multiply, and
                                       ///< `output` by m3net_scale_negatives.
  int16_t first_offset, second_offset, output_offset;  ///< Added; of inputs, minus the zero point.
  int8_t minimum, maximum;
} m3net_binary;

/// Products of matrices: output[i][j] = sum over k of first[i][k] * second[k][j].
typedef struct {
  m3net_loop matrices;  ///< Where each matrix begins.
  int32_t rows, columns, depth;
  int32_t output_step[2];  ///< Bytes, of i and j.
  int32_t first_step[2];   ///< Of i and k.
  int32_t second_step[2];  ///< Of k and j.
  m3net_factor factor;
  int16_t first_offset, second_offset, output_offset;
} m3net_matmul;

/// A sum or maximum over some dimensions of a tensor.
typedef struct {
  int32_t size[M3NET_DIMENSIONS], output[M3NET_DIMENSIONS], input[M3NET_DIMENSIONS];
  int32_t reduced_size[M3NET_DIMENSIONS], reduced_input[M3NET_DIMENSIONS];
  m3net_factor factor;
  int32_t sum_offset;  ///< Added to a sum: minus the input's zero point for each item.
  int16_t output_offset;
} m3net_reduction;

/// A quotient of two inputs.
typedef struct {
  m3net_loop loop;
  const int32_t* reciprocals;  ///< Of -128 to 127 as the second input, as fractions of 1 to 2.
  m3net_factor factor;
  int16_t first_offset, second_offset, output_offset;
  int8_t minimum, maximum;
} m3net_division;

/// A comparison of two inputs, in a scale that both share.
typedef struct {
  m3net_loop loop;
  m3net_factor first, second;
  int16_t first_offset, second_offset;  ///< Added: minus the zero points.
  int8_t less, equal, greater;          ///< The outputs, 0 or 1.
} m3net_comparison;

/// The index of the largest item along a dimension, or of the smallest one.
typedef struct {
  m3net_loop loop;  ///< Over the first items; outputs are int32_t.
  int32_t count;
  int32_t step;  ///< Bytes from an item to the next.
  int8_t smallest;
} m3net_search;

/// Contiguous runs of bytes at other places: the output follows three loops.
typedef struct {
  /// Bytes from the input's start, for each step of a loop.
  const int32_t *first, *second, *third;
  int32_t size[3];
  int32_t bytes;  ///< Of a run.
} m3net_runs;

/// A place between two rows or columns, in units of 2^-10 from the first to the second.
typedef struct {
  int32_t low, high;  ///< Bytes from the image's start.
  int32_t weight;
} m3net_between;

/// A bilinear interpolation of an image, into contiguous pixels.
typedef struct {
  const m3net_between *rows, *columns;  ///< One for each row and column of the output.
  int32_t size[2];                      ///< Rows and columns of the output.
  int32_t batches, channels;
  int32_t batch_step;  ///< Bytes, of the input.
} m3net_resizing;

/// Contiguous rows of `depth` items that become vectors of length one, in steps of 1/128.
typedef struct {
  int32_t rows, depth;
  int16_t input_offset;  ///< Added: minus the zero point.
} m3net_normalization;

// Tensors of 16 bits. Their zero points are 0, their addresses and steps are in bytes.

/// How a sum becomes a 16-bit output of one channel.
typedef struct {
  int64_t bias;
  int32_t multiplier, shift;  ///< As in m3net_factor.
} m3net_channel_16;

/// A convolution, depthwise convolution or fully connected layer of 16-bit inputs and outputs.
typedef struct {
  const int8_t* weights;             ///< See m3net_tf/compiler/weights.py.
  const m3net_channel_16* channels;  ///< One for each output channel.
  m3net_image input, output;
  m3net_window window;
  int16_t batches;
  int16_t minimum, maximum;  ///< Of the outputs.
  int8_t long_sums;          ///< Sums have 64 bits, else they wrap at 32.
} m3net_convolution_16;

/// A layer of two inputs.
typedef struct {
  m3net_loop loop;
  m3net_factor first, second, output;  ///< `first` and `second` are for sums and differences.
  int16_t minimum, maximum;
} m3net_binary_16;

/// A function of one number that is linear on either side of zero.
typedef struct {
  m3net_loop loop;
  m3net_factor positive, negative;
  int32_t input_offset, output_offset;  ///< Added; of inputs, minus the zero point.
  int32_t minimum, maximum;
  int8_t input_bytes, output_bytes;  ///< Of an item: 1, 2 or 4.
  int8_t mirrored;                   ///< Products of negative numbers change their sign.
  int8_t absolute;                   ///< Negative inputs change their sign first.
} m3net_rescaling;

/// Reciprocal square root of 16-bit numbers.
typedef struct {
  m3net_loop loop;
  m3net_factor factor;  ///< From 1 / sqrt(input) to the output.
} m3net_root;

/// Logistic function or hyperbolic tangent of 16-bit numbers.
typedef struct {
  m3net_loop loop;
  const uint16_t* table;  ///< Logistic function of 0, 1/24, ... to 255/24, in units of 2^-16.
  int32_t multiplier;     ///< From inputs to steps of the table, before the shift.
  int32_t shift;          ///< To the right.
} m3net_sigmoid;

/// Softmax over contiguous rows of `depth` 16-bit items.
typedef struct {
  const int16_t* exponentials;  ///< Of -10 to 0 in 512 steps.
  const int16_t* reciprocals;   ///< 1 / (1 + x) of 0 to 1 in 512 steps.
  int32_t rows, depth;
  m3net_factor factor;  ///< From inputs to steps of 10 / 65535.
} m3net_softmax_layer_16;

/// Softmax over contiguous rows of `depth` items.
typedef struct {
  const int32_t* exponentials;  ///< Of 0, -1, ... input steps, in units of 2^-31.
  int32_t rows, depth;
  int32_t steps;  ///< Number of `exponentials`; smaller inputs count as zero.
} m3net_softmax_layer;

/// Logarithm of a softmax; outputs have units of 1/16 and the zero point 127.
typedef struct {
  m3net_softmax_layer shares;  ///< Its depth is below 4096.
  m3net_factor factor;         ///< From inputs to numbers with 5 integer bits.
  m3net_factor inverse;        ///< Back to inputs.
} m3net_log_softmax_layer;

/// A gate of an LSTM. Zero points are in the biases.
typedef struct {
  const int8_t* input_weights;  ///< (cells, inputs).
  const int8_t* state_weights;  ///< (cells, cells).
  M3NET_EXTENSION union {
    const int32_t* input_bias;
    const int64_t* long_bias;  ///< Of m3net_lstm_16.
  };
  const int32_t* state_bias;  ///< Unused by m3net_lstm_16.
  m3net_factor input_factor, state_factor;
} m3net_gate;

/// Long short-term memory.
typedef struct {
  m3net_gate input, forget, cell, output;
  const uint16_t* table;  ///< As in m3net_sigmoid.
  /// Of the products of a gate: with the cell gate, the cell, and the cell's hyperbolic tangent.
  m3net_factor input_factor, forget_factor, output_factor;
  int32_t batches, steps, inputs, cells;
  int32_t input_batch_step, input_step, output_batch_step, output_step;  ///< Bytes.
  int32_t cell_multiplier, cell_shift;  ///< From cells to steps of the table.
  int16_t clip;                         ///< Largest absolute value of a cell.
  int8_t unclipped;                     ///< 1 if a cell may be INT16_MIN.
  int8_t output_offset;
} m3net_lstm_layer;

/// Singular value decomposition filters: each unit sums `rank` filters over features and time.
typedef struct {
  const int8_t* features;  ///< (units * rank, inputs).
  const int16_t* time;     ///< (units * rank, memory).
  const int32_t* bias;
  m3net_factor state_factor, output_factor;
  int32_t batches, inputs, units, rank, memory;
  int32_t state_bytes;                                ///< Of a result that is kept, 1 or 2.
  int16_t input_offset, state_offset, output_offset;  ///< Added; of inputs, minus the zero point.
} m3net_svdf_layer;

// What all kernels expect:
//
// - Layers, weights and tables are as `m3net compile` writes them; nothing is checked. They may lie
//   anywhere, and so may inputs and outputs; inputs also in flash.
// - The item (batch, y, x, channel) of an image is `batch * batch_step + y * row_step + x *
//   column_step + channel * item bytes` after its pointer: the channels of a pixel are contiguous.
//   Loops have a step for each operand and dimension. Steps may be negative; an input's step may
//   be zero.
// - Inputs and outputs are int8_t, or int16_t in the target's byte order where a name ends in
// `_16`.
//   They need no alignment: the core must not trap unaligned words.
// - Scratch memory and sums are aligned to four bytes. They lie in memory of a declared type that
// has
//   members of int16_t and int32_t, such as the union of the generated header, or of none (malloc).
// - Inputs and outputs do not overlap scratch memory, and do not overlap each other except where a
//   kernel says how they may.
// - A kernel reads and writes nothing else. Where it says so, it may read up to M3NET_READ_BEYOND
//   bytes after the last channel of a pixel, and so after the input; their content does not matter.

/// Bytes after an input that must be readable.
#define M3NET_READ_BEYOND 3

/// Convolution, also a fully connected layer (1 x 1 pixels, a window of one): input (batches, rows,
/// columns, channels), output (batches, rows, columns, output channels). Groups are one call each.
/// `patch` holds the items of `pixels` windows in 16 bits, or of two in 8 bits, each window rounded
/// up to a multiple of four. A pixel is written when its window has been read: the output
/// may overwrite what no later window reads.
void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch);

/// As above, of a layer that is `plain`: the smallest kernel, one pixel at a time.
#if M3NET_ENGINE_HELIUM
#define m3net_convolve_plain m3net_convolve
#else
void m3net_convolve_plain(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                          int16_t* patch);
#endif

/// As m3net_convolve, of 3 x 3 windows without strides and dilation, of multiples of four channels;
/// four pixels of a row at a time, or eight. `patch` holds the items of half as many windows.
#if M3NET_ENGINE_WINOGRAD
void m3net_convolve_winograd(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                             int16_t* patch);
#else
#define m3net_convolve_winograd m3net_convolve
#endif

/// Depthwise convolution: input and output have as many channels. `scratch` holds a word for each
/// tap, rounded up to an even number, two more words, and one pixel, rounded up to a multiple of
/// four. Channels are read and written four at a time: an output pixel may begin where the first
/// pixel begins that its own or a later window reads, or before. Reads beyond the input.
void m3net_convolve_depthwise(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                              int32_t* scratch);

/// As above, of a layer without `lines`: a function of its own where the other one computes lines.
#if M3NET_ENGINE_DSP || M3NET_ENGINE_HELIUM
void m3net_convolve_depthwise_pixels(const m3net_convolution* layer, const int8_t* input,
                                     int8_t* output, int32_t* scratch);
#else
#define m3net_convolve_depthwise_pixels m3net_convolve_depthwise
#endif

/// As above, of a layer whose window is a part of a row or of a column, where `pixels`, a multiple
/// of six, are computed at a time, channel by channel. It has 3 to 15 taps. `scratch` then holds
/// the items of four channels that these pixels read, in 16 bits. Each line must be at least as
/// long as the dilation; with a dilation there is no stride. A line of the output may overwrite
/// what its own items have read in the same channel.
#if M3NET_ENGINE_DSP || M3NET_ENGINE_HELIUM
void m3net_convolve_depthwise_line(const m3net_convolution* layer, const int8_t* input,
                                   int8_t* output, int32_t* scratch);
#else
#define m3net_convolve_depthwise_line m3net_convolve_depthwise
#endif

/// Average and maximum of windows, without what lies outside the image: input and output have as
/// many channels. Overlaps as m3net_convolve_depthwise. Reads beyond the input (with Helium).
void m3net_pool_average(const m3net_pooling* layer, const int8_t* input, int8_t* output);
void m3net_pool_max(const m3net_pooling* layer, const int8_t* input, int8_t* output);

/// Looks up each item in `table`, which has the outputs for -128 to 127. If both operands have the
/// same steps, the output may be the input, or begin before it; with negative steps, after it.
void m3net_look_up(const m3net_loop* loop, const int8_t* table, const int8_t* input,
                   int8_t* output);

// Elementwise operators of two inputs. The output may be an input that has the same steps.

void m3net_add(const m3net_binary* layer, const int8_t* first, const int8_t* second,
               int8_t* output);
void m3net_subtract(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                    int8_t* output);
void m3net_squared_difference(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                              int8_t* output);
void m3net_multiply(const m3net_binary* layer, const int8_t* first, const int8_t* second,
                    int8_t* output);
void m3net_minimum(const m3net_loop* loop, const int8_t* first, const int8_t* second,
                   int8_t* output);
void m3net_maximum(const m3net_loop* loop, const int8_t* first, const int8_t* second,
                   int8_t* output);

/// Negative inputs times their slopes, and positive ones, in the scale of the output. The output
/// may be the input if it has the same steps. Slopes are int8_t also of 16-bit inputs.
void m3net_scale_negatives(const m3net_binary* layer, const int8_t* input, const int8_t* slopes,
                           int8_t* output);
void m3net_scale_negatives_16(const m3net_binary* layer, const int8_t* input, const int8_t* slopes,
                              int8_t* output);

/// Divides; a second input of zero counts as one step.
void m3net_divide_items(const m3net_division* layer, const int8_t* first, const int8_t* second,
                        int8_t* output);

/// Compares two inputs; outputs are 0 or 1.
void m3net_compare(const m3net_comparison* layer, const int8_t* first, const int8_t* second,
                   int8_t* output);

/// Copies the items whose condition is not 0; the others stay.
void m3net_copy_where(const m3net_loop* loop, const int8_t* condition, const int8_t* items,
                      int8_t* output);

/// The first index, if several items are equal.
void m3net_find(const m3net_search* layer, const int8_t* input, int8_t* output);

/// Products of matrices (rows, depth) and (depth, columns), for each pair in a loop over them.
void m3net_multiply_matrices(const m3net_matmul* layer, const int8_t* first, const int8_t* second,
                             int8_t* output);

/// Sum or mean, maximum, and minimum of the items of the reduced dimensions, for each item of the
/// others.
void m3net_reduce_mean(const m3net_reduction* layer, const int8_t* input, int8_t* output);
void m3net_reduce_max(const m3net_reduction* layer, const int8_t* input, int8_t* output);
void m3net_reduce_min(const m3net_reduction* layer, const int8_t* input, int8_t* output);

/// Copies runs of bytes; the output is contiguous.
void m3net_copy_runs(const m3net_runs* layer, const int8_t* input, int8_t* output);

/// Interpolates between pixels.
void m3net_resize_bilinear(const m3net_resizing* layer, const int8_t* input, int8_t* output);

/// Divides each row by its length. The output may be the input.
void m3net_normalize(const m3net_normalization* layer, const int8_t* input, int8_t* output);

/// Softmax of contiguous (rows, depth) items. The output may be the input.
void m3net_softmax(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output);

/// As m3net_softmax.
void m3net_log_softmax(const m3net_log_softmax_layer* layer, const int8_t* input, int8_t* output);

/// As m3net_softmax, with outputs of 16 bits, for a depth below 4096. The output must not be the
/// input.
void m3net_softmax_to_16(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output);

/// As m3net_convolve, for 16-bit inputs and outputs. `patch` holds a window's items, rounded up to
/// an even number.
void m3net_convolve_16(const m3net_convolution_16* layer, const int8_t* input, int8_t* output,
                       int16_t* patch);
/// As m3net_convolve_depthwise without scratch memory; nothing is read beyond the input.
void m3net_convolve_depthwise_16(const m3net_convolution_16* layer, const int8_t* input,
                                 int8_t* output);

/// As m3net_pool_average and m3net_pool_max; nothing is read beyond the input.
void m3net_pool_average_16(const m3net_pooling* layer, const int8_t* input, int8_t* output);
void m3net_pool_max_16(const m3net_pooling* layer, const int8_t* input, int8_t* output);

// As for int8. The output may be an input that has the same steps.

void m3net_add_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                  int8_t* output);
void m3net_subtract_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                       int8_t* output);
void m3net_squared_difference_16(const m3net_binary_16* layer, const int8_t* first,
                                 const int8_t* second, int8_t* output);
void m3net_multiply_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                       int8_t* output);
void m3net_minimum_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                      int8_t* output);
void m3net_maximum_16(const m3net_binary_16* layer, const int8_t* first, const int8_t* second,
                      int8_t* output);

// Elementwise functions. The output may be the input if all steps are equal.

/// Inputs and outputs of 8, 16 or 32 bits.
void m3net_rescale(const m3net_rescaling* layer, const int8_t* input, int8_t* output);

/// Numbers that are not positive give the largest output.
void m3net_inverse_root_16(const m3net_root* layer, const int8_t* input, int8_t* output);

void m3net_logistic_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output);
void m3net_tanh_16(const m3net_sigmoid* layer, const int8_t* input, int8_t* output);

/// As m3net_multiply_matrices.
void m3net_multiply_matrices_16(const m3net_matmul* layer, const int8_t* first,
                                const int8_t* second, int8_t* output);

/// As m3net_reduce_mean.
void m3net_reduce_mean_16(const m3net_reduction* layer, const int8_t* input, int8_t* output);

/// As m3net_softmax; the output holds intermediate numbers.
void m3net_softmax_16(const m3net_softmax_layer_16* layer, const int8_t* input, int8_t* output);

/// Input (batches, steps, inputs), output (batches, steps, cells); items of a step lie side by
/// side. Continues the sequence of the run before: `cells` holds the cells of each batch, and
/// behind them its last output; a sequence begins with cells of 0 and an output of the zero point.
void m3net_lstm(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output, int16_t* cells);
/// As m3net_lstm, for 16-bit inputs and outputs.
void m3net_lstm_16(const m3net_lstm_layer* layer, const int8_t* input, int8_t* output,
                   int16_t* cells);

/// Input (batches, inputs), output (batches, units), contiguous. `results` holds the latest results
/// of each filter, (batches, units * rank, memory), and outlasts a run; a sequence begins with the
/// state's zero point.
void m3net_svdf(const m3net_svdf_layer* layer, const int8_t* input, int8_t* output,
                int8_t* results);

// Calls that run together, a line of an image at a time: a row, or a column.

/// Advances a window by one line of its output. `before` counts the lines by which it begins before
/// the image, `lines` the input's lines from there on. Returns how many lines of the input it has
/// passed.
int32_t m3net_next_line(int16_t* before, int16_t* lines, int32_t stride);

/// Drops the first `dropped` of the bytes that `lines`, aligned to four bytes, holds, and moves the
/// others to its start. Returns how many it still holds.
int32_t m3net_drop_lines(int8_t* lines, int32_t held, int32_t dropped);

/// Adds the pixels of a line to the sums of their channels, which do not overlap it.
void m3net_add_line(const m3net_pooling* layer, const int8_t* line, int32_t* sums);
/// The averages once all lines have been added.
void m3net_average_lines(const m3net_pooling* layer, const int32_t* sums, int8_t* output);

// Windows that move on (`m3net compile --stream`): sums over lines of which most stay.

/// Adds lines to the sums over the reduced dimensions, or subtracts them: `sign` is 1 or -1. The
/// output's steps, factor and offsets of the layer are not used.
void m3net_add_lines(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                     int32_t* sums);
void m3net_add_lines_16(const m3net_reduction* layer, const int8_t* input, int32_t sign,
                        int32_t* sums);
/// The contiguous means of the sums; as m3net_reduce_mean of all lines.
void m3net_mean_of_sums(const m3net_reduction* layer, const int32_t* sums, int8_t* output);
void m3net_mean_of_sums_16(const m3net_reduction* layer, const int32_t* sums, int8_t* output);

/// Counts a push. Returns 1 if there have been as many as needed since `pushes` was 0, else 0.
int32_t m3net_count_push(int32_t needed, int32_t* pushes);

/// Copies a byte for each item of the loop.
void m3net_copy(const m3net_loop* loop, const int8_t* input, int8_t* output);
/// Fills contiguous bytes.
void m3net_fill(int8_t value, int32_t bytes, int8_t* output);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_ENGINE_ENGINE_H_
