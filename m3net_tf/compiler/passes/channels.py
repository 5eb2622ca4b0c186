# SPDX-License-Identifier: Apache-2.0
"""Channels go that have one byte for every input, or that only weights of zero read.

A channel goes together with the channels that operators make of it one by one (depthwise
convolutions, tables, pooling, sums, products), up to the layers that mix channels. There its
constant is added to the bias. Where a constant branch ends in a sum or a product, its bytes become
a constant, and the whole branch goes.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.arithmetic import wrap
from m3net_tf.compiler.limits import may_search
from m3net_tf.compiler.operators.convolution import bias_of
from m3net_tf.compiler.passes.ranges import (
    PAIRS,
    Ranges,
    channels_of,
    is_by_channel,
    is_plain,
    is_plain_layer,
    pads,
    ranges_of,
)
from m3net_tf.compiler.passes.unused import drop_unused
from m3net_tf.compiler.structures import round_up
from m3net_tf.compiler.weights import GROUP
from m3net_tf.tflite.graph import WEIGHTED, Graph, Operation, Removed, Tensor

_MIXING = ("CONV_2D", "FULLY_CONNECTED")
_STEPS_OF_OPERATOR, _STEPS_OF_CHANNEL = 1000, 64  # of a search, about a nanosecond each

Bits = npt.NDArray[np.bool_]


def drop_channels(graph: Graph) -> int:
    """Remove constant branches and channels; returns the number of removed channels of layers."""
    steps = _steps(graph)
    if not may_search(steps):
        return 0
    ranges = ranges_of(graph)
    if _take_constants(graph, ranges):
        drop_unused(graph)
    stays = _Stays(graph, ranges)
    if not stays.spread(steps):
        return 0
    count = sum(_shrink(op, stays.channels, ranges) for op in graph.operations)
    for tensor, channels in stays.channels.items():
        if not channels.all():
            tensor.shape = (*tensor.shape[:-1], int(channels.sum()))
    return count


def _steps(graph: Graph) -> int:
    """About the work of a look at all channels and weights."""
    channels = sum(channels_of(tensor) for tensor in graph.tensors())
    weights = sum(
        tensor.size
        for op in graph.operations
        if op.kind in WEIGHTED and (tensor := op.input(1)).data is not None
    )
    return weights + channels * _STEPS_OF_CHANNEL + len(graph.operations) * _STEPS_OF_OPERATOR


def _take_constants(graph: Graph, ranges: Ranges) -> bool:
    """Replace operands of sums and products that are constant in all channels; whether any was."""
    if any(tensor.is_state for tensor in graph.tensors()):
        return False
    places = [
        place
        for op in graph.operations
        if op.kind in PAIRS and is_by_channel(op) and (place := _constant_operand(op, ranges))
    ]
    for op, index in places:
        tensor = op.input(index)
        low, _ = ranges[tensor]
        shape = (*[1] * (len(tensor.shape) - 1), len(low))
        data = low.astype(np.int8).reshape(shape)
        op.inputs[index] = dataclasses.replace(tensor, shape=shape, data=data)
    return bool(places)


def _constant_operand(op: Operation, ranges: Ranges) -> tuple[Operation, int] | None:
    """The place of an operand that is constant beside a computed one of the output's shape."""
    for index in (0, 1):
        tensor = op.input(index)
        other = op.input(1 - index)
        if tensor.data is not None or other.data is not None or tensor is other:
            continue
        low, high = ranges[tensor]
        if other.shape == op.output.shape and tensor.shape and (low == high).all():
            return op, index
    return None


class _Stays:
    """The channels of each computed tensor that stay."""

    def __init__(self, graph: Graph, ranges: Ranges) -> None:
        tensors = [tensor for tensor in graph.tensors() if tensor.data is None]
        self.channels: dict[Tensor, Bits] = {
            tensor: np.zeros(channels_of(tensor), bool) for tensor in tensors
        }
        self._graph = graph
        self._reads: dict[Operation, Bits] = {}
        producers = graph.producers()
        ends = set(graph.outputs)
        for tensor in tensors:
            if tensor not in producers or tensor.is_state or tensor in ends:
                self.channels[tensor][:] = True
        self._by_channel: set[Operation] = set()
        self._joints: set[Operation] = set()
        for op in graph.operations:
            if op.kind in _MIXING and is_plain_layer(op):
                self._reads[op] = _reads(op, ranges)
            elif is_by_channel(op):
                self._by_channel.add(op)
            elif _is_joint(op):
                self._joints.add(op)
            else:
                for each in [*op.inputs, *op.outputs]:
                    if each in self.channels:
                        self.channels[each][:] = True

    def spread(self, steps: int) -> bool:
        """Add all channels that those that stay need; False if that takes too many steps."""
        while True:
            before = self._count()
            if not may_search(2 * steps):
                return False
            for op in [*reversed(self._graph.operations), *self._graph.operations]:
                self._visit(op)
            if self._count() == before and not self._fill():
                return True

    def _count(self) -> int:
        return sum(int(channels.sum()) for channels in self.channels.values())

    def _fill(self) -> bool:
        """Let whole groups of channels stay, which kernels compute at once; whether any came.

        A concatenation has whole groups if its parts have.
        """
        found = False
        joints = {op.output for op in self._joints}
        for tensor, channels in self.channels.items():
            if tensor in joints:
                continue
            kept = int(channels.sum())
            missing = min(round_up(max(kept, 1), GROUP), len(channels)) - kept
            channels[np.flatnonzero(~channels)[:missing]] = True
            found |= missing > 0
        return found

    def _visit(self, op: Operation) -> None:
        channels = self.channels
        if op in self._reads:
            channels[op.input(0)] |= self._reads[op][channels[op.output]].any(axis=0)
        elif op in self._by_channel:
            tensors = [tensor for tensor in [*op.inputs, op.output] if tensor in channels]
            together = np.logical_or.reduce([channels[tensor] for tensor in tensors])
            for tensor in tensors:
                channels[tensor] |= together
        elif op in self._joints:
            start = 0
            for index in range(len(op.inputs)):
                own = channels[op.input(index)]
                part = channels[op.output][start : start + len(own)]
                own |= part
                part |= own
                start += len(own)


def _reads(op: Operation, ranges: Ranges) -> Bits:
    """(outputs, inputs): whether an output needs an input that cannot become part of its bias."""
    low, high = ranges[op.input(0)]
    is_constant = low == high
    if pads(op):
        is_constant &= low == op.input(0).zero_point
    weights = op.constant(1)
    is_read: Bits = weights.any(axis=tuple(range(1, weights.ndim - 1))) & ~is_constant
    return is_read


def _is_joint(op: Operation) -> bool:
    """Whether an operator concatenates the channels of different computed tensors."""
    if op.kind != "CONCATENATION" or not is_plain(op):
        return False
    inputs = [op.input(index) for index in range(len(op.inputs))]
    return op.options["axis"] in (-1, len(op.output.shape) - 1) and all(
        tensor.data is None and tensor.same_quantization(op.output) for tensor in inputs
    )


def _shrink(op: Operation, stays: dict[Tensor, Bits], ranges: Ranges) -> int:
    """Shrink the constants of an operator; returns how many channels of a layer went."""
    if not is_plain(op) or op.output not in stays:
        return 0
    outputs = stays[op.output]
    if op.kind == "RESHAPE" and not outputs.all():
        op.inputs = op.inputs[:1]
    if op.kind in PAIRS and not outputs.all():
        op.inputs = [_part(tensor, outputs) for tensor in op.inputs]
    if op.kind not in WEIGHTED or not is_plain_layer(op):
        return 0
    inputs = stays[op.input(0)]
    if outputs.all() and inputs.all():
        return 0
    low, high = ranges[op.output]
    gone = int((~outputs).sum())
    constant = int((~outputs & (low == high)).sum())
    if gone:
        op.removed = Removed(len(outputs), constant, gone - constant)
    _shrink_layer(op, outputs, inputs, ranges[op.input(0)][0])
    return gone


def _shrink_layer(
    op: Operation, outputs: Bits, inputs: Bits, constants: npt.NDArray[np.int64]
) -> None:
    """Take channels out of the weights; ``constants`` has the bytes of the inputs that go."""
    filters = op.input(1)
    weights = op.constant(1)
    bias = bias_of(op, slice(0, len(outputs)))
    if op.kind == "DEPTHWISE_CONV_2D":
        weights = weights[..., outputs]
    else:
        steps = np.where(inputs, 0, constants - op.input(0).zero_point)
        taps = tuple(range(1, weights.ndim - 1))
        bias = bias + weights.sum(axis=taps, dtype=np.int64) @ steps
        weights = weights[outputs][..., inputs]
    several = len(filters.scales) > 1
    op.inputs[1] = dataclasses.replace(
        filters,
        shape=weights.shape,
        data=np.ascontiguousarray(weights),
        scales=filters.scales[outputs] if several else filters.scales,
        zero_points=(0,) * int(outputs.sum()) if several else filters.zero_points,
    )
    data = wrap(bias)[outputs].astype(np.int32)
    op.inputs[2:] = [Tensor(f"{op.output.name} (bias)", data.shape, "int32", data=data)]


def _part(tensor: Tensor | None, channels: Bits) -> Tensor | None:
    """Some channels of a constant operand."""
    if tensor is None or tensor.data is None:
        return tensor
    data = np.ascontiguousarray(tensor.data.reshape(tensor.shape)[..., channels])
    return dataclasses.replace(tensor, shape=data.shape, data=data)
