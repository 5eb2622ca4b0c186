# SPDX-License-Identifier: Apache-2.0
"""First stage: the FlatBuffer becomes a checked graph."""

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.compiler.ends import strip_ends
from m3net_tf.compiler.graph import CONVERT, Graph, Operation, Tensor
from m3net_tf.compiler.limits import (
    LARGEST_TENSOR,
    MOST_DIMENSIONS,
    MOST_NAME,
    MOST_OPERANDS,
    MOST_OPERATORS,
)
from m3net_tf.compiler.quantised import require_whole_numbers
from m3net_tf.compiler.tflite_names import names_of, operator_name
from m3net_tf.compiler.unpack import refusing_damage, unpack
from m3net_tf.compiler.variables import WITHOUT_OUTPUT, bind_variables
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError

STATEFUL = (
    "ASSIGN_VARIABLE",
    "READ_VARIABLE",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
)  # operators that keep states

_TYPES = {number: name.lower() for number, name in names_of(schema.TensorType).items()}


def read_network(tflite: bytes) -> Graph:
    """The graph of the content of a ``.tflite`` file.

    Raises:
        ModelError: the file is no TFLite model, or is damaged.
    """
    model = unpack(tflite)
    with refusing_damage():
        return _graph(model, sha256_of(tflite))


def _graph(model: Any, sha256: str) -> Graph:
    if not model.subgraphs:
        raise ModelError("the network has no subgraph: the file is damaged, convert it again")
    file_dtypes = strip_ends(model)
    subgraph = model.subgraphs[0]
    _require_few(model, subgraph)
    require_whole_numbers(model, subgraph)
    operations, tensors = _operations(model, subgraph)
    for index, dtype in file_dtypes.items():
        _at(tensors, index).file_dtype = dtype
    once = [int(op.options["initSubgraphIndex"]) for op in operations if op.kind == "CALL_ONCE"]
    if len(model.subgraphs) != 1 + len(once) or len(once) > 1:
        raise ModelError(
            f"the network has {len(model.subgraphs)} subgraphs; the compiler takes one, and one "
            "that sets variables: replace loops and conditions"
        )
    initial = [op for index in once for op in _operations(model, _at(model.subgraphs, index))[0]]
    return Graph(
        operations=bind_variables(operations, initial),
        inputs=[_at(tensors, index) for index in subgraph.inputs],
        outputs=[_at(tensors, index) for index in subgraph.outputs],
        sha256=sha256,
    )


def _operations(model: Any, subgraph: Any) -> tuple[list[Operation], list[Any]]:
    ends = (*_indices(subgraph.inputs), *_indices(subgraph.outputs))
    read = {int(index) for index in ends}
    written: set[int] = set()
    for operator in subgraph.operators:
        written.update(int(index) for index in _indices(operator.outputs))
        read.update(int(index) for index in _indices(operator.inputs))
    tensors = [  # an LSTM has others, which may be empty
        _tensor(item, i, model.buffers, is_read=i in read) if i in read | written else None
        for i, item in enumerate(subgraph.tensors)
    ]
    return [_operation(item, model, tensors) for item in subgraph.operators], tensors


def _indices(indices: Any) -> Any:
    """Indices of tensors; a file may leave an empty list out."""
    return indices if indices is not None else ()


def _at(items: list[Any], index: int) -> Any:
    """An item by an index that must not be negative."""
    if not 0 <= index < len(items):
        raise IndexError(f"index {index} of {len(items)}")
    return items[index]


def _tensor(source: Any, index: int, buffers: list[Any], *, is_read: bool) -> Tensor:
    """A tensor; only one that nothing reads may be empty, such as the rest of a SPLIT_V."""
    name = source.name.decode()[:MOST_NAME] if source.name is not None else f"#{index}"
    shape = tuple(int(size) for size in _indices(source.shape)[: MOST_DIMENSIONS + 1])
    if len(shape) > MOST_DIMENSIONS:
        raise ModelError(
            f"tensor {name!r} has more than {MOST_DIMENSIONS} dimensions: reshape it to fewer"
        )
    if any(size < is_read for size in shape):
        raise ModelError(
            f"tensor {name!r} has the shape {shape}; all sizes must be fixed: give them when you "
            "convert the network, such as keras.Input(shape, batch_size=1)"
        )
    if math.prod(shape) > LARGEST_TENSOR:
        raise ModelError(
            f"tensor {name!r} has the shape {shape}; the compiler takes up to {LARGEST_TENSOR} "
            "items: make the network smaller"
        )
    tensor = Tensor(name, shape, _TYPES[source.type], is_state=bool(source.isVariable))
    signature = source.shapeSignature if source.shapeSignature is not None else ()
    tensor.unknown = tuple(axis for axis, size in enumerate(signature) if size < 0)
    quantization = source.quantization
    if quantization is not None and quantization.scale is not None:
        tensor.scales = np.asarray(quantization.scale, np.float32)
        points = quantization.zeroPoint
        tensor.zero_points = tuple(int(point) for point in (points if points is not None else ()))
        tensor.channel_axis = int(quantization.quantizedDimension)
        _require_quantization(tensor)
    raw = _at(buffers, source.buffer).data
    if raw is not None and len(raw) > 0:
        tensor.data = _values(tensor, np.asarray(raw, np.uint8))
    return tensor


def _require_few(model: Any, subgraph: Any) -> None:
    """Refuse a subgraph that would take too long; the message names the first operator too many."""
    operands = 0
    for number, operator in enumerate(subgraph.operators):
        operands += len(_indices(operator.inputs)) + len(_indices(operator.outputs))
        if number >= MOST_OPERATORS or operands > MOST_OPERANDS:
            kind = operator_name(_at(model.operatorCodes, operator.opcodeIndex))
            raise ModelError(
                f"operator {kind}, number {number} of the network: the compiler takes up to "
                f"{MOST_OPERATORS} operators, and {MOST_OPERANDS} inputs and outputs of all of "
                "them: make the network smaller"
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


def _values(tensor: Tensor, raw: np.ndarray) -> np.ndarray:
    """A view of the file's bytes: many tensors may share them."""
    if tensor.dtype not in ("int8", "int16", "int32", "int64", "float32", "bool", "uint8"):
        raise ModelError(
            f"tensor {tensor.name!r} has type {tensor.dtype}, which is not supported: "
            f"{CONVERT}, in int8"
        )
    dtype = np.dtype(tensor.dtype)
    if len(raw) != tensor.size * dtype.itemsize:
        raise ModelError(
            f"tensor {tensor.name!r} of shape {tensor.shape} has {len(raw)} bytes of values: the "
            "file is damaged, convert the network again"
        )
    return raw.view(dtype.newbyteorder("<")).reshape(tensor.shape)


def _operation(source: Any, model: Any, tensors: list[Tensor | None]) -> Operation:
    kind = operator_name(_at(model.operatorCodes, source.opcodeIndex))
    options = dict(vars(source.builtinOptions)) if source.builtinOptions is not None else {}
    inputs, outputs = _indices(source.inputs), _indices(source.outputs)
    if not len(outputs) and kind not in WITHOUT_OUTPUT:
        raise ModelError(f"an operator {kind} has no output: the file is damaged, {CONVERT}")
    return Operation(
        kind=kind,
        inputs=[None if index == -1 else _at(tensors, index) for index in inputs],
        outputs=[_at(tensors, index) for index in outputs],
        options=options,
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
