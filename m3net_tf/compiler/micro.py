# SPDX-License-Identifier: Apache-2.0
"""Which networks TFLite Micro runs: an error advises it for these alone."""

from m3net_tf.compiler.operators import WIDE
from m3net_tf.tflite.graph import Operation
from m3net_tf.tflite.read import read_graphs

# Operators that MicroMutableOpResolver of the pinned TFLite Micro (firmware/third_party.lock) has;
# tests/firmware compares this list with its header.
TFLM_OPERATORS = frozenset(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
    BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL
    EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER
    GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX
    REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT
    SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV
    UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """.split()
)

#: The ones whose kernels take float alone.
_FLOAT_OPERATORS = frozenset(
    "CEIL COS EXP FLOOR FLOOR_DIV FLOOR_MOD L2_POOL_2D LOG NEG ROUND SIN SQRT SQUARE".split()
)


def runs_in_micro(tflite: bytes) -> bool:
    """Whether TFLite Micro has a kernel for each operator of a network and its outputs' types.

    Raises:
        ModelError: the file is not a TFLite model, or is damaged.
    """
    return all(_has_kernel(op) for graph in read_graphs(tflite) for op in graph.operations)


def _has_kernel(op: Operation) -> bool:
    types = {tensor.dtype for tensor in op.outputs}
    if op.kind not in TFLM_OPERATORS or ("int16" in types and op.kind not in WIDE):
        return False
    return op.kind not in _FLOAT_OPERATORS or types == {"float32"}
