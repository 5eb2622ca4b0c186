# SPDX-License-Identifier: Apache-2.0
"""A depthwise convolution of concatenated channels becomes one for each part.

Each part reads its own input in place, reversed if it is a mirror, so that the concatenation goes.
The parts of the output are written in place.
"""

import dataclasses

import numpy as np

from m3net_tf.compiler.weights import GROUP
from m3net_tf.tflite.graph import Graph, Operation, Tensor


def split_depthwise(graph: Graph) -> int:
    """Split each depthwise convolution that alone reads a concatenation of channels."""
    producers = graph.producers()
    count = 0
    for op in list(graph.operations):
        joint = producers.get(op.input(0)) if op.kind == "DEPTHWISE_CONV_2D" else None
        if joint is None or not _is_splittable(graph, op, joint):
            continue
        parts = _parts(op, joint)
        place = graph.operations.index(op)
        whole = Operation(
            kind="CONCATENATION",
            inputs=[part.output for part in parts],
            outputs=op.outputs,
            options={"axis": 3, "fusedActivationFunction": 0},
        )
        graph.operations[place : place + 1] = [*parts, whole]
        graph.operations.remove(joint)
        count += 1
    return count


def _is_splittable(graph: Graph, op: Operation, joint: Operation) -> bool:
    if joint.kind != "CONCATENATION" or joint.output in graph.outputs:
        return False
    if len(graph.readers(joint.output)) != 1 or len(joint.output.shape) != 4:
        return False
    filters = op.input(1)
    is_simple = filters.data is not None and filters.shape[3] == joint.output.shape[3]
    sizes = [joint.input(index).shape[3] for index in range(len(joint.inputs))]
    same = all(
        joint.input(index).same_quantization(joint.output) for index in range(len(joint.inputs))
    )
    has_bias = len(op.inputs) > 2 and op.inputs[2] is not None
    return (
        is_simple
        and same
        and joint.options["axis"] in (3, -1)
        and (not has_bias or op.input(2).data is not None)
        and all(size % GROUP == 0 for size in sizes)
    )


def _parts(op: Operation, joint: Operation) -> list[Operation]:
    """A depthwise convolution for each concatenated tensor."""
    parts = []
    start = 0
    for index in range(len(joint.inputs)):
        source = joint.input(index)
        channels = slice(start, start + source.shape[3])
        start = channels.stop
        inputs: list[Tensor | None] = [source, _channels(op.input(1), channels)]
        if len(op.inputs) > 2 and op.inputs[2] is not None:
            inputs.append(_channels(op.input(2), channels))
        shape = (*op.output.shape[:3], source.shape[3])
        name = f"{op.output.name} (part {index})"
        output = dataclasses.replace(op.output, name=name, shape=shape)
        parts.append(Operation(op.kind, inputs, [output], dict(op.options)))
    return parts


def _channels(tensor: Tensor, channels: slice) -> Tensor:
    assert tensor.data is not None
    data = np.ascontiguousarray(tensor.data[..., channels])
    several = len(tensor.scales) > 1
    return dataclasses.replace(
        tensor,
        shape=data.shape,
        data=data,
        scales=tensor.scales[channels] if several else tensor.scales,
        zero_points=tensor.zero_points[channels] if several else tensor.zero_points,
    )
