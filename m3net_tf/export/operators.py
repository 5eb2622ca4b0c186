# SPDX-License-Identifier: Apache-2.0
"""Operators of a network, and their names in TFLite Micro's resolver."""

from collections.abc import Iterable, Iterator

from m3net_tf.compiler.micro import TFLM_OPERATORS
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Operation
from m3net_tf.tflite.read import read_graphs

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
        ModelError: the file is not a TFLite model.
    """
    return sorted({op.kind for op in _operations(tflite)})


def require_in_micro(parts: Iterable[bytes]) -> None:
    """Require that TFLite Micro has the operators of all networks of a device.

    Raises:
        ModelError: it lacks one; the message names the layer.
    """
    for op in (op for part in parts for op in _operations(part)):
        if op.kind not in TFLM_OPERATORS:
            raise ModelError(
                f"layer {op.output.name!r} becomes operator {op.kind}, which TFLite Micro lacks: "
                "use the engine compiled, or replace the layer with one that it supports "
                "(m3net_tf/compiler/micro.py lists them)"
            )


def _operations(tflite: bytes) -> Iterator[Operation]:
    return (op for graph in read_graphs(tflite) for op in graph.operations)


def operators_of_parts(parts: Iterable[bytes]) -> tuple[str, ...]:
    """:func:`operators_of` for all networks of a device."""
    return tuple(sorted({name for part in parts for name in operators_of(part)}))


def variable_count(tflite: bytes) -> int:
    """Number of a network's variables, which handles of all its subgraphs may share.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    handles = (
        (op.options["container"] or b"", op.options["sharedName"] or b"")
        for op in _operations(tflite)
        if op.kind == "VAR_HANDLE"
    )
    return len(set(handles))
