# SPDX-License-Identifier: Apache-2.0
"""Operators of a network, and their names in TFLite Micro's resolver."""

from collections.abc import Iterable

from m3net_tf.compiler.tflite_names import operator_name
from m3net_tf.compiler.unpack import unpack
from m3net_tf.system.errors import ModelError

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

_IRREGULAR = {
    "AVERAGE_POOL_2D": "AveragePool2D",
    "BATCH_MATMUL": "BatchMatMul",
    "CONV_2D": "Conv2D",
    "CUMSUM": "CumSum",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "L2_POOL_2D": "L2Pool2D",
    "MAX_POOL_2D": "MaxPool2D",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}


def resolver_method(operator: str) -> str:
    """Suffix of the resolver's method: ``CONV_2D`` is registered by ``AddConv2D``."""
    regular = "".join(word.capitalize() for word in operator.split("_"))
    return _IRREGULAR.get(operator, regular)


def operators_of(tflite: bytes) -> list[str]:
    """Builtin operators of a network, each once, sorted.

    Raises:
        ModelError: the file is not a TFLite model, or has an operator that the firmware lacks;
            the message names the layer.
    """
    model = unpack(tflite)
    operators = set()
    for graph in model.subgraphs:
        for operation in graph.operators:
            name = operator_name(model.operatorCodes[operation.opcodeIndex])
            if name not in TFLM_OPERATORS:
                layer = graph.tensors[operation.outputs[0]].name.decode()
                raise ModelError(
                    f"layer {layer!r} becomes operator {name}, which TFLite Micro lacks: replace "
                    "the layer with one that it supports (docs/decisions.md lists them)"
                )
            operators.add(name)
    return sorted(operators)


def operators_of_parts(parts: Iterable[bytes]) -> tuple[str, ...]:
    """:func:`operators_of` for all networks of a device."""
    return tuple(sorted({name for part in parts for name in operators_of(part)}))


def variable_count(tflite: bytes) -> int:
    """Number of a network's variables, which handles of all its subgraphs may share.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    model = unpack(tflite)
    handles = (
        (operation.builtinOptions.container or b"", operation.builtinOptions.sharedName or b"")
        for graph in model.subgraphs
        for operation in graph.operators
        if operator_name(model.operatorCodes[operation.opcodeIndex]) == "VAR_HANDLE"
    )
    return len(set(handles))
