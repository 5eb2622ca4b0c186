# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` becomes a network that takes a hop of lines at a time."""

import dataclasses

import numpy as np

from m3net_tf.compiler.goals import CYCLES, Goal
from m3net_tf.compiler.limits import counting_steps
from m3net_tf.compiler.network import (
    CompiledNetwork,
    Push,
    StreamedLayer,
    planned,
    rewritten,
)
from m3net_tf.compiler.plan import Improve
from m3net_tf.compiler.streaming.flow import Stream, products
from m3net_tf.compiler.streaming.push import PushMaker
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Graph, Operation

_MOST_HOP = 64
_CLEAR = 0.1  # of a window's products, between the best axis and any other one


@counting_steps()
def stream_network(
    tflite: bytes,
    axis: int | None = None,
    hop: int | None = None,
    improve: Improve | None = None,
    goal: Goal = CYCLES,
) -> CompiledNetwork:
    """Compile a network that is given ``hop`` lines of its inputs with each push.

    Its outputs are the bytes of the whole window that ends with these lines, once a window has been
    pushed after a reset.

    Args:
        axis: dimension of the inputs along which they stream; by default the one that leaves
            clearly the fewest products.
        hop: lines with each push; by default the smallest with which no layer is whole because
            of its stride.

    Raises:
        ModelError: as for :func:`..network.compile_network`; or the network has a state of its own,
            or no such axis, or the hop is longer than the window, or nothing streams; or no axis is
            given, and several leave about as many products.
    """
    graph, saved = rewritten(tflite, apart=goal.apart)
    if any(tensor and tensor.is_state for op in graph.operations for tensor in op.inputs):
        raise ModelError(
            "the network keeps a state of its own from run to run: compile it without --stream, "
            "and run it once for each frame"
        )
    stream, axis, hop, shares = _choose(graph, axis, hop)
    maker = PushMaker(graph, stream)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        maker.run()
    goal = dataclasses.replace(goal, winograd_bytes=0)  # few lines at a time
    network = planned(maker.lowering, maker.frames, saved, improve, goal)
    layers = [_layer(op, stream, maker) for op in graph.operations]
    window = graph.inputs[0].shape[axis]
    return dataclasses.replace(network, push=Push(axis, hop, window, layers, shares))


def _choose(
    graph: Graph, axis: int | None, hop: int | None
) -> tuple[Stream, int, int, dict[int, float]]:
    """The stream of the given or the best axis, its axis and hop, and the share of each axis."""
    found: dict[int, tuple[Stream, int]] = {}
    for candidate in _axes(graph) if axis is None else [_checked_axis(graph, axis)]:
        lines = graph.inputs[0].shape[candidate]
        if hop is None or 0 < hop < lines:
            stream, chosen = _shortest(graph, candidate, hop)
            if stream.rules:
                stream.drop_cheap_lines()
                found[candidate] = stream, chosen
        elif axis is not None:
            raise ModelError(f"a hop of {hop} lines does not fit a window of {lines}: --hop")
    if not found:
        raise ModelError(
            "no axis of the network's inputs streams: every layer needs the whole window"
        )
    whole = max(sum(map(products, graph.operations)), 1)
    shares = {
        place: sum(_products(op, stream) for op in graph.operations) / whole
        for place, (stream, _) in found.items()
    }
    best, *others = sorted(shares, key=shares.__getitem__)
    if any(shares[other] < shares[best] + _CLEAR for other in others):
        choices = " or ".join(
            f"--axis {place} ({share:.3f} of the products remain)"
            for place, share in shares.items()
        )
        raise ModelError(f"the inputs stream along several axes; say which one is time: {choices}")
    stream, chosen = found[best]
    return stream, best, chosen, shares


def _shortest(graph: Graph, axis: int, hop: int | None) -> tuple[Stream, int]:
    """The stream along an axis with a hop, by default the shortest that its strides divide."""
    lines = graph.inputs[0].shape[axis]
    hops = [hop] if hop is not None else range(1, min(_MOST_HOP, lines - 1) + 1)
    for count in hops:
        stream = Stream(graph, axis, count)
        if not stream.needs_longer_hop:
            return stream, count
    return Stream(graph, axis, hops[0]), hops[0]


def _axes(graph: Graph) -> list[int]:
    """Dimensions along which all inputs have the same number of lines, more than one."""
    shapes = [tensor.shape for tensor in graph.inputs]
    dimensions = min(map(len, shapes))
    return [
        axis
        for axis in range(dimensions)
        if shapes[0][axis] > 1 and len({shape[axis] for shape in shapes}) == 1
    ]


def _checked_axis(graph: Graph, axis: int) -> int:
    if axis not in (axes := _axes(graph)):
        raise ModelError(
            f"the network cannot stream along the axis {axis} of its inputs; it has the axes "
            f"{', '.join(map(str, axes)) or 'none'}: --axis"
        )
    return axis


def _products(op: Operation, stream: Stream) -> int:
    """About the multiply-accumulate operations of an operator with each push."""
    if op not in stream.rules:
        return products(op)
    lines = sum(end - first for first, end in stream.runs[op])
    return products(op) * lines // stream.flows[op.output].lines


def _layer(op: Operation, stream: Stream, maker: PushMaker) -> StreamedLayer:
    if op in stream.rules:
        flow = stream.flows[op.output]
        lines = sum(end - first for first, end in stream.runs[op])
        window_lines = flow.lines
        state = "streamed" if lines <= flow.shift else "ends recomputed"
    elif op in stream.sums:
        lines = stream.sums[op].added
        window_lines = stream.flows[op.input(0)].lines
        state = "streamed" if not stream.sums[op].ends else "ends recomputed"
    else:
        state, lines, window_lines = f"whole: {stream.whole[op]}", 0, 0
    made = maker.products.get(op, 0)
    kept = sum(map(stream.kept_bytes, op.outputs))
    return StreamedLayer(op.name, state, lines, window_lines, made, products(op), kept)
