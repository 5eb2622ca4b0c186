# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` file with what was changed in its graph."""

import struct
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.model_file import IDENTIFIER
from m3net_tf.tflite.read import graphs_of
from m3net_tf.tflite.unpack import refusing_damage, unpack

_SCALE_FIELD = 8  # of QuantizationParameters, in a FlatBuffer's table of offsets


def write_graph(tflite: bytes, graph: Graph) -> bytes:
    """A ``.tflite`` with its network as this graph, which was read from it and then changed.

    Operations may be gone, and have other inputs and options. Tensors may have another shape,
    quantisation or range, and constants other values. Inputs and outputs may be other tensors.

    Raises:
        ModelError: the file is damaged.
    """
    model = unpack(tflite)
    before = graphs_of(model, graph.sha256)[0]
    with refusing_damage():
        subgraph = model.subgraphs[0]
        old = {tensor.index: tensor for tensor in before.tensors()}
        for tensor in graph.tensors():
            _write_tensor(model.buffers, subgraph.tensors, old[tensor.index], tensor)
        for op in graph.operations:
            _write_operation(subgraph.operators[op.index], before.operations[op.index], op)
        subgraph.operators = [subgraph.operators[op.index] for op in graph.operations]
        _write_ends(model, subgraph, before, graph)
        return pack(model)


def pack(model: Any) -> bytes:
    """The ``.tflite`` file of a ``ModelT`` of the schema's object API."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _write_tensor(buffers: list[Any], tensors: list[Any], old: Tensor, new: Tensor) -> None:
    target = tensors[new.index]
    if new.shape != old.shape:
        target.shape = np.array(new.shape, np.int32)
        target.shapeSignature = None
    if not new.same_quantization(old):
        target.quantization = schema.QuantizationParametersT()
        target.quantization.scale = np.asarray(new.scales, np.float32)
        target.quantization.zeroPoint = np.array(new.zero_points, np.int64)
        target.quantization.quantizedDimension = new.channel_axis
    if new.range and new.range != old.range:
        if target.quantization is None:
            target.quantization = schema.QuantizationParametersT()
        target.quantization.min = np.array(new.range[:1], np.float32)
        target.quantization.max = np.array(new.range[1:], np.float32)
    if old.data is not None and new.data is not None:
        values = new.data.astype(old.data.dtype)
        if not np.array_equal(values, old.data):
            _write_values(buffers, tensors, target, values)


def _write_values(
    buffers: list[Any], tensors: list[Any], target: Any, values: npt.NDArray[Any]
) -> None:
    """Change a constant; tensors that shared its memory keep the old values."""
    data = np.frombuffer(values.tobytes(), np.uint8)
    users = sum(user.buffer == target.buffer for user in tensors)
    if users > 1 or len(data) != len(buffers[target.buffer].data):
        buffers.append(schema.BufferT())
        target.buffer = len(buffers) - 1
    buffers[target.buffer].data = data


def _write_operation(target: Any, old: Operation, new: Operation) -> None:
    inputs = [tensor.index if tensor is not None else -1 for tensor in new.inputs]
    if inputs != [tensor.index if tensor is not None else -1 for tensor in old.inputs]:
        target.inputs = np.array(inputs, np.int32)
    for name, value in new.options.items():
        if not np.array_equal(value, old.options[name]):
            setattr(target.builtinOptions, name, value)


def _write_ends(model: Any, subgraph: Any, before: Graph, after: Graph) -> None:
    ends = zip([*before.inputs, *before.outputs], [*after.inputs, *after.outputs], strict=True)
    replaced = {old.index: new.index for old, new in ends}
    subgraph.inputs = np.array([tensor.index for tensor in after.inputs], np.int32)
    subgraph.outputs = np.array([tensor.index for tensor in after.outputs], np.int32)
    for signature in model.signatureDefs or ():
        for end in [*(signature.inputs or ()), *(signature.outputs or ())]:
            end.tensorIndex = replaced.get(end.tensorIndex, end.tensorIndex)


def write_scales(tflite: bytes, scales: Mapping[int, np.float32]) -> bytes:
    """A ``.tflite`` with other scales of some tensors, and with all other bytes as they are.

    Args:
        scales: by index of tensors that have one scale each.
    """
    written = bytearray(tflite)
    subgraph = schema.Model.GetRootAsModel(written, 0).Subgraphs(0)
    for index, scale in scales.items():
        table = subgraph.Tensors(index).Quantization()._tab
        struct.pack_into("<f", written, table.Vector(table.Offset(_SCALE_FIELD)), scale)
    return bytes(written)
