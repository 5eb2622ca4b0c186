# SPDX-License-Identifier: Apache-2.0
"""The graphs of a ``.tflite`` file."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.names import TYPES, operator_name
from m3net_tf.tflite.unpack import refusing_damage, unpack

MOST_INDICES = 1 << 18
"""Inputs and outputs of all operators, and sizes of all tensors."""
_IN_NUMPY = frozenset(
    """
    bool complex64 complex128 float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32
    uint64
    """.split()
)
_T = TypeVar("_T")


def read_graph(tflite: bytes) -> Graph:
    """The network of a ``.tflite`` file, its first subgraph.

    Raises:
        ModelError: the file is not a TFLite model, or is damaged.
    """
    return read_graphs(tflite)[0]


def read_graphs(tflite: bytes) -> list[Graph]:
    """The network of a ``.tflite`` file, and its other subgraphs.

    Raises:
        ModelError: the file is not a TFLite model, or is damaged.
    """
    return graphs_of(unpack(tflite), sha256_of(tflite))


def graphs_of(model: Any, sha256: str) -> list[Graph]:
    """As :func:`read_graphs`, of a ``ModelT``."""
    with refusing_damage():
        if not model.subgraphs:
            raise ModelError("the network has no subgraph: the file is damaged, convert it again")
        _require_few_indices(model)
        return [_graph(model, subgraph, sha256) for subgraph in model.subgraphs]


def _require_few_indices(model: Any) -> None:
    count = 0
    for subgraph in model.subgraphs:
        count += sum(len(_indices(tensor.shape)) for tensor in subgraph.tensors)
        for operator in subgraph.operators:
            count += len(_indices(operator.inputs)) + len(_indices(operator.outputs))
    if count > MOST_INDICES:
        raise ModelError(
            f"the network has more than {MOST_INDICES} inputs and outputs of operators and sizes "
            "of tensors: make the network smaller"
        )


def _graph(model: Any, subgraph: Any, sha256: str) -> Graph:
    used = {*map(int, _indices(subgraph.inputs)), *map(int, _indices(subgraph.outputs))}
    for operator in subgraph.operators:
        used.update(map(int, _indices(operator.outputs)))
        used.update(map(int, _indices(operator.inputs)))
    tensors = [  # an LSTM has others, which may be empty
        _tensor(item, index, model.buffers) if index in used else None
        for index, item in enumerate(subgraph.tensors)
    ]
    return Graph(
        operations=[
            _operation(item, index, model, tensors) for index, item in enumerate(subgraph.operators)
        ],
        inputs=_tensors_at(tensors, subgraph.inputs),
        outputs=_tensors_at(tensors, subgraph.outputs),
        sha256=sha256,
    )


def _indices(indices: Any) -> Any:
    """Numbers of a list, which a file leaves out if it is empty."""
    return indices if indices is not None else ()


def at(items: Sequence[_T], index: int) -> _T:
    """An item by an index of the file, which must not be negative.

    Raises:
        IndexError: there is no such item.
    """
    if not 0 <= index < len(items):
        raise IndexError(f"index {index} of {len(items)}")
    return items[index]


def _tensors_at(tensors: list[Any], indices: Any) -> list[Tensor]:
    return [at(tensors, int(index)) for index in _indices(indices)]


def _tensor(source: Any, index: int, buffers: list[Any]) -> Tensor:
    tensor = Tensor(
        name=source.name.decode() if source.name is not None else f"#{index}",
        shape=tuple(int(size) for size in _indices(source.shape)),
        dtype=TYPES[source.type],
        is_state=bool(source.isVariable),
        unknown=tuple(
            axis for axis, size in enumerate(_indices(source.shapeSignature)) if size < 0
        ),
        index=index,
    )
    quantization = source.quantization
    if quantization is not None and quantization.scale is not None:
        tensor.scales = np.asarray(quantization.scale, np.float32)
        tensor.zero_points = tuple(int(point) for point in _indices(quantization.zeroPoint))
        tensor.channel_axis = int(quantization.quantizedDimension)
    if quantization is not None:
        ends = [*_indices(quantization.min)[:2], *_indices(quantization.max)[:2]]
        tensor.range = (float(ends[0]), float(ends[1])) if len(ends) == 2 else None
    raw = at(buffers, source.buffer).data
    if raw is not None and len(raw) > 0:
        tensor.data = _values(tensor, np.asarray(raw, np.uint8))
    return tensor


def _values(tensor: Tensor, raw: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """A view of the file's bytes: many tensors may share them."""
    if tensor.dtype not in _IN_NUMPY:
        return raw
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    if len(raw) != tensor.size * dtype.itemsize:
        raise ModelError(
            f"tensor {tensor.name!r} of shape {tensor.shape} has {len(raw)} bytes of values: the "
            "file is damaged, convert the network again"
        )
    return raw.view(dtype).reshape(tensor.shape)


def _operation(source: Any, index: int, model: Any, tensors: list[Any]) -> Operation:
    return Operation(
        kind=operator_name(at(model.operatorCodes, source.opcodeIndex)),
        inputs=[
            None if place == -1 else at(tensors, int(place)) for place in _indices(source.inputs)
        ],
        outputs=_tensors_at(tensors, source.outputs),
        options=dict(vars(source.builtinOptions)) if source.builtinOptions is not None else {},
        index=index,
    )
