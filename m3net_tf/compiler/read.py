# SPDX-License-Identifier: Apache-2.0
"""First stage: a file becomes a graph that the compiler can take, or is refused."""

import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler.limits import (
    LARGEST_TENSOR,
    MOST_DIMENSIONS,
    MOST_NAME,
    MOST_OPERANDS,
    MOST_OPERATORS,
)
from m3net_tf.compiler.quantised import require_whole_numbers
from m3net_tf.compiler.variables import WITHOUT_OUTPUT, bind_variables
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.ends import strip_ends
from m3net_tf.tflite.graph import CONVERT, Graph, Operation, Tensor
from m3net_tf.tflite.read import at, read_graphs
from m3net_tf.tflite.unpack import refusing_damage

STATEFUL = (
    "ASSIGN_VARIABLE",
    "READ_VARIABLE",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
)  # operators that keep states
_CONSTANTS = ("int8", "int16", "int32", "int64", "float32", "bool", "uint8")


def read_network(tflite: bytes) -> Graph:
    """The graph of the content of a ``.tflite`` file.

    Raises:
        ModelError: the file is no TFLite model, is damaged, or asks for more than the compiler
            gives.
    """
    graph, *others = read_graphs(tflite)
    with refusing_damage():
        strip_ends(graph)
        _require_few(graph)
        require_whole_numbers(graph)
        _require_fit(graph)
        graph.operations = bind_variables(graph.operations, _initial(graph, others))
    return graph


def _initial(graph: Graph, others: Sequence[Graph]) -> list[Operation]:
    """The operations of the subgraph that sets variables before the first run."""
    once = [op for op in graph.operations if op.kind == "CALL_ONCE"]
    if len(others) != len(once) or len(once) > 1:
        raise ModelError(
            f"the network has {1 + len(others)} subgraphs; the compiler takes one, and one "
            "that sets variables: replace loops and conditions"
        )
    if not once:
        return []
    initial = at([graph, *others], int(once[0].options["initSubgraphIndex"]))
    _require_fit(initial)
    return initial.operations


def _require_few(graph: Graph) -> None:
    """Refuse a network that would take too long; the message names the first operator too many."""
    operands = 0
    for number, op in enumerate(graph.operations):
        operands += len(op.inputs) + len(op.outputs)
        if number >= MOST_OPERATORS or operands > MOST_OPERANDS:
            raise ModelError(
                f"operator {op.kind}, number {number} of the network: the compiler takes up to "
                f"{MOST_OPERATORS} operators, and {MOST_OPERANDS} inputs and outputs of all of "
                "them: make the network smaller"
            )


def _require_fit(graph: Graph) -> None:
    """Refuse tensors that no kernel could take, and cut their names off."""
    read = {each for op in graph.operations for each in op.inputs}
    read |= {*graph.inputs, *graph.outputs}
    for tensor in sorted(graph.tensors(), key=lambda tensor: tensor.index):
        tensor.name = tensor.name[:MOST_NAME]
        _require_shape(tensor, is_read=tensor in read)
        _require_quantization(tensor)
        if tensor.data is not None and tensor.dtype not in _CONSTANTS:
            raise ModelError(
                f"tensor {tensor.name!r} has type {tensor.dtype}, which is not supported: "
                f"{CONVERT}, in int8"
            )
    for op in graph.operations:
        if not op.outputs and op.kind not in WITHOUT_OUTPUT:
            raise ModelError(f"an operator {op.kind} has no output: the file is damaged, {CONVERT}")


def _require_shape(tensor: Tensor, *, is_read: bool) -> None:
    """Only a tensor that nothing reads may be empty, such as the rest of a SPLIT_V."""
    if len(tensor.shape) > MOST_DIMENSIONS:
        raise ModelError(
            f"tensor {tensor.name!r} has more than {MOST_DIMENSIONS} dimensions: reshape it to "
            "fewer"
        )
    if any(size < is_read for size in tensor.shape):
        raise ModelError(
            f"tensor {tensor.name!r} has the shape {tensor.shape}; all sizes must be fixed: give "
            "them when you convert the network, such as keras.Input(shape, batch_size=1)"
        )
    if math.prod(tensor.shape) > LARGEST_TENSOR:
        raise ModelError(
            f"tensor {tensor.name!r} has the shape {tensor.shape}; the compiler takes up to "
            f"{LARGEST_TENSOR} items: make the network smaller"
        )


def _require_quantization(tensor: Tensor) -> None:
    """Refuse scales that no arithmetic could use."""
    if len(tensor.scales) != len(tensor.zero_points):
        raise ModelError(f"tensor {tensor.name!r} lacks a zero point for each scale: {CONVERT}")
    if not np.all(np.isfinite(tensor.scales) & (tensor.scales > 0)):
        raise ModelError(
            f"tensor {tensor.name!r} has a scale that is not positive: calibrate with other clips; "
            "for an unrolled recurrent layer in int16 give the batch size, "
            "keras.Input(shape, batch_size=1)"
        )
    if tensor.dtype in ("int8", "uint8", "int16", "int32"):
        ends = np.iinfo(tensor.dtype)
        lowest = max(int(ends.min), -(2**31 - 1))  # kernels also subtract it
        if not all(lowest <= point <= ends.max for point in tensor.zero_points):
            raise ModelError(
                f"tensor {tensor.name!r} has a zero point outside {tensor.dtype}: {CONVERT}"
            )


def require_order(graph: Graph) -> None:
    """Refuse a network with operators out of topological order, or a tensor computed twice.

    Raises:
        ModelError: the message names operator and tensor.
    """
    ready = set(graph.inputs)
    if len(ready) < len(graph.inputs) or any(tensor.data is not None for tensor in ready):
        raise ModelError(
            "the network has an input twice, or one that is a constant: convert it again"
        )
    for op in graph.operations:
        states = {tensor for tensor in op.inputs if tensor is not None and tensor.is_state}
        known = ready | states if op.kind in STATEFUL else ready
        for tensor in op.inputs:
            if tensor is not None and tensor.data is None and tensor not in known:
                raise op.error(f"reads tensor {tensor.name!r} before it is computed, in a cycle")
        for tensor in op.outputs:
            if tensor in ready or tensor.data is not None:
                raise op.error(f"computes tensor {tensor.name!r}, which has a value already")
            ready.add(tensor)
    for tensor in graph.outputs:
        if tensor not in ready and tensor.data is None:
            raise ModelError(f"the network's output {tensor.name!r} is never computed: {CONVERT}")
