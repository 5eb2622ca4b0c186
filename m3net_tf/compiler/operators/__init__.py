# SPDX-License-Identifier: Apache-2.0
"""The table of operators: how each becomes calls of kernels."""

from collections.abc import Callable

from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators import (
    comparison,
    convolution,
    elementwise,
    lstm,
    matrix,
    movement,
    pooling,
    resampling,
    softmax,
    svdf,
    tables,
    variables,
)
from m3net_tf.tflite.graph import Operation

Lower = Callable[[Lowering, Operation], None]

#: What lowers each operator.
OPERATORS: dict[str, Lower] = {
    "ABS": tables.lookup,
    "ADD": elementwise.binary,
    "ARG_MAX": comparison.find,
    "ARG_MIN": comparison.find,
    "ASSIGN_VARIABLE": variables.assign,
    "AVERAGE_POOL_2D": pooling.pooling,
    "BATCH_MATMUL": matrix.batch_matmul,
    "BATCH_TO_SPACE_ND": movement.batch_to_space,
    "BROADCAST_TO": movement.broadcast,
    "CONCATENATION": movement.concatenation,
    "CONV_2D": convolution.convolution,
    "DEPTHWISE_CONV_2D": convolution.depthwise,
    "DEPTH_TO_SPACE": movement.exchange_blocks,
    "DIV": elementwise.divide,
    "ELU": tables.lookup,
    "EXP": tables.lookup,
    "EXPAND_DIMS": movement.reshape,
    "FULLY_CONNECTED": convolution.fully_connected,
    "GATHER": resampling.gather,
    "GELU": tables.lookup,
    "HARD_SWISH": tables.lookup,
    "L2_NORMALIZATION": matrix.normalize,
    "LEAKY_RELU": tables.lookup,
    "LOG": tables.lookup,
    "LOGISTIC": tables.lookup,
    "LOG_SOFTMAX": softmax.softmax,
    "MAXIMUM": elementwise.binary,
    "MAX_POOL_2D": pooling.pooling,
    "MEAN": matrix.reduction,
    "MINIMUM": elementwise.binary,
    "MOVE_LINES": variables.move_lines,  # made by passes/delays.py
    "MIRROR_PAD": resampling.mirror_pad,
    "MUL": elementwise.binary,
    "PACK": movement.pack,
    "PAD": movement.pad,
    "PADV2": movement.pad,
    "PRELU": elementwise.scale_negatives,
    "QUANTIZE": tables.lookup,
    "READ_VARIABLE": variables.read,
    "REDUCE_MAX": matrix.reduction,
    "REDUCE_MIN": matrix.reduction,
    "RELU": tables.lookup,
    "RELU6": tables.lookup,
    "RELU_0_TO_1": tables.lookup,
    "RELU_N1_TO_1": tables.lookup,
    "RESHAPE": movement.reshape,
    "RESIZE_BILINEAR": resampling.bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resampling.nearest,
    "REVERSE_V2": movement.reverse,
    "RSQRT": tables.lookup,
    "SELECT_V2": comparison.select,
    "SLICE": movement.take_slice,
    "SOFTMAX": softmax.softmax,
    "SPACE_TO_BATCH_ND": movement.space_to_batch,
    "SPACE_TO_DEPTH": movement.exchange_blocks,
    "SPLIT": movement.split,
    "SPLIT_V": movement.split,
    "SQUARED_DIFFERENCE": elementwise.binary,
    "SQUEEZE": movement.reshape,
    "STRIDED_SLICE": movement.strided_slice,
    "SUB": elementwise.binary,
    "SUM": matrix.reduction,
    "SVDF": svdf.svdf,
    "TABLE": tables.lookup,  # made by passes/tables.py and passes/functions.py
    "TANH": tables.lookup,
    "TILE": resampling.tile,
    "TRANSPOSE": movement.transpose,
    "TRANSPOSE_CONV": convolution.transposed,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm.lstm,
    "UNPACK": movement.unpack,
    **dict.fromkeys(comparison.COMPARISONS, comparison.compare),
}

#: Operators that only move items and become views.
VIEWS = frozenset(
    {"EXPAND_DIMS", "RESHAPE", "REVERSE_V2", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE"}
    | {"STRIDED_SLICE", "TRANSPOSE", "UNPACK"}
)

#: Operators that have kernels for int16 tensors.
WIDE = (
    VIEWS
    | {"ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BROADCAST_TO", "CONCATENATION", "CONV_2D"}
    | {"DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC", "RSQRT"}
    | {"MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PAD", "PADV2", "QUANTIZE", "RELU"}
    | {"PRELU", "RELU6", "RESIZE_NEAREST_NEIGHBOR", "SELECT_V2", "SOFTMAX", "TRANSPOSE_CONV"}
    | {"SQUARED_DIFFERENCE", "SUB", "SUM", "TANH"}
    | {"ASSIGN_VARIABLE", "MOVE_LINES", "READ_VARIABLE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
)

#: Operators that take or give computed bool or int32 items, beside those that only move items.
UNSCALED = frozenset({"ARG_MAX", "ARG_MIN", "QUANTIZE", "SELECT_V2", *comparison.COMPARISONS})

#: Operators whose kernels write side by side only.
PACKED_WRITERS = frozenset(
    {"MEAN", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "SOFTMAX", "SUM", "FULLY_CONNECTED"}
    | {"GATHER", "L2_NORMALIZATION", "MIRROR_PAD", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
    | {"LOG_SOFTMAX", "TILE"}
    | {"SPACE_TO_BATCH_ND", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
)
