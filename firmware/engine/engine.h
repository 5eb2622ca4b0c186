// SPDX-License-Identifier: Apache-2.0
// Kernels that compiled networks call. Their output bytes are those of TensorFlow Lite Micro's
// reference kernels. Layers are constants that `m3net compile` writes; no kernel keeps state, and
// each uses only the memory that it is given. libc: memcpy and memset.
#ifndef M3NET_ENGINE_ENGINE_H_
#define M3NET_ENGINE_ENGINE_H_

#include <stdint.h>

#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Dimensions of strided loops; smaller tensors have leading ones.
#define M3NET_DIMENSIONS 4

/// How a sum becomes an int8 output of one channel.
typedef struct {
  int32_t bias;        ///< Starts the sum: the layer's bias, and what the input's zero point adds.
  int32_t multiplier;  ///< In units of 2^-31.
  int32_t offset;      ///< Zero point; narrow layers: shifted left by `right`, plus half a step.
  int16_t left;        ///< Shift before the product; 0 in narrow layers.
  int16_t right;       ///< Shift behind the product.
} m3net_channel;

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
  int16_t top, left;  ///< Rows and columns that the window begins outside the image.
} m3net_window;

/// A convolution, depthwise convolution or fully connected layer.
typedef struct {
  union {
    const m3net_block* blocks;            ///< Of a convolution; see m3net_tf/compiler/weights.py.
    const m3net_byte_block* byte_blocks;  ///< The same if `in_bytes`.
    const m3net_tap* taps;                ///< Of a depthwise convolution.
  };
  const m3net_channel* channels;  ///< One for each output channel, padded to a multiple of four.
  m3net_image input, output;
  m3net_window window;
  int16_t batches;
  int8_t padding;           ///< The input's zero point.
  int8_t in_bytes;          ///< The weights are in `byte_blocks`.
  int8_t narrow;            ///< Every sum fits the short form of the requantisation.
  int8_t full;              ///< The outputs reach from -128 to 127.
  int8_t minimum, maximum;  ///< Of the outputs.
} m3net_convolution;

/// A pooling layer.
typedef struct {
  m3net_image input, output;
  m3net_window window;
  int16_t batches;
  int8_t minimum, maximum;
} m3net_pooling;

/// A loop over up to four dimensions with the byte steps of each operand.
typedef struct {
  int32_t size[M3NET_DIMENSIONS];
  int32_t output[M3NET_DIMENSIONS];
  int32_t first[M3NET_DIMENSIONS];
  int32_t second[M3NET_DIMENSIONS];  ///< Unused by kernels of one input.
} m3net_loop;

/// Multiplier and shift that TensorFlow Lite makes of a real factor; a negative shift divides.
typedef struct {
  int32_t multiplier;
  int32_t shift;
} m3net_factor;

/// A layer of two inputs.
typedef struct {
  m3net_loop loop;
  m3net_factor first, second, output;  ///< `first` and `second` are unused by m3net_multiply.
  int16_t first_offset, second_offset, output_offset;  ///< Added; of inputs, minus the zero point.
  int8_t minimum, maximum;
} m3net_binary;

/// Product of matrices: output[b][i][j] = sum over k of first[b][i][k] * second[b][k][j].
typedef struct {
  int32_t batches, rows, columns, depth;
  int32_t output_step[3];  ///< Of b, i, j.
  int32_t first_step[3];   ///< Of b, i, k.
  int32_t second_step[3];  ///< Of b, k, j.
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

/// Softmax over rows of `depth` items that lie side by side.
typedef struct {
  const int32_t* exponentials;  ///< Of 0, -1, ... input steps, in units of 2^-31.
  int32_t rows, depth;
  int32_t steps;  ///< Number of `exponentials`; smaller inputs count as zero.
} m3net_softmax_layer;

/// Convolution. `patch` holds a window's items in 16 bits, rounded up to a multiple of four. A
/// pixel is written when its window has been read.
void m3net_convolve(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                    int16_t* patch);

/// Depthwise convolution. `scratch` holds a word for each tap, rounded up to an even number, two
/// more words, and one pixel, rounded up to a multiple of four.
void m3net_convolve_depthwise(const m3net_convolution* layer, const int8_t* input, int8_t* output,
                              int32_t* scratch);

void m3net_pool_average(const m3net_pooling* layer, const int8_t* input, int8_t* output);
void m3net_pool_max(const m3net_pooling* layer, const int8_t* input, int8_t* output);

/// Outputs that depend on one input number alone: `table` has those of -128 to 127.
void m3net_look_up(const m3net_loop* loop, const int8_t* table, const int8_t* input,
                   int8_t* output);

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

void m3net_multiply_matrices(const m3net_matmul* layer, const int8_t* first, const int8_t* second,
                             int8_t* output);

void m3net_reduce_mean(const m3net_reduction* layer, const int8_t* input, int8_t* output);
void m3net_reduce_max(const m3net_reduction* layer, const int8_t* input, int8_t* output);

void m3net_softmax(const m3net_softmax_layer* layer, const int8_t* input, int8_t* output);

void m3net_copy(const m3net_loop* loop, const int8_t* input, int8_t* output);
void m3net_fill(int8_t value, int32_t bytes, int8_t* output);

#ifdef __cplusplus
}
#endif

#endif  // M3NET_ENGINE_ENGINE_H_
