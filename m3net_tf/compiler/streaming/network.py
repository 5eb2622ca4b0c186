# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` becomes a network that takes a hop of lines at a time."""

import dataclasses

import numpy as np

from m3net_tf.compiler.goals import CYCLES, Goal
from m3net_tf.compiler.graph import Graph, Operation
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

_MOST_HOP = 64


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
        axis: dimension of the inputs along which they stream; by default the one that leaves the
            fewest products.
        hop: lines with each push; by default the smallest with which no layer is whole because
            of its stride.

    Raises:
        ModelError: as for :func:`..network.compile_network`; or the network has a state of its own,
            or no such axis, or the hop is longer than the window, or nothing streams.
    """
    graph, saved = rewritten(tflite)
    if any(tensor and tensor.is_state for op in graph.operations for tensor in op.inputs):
        raise ModelError(
            "the network keeps a state of its own from run to run: compile it without --stream, "
            "and run it once for each frame"
        )
    stream, axis, hop = _choose(graph, axis, hop)
    stream.drop_cheap_lines()
    maker = PushMaker(graph, stream)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        maker.run()
    state = sum(kept.block.size for kept in maker.lowering.states)
    spare = state * goal.spare_percent // 100
    network = planned(maker.lowering, maker.frames, saved, improve, goal, spare)
    layers = [_layer(op, stream, maker) for op in graph.operations]
    window = graph.inputs[0].shape[axis]
    return dataclasses.replace(network, push=Push(axis, hop, window, layers))


def _choose(graph: Graph, axis: int | None, hop: int | None) -> tuple[Stream, int, int]:
    """The stream of the given or the best axis."""
    axes = _axes(graph) if axis is None else [_checked_axis(graph, axis)]
    best: tuple[int, Stream, int, int] | None = None
    for candidate in axes:
        lines = graph.inputs[0].shape[candidate]
        if hop is not None and not 0 < hop < lines:
            if axis is None:
                continue
            raise ModelError(f"a hop of {hop} lines does not fit a window of {lines}: --hop")
        hops = [hop] if hop is not None else range(1, min(_MOST_HOP, lines - 1) + 1)
        streams = ((Stream(graph, candidate, lines), lines) for lines in hops)
        stream, chosen = next(
            ((stream, lines) for stream, lines in streams if not stream.needs_longer_hop),
            (None, hops[0]),
        )
        stream = stream or Stream(graph, candidate, chosen)
        left = sum(_products(op, stream) for op in graph.operations) * lines // chosen
        if stream.rules and (best is None or left < best[0]):
            best = left, stream, candidate, chosen
    if best is None:
        raise ModelError(
            "no axis of the network's inputs streams: every layer needs the whole window"
        )
    return best[1], best[2], best[3]


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
        lines, window_lines = sum(end - first for first, end in stream.runs[op]), flow.lines
        state = "streamed" if lines <= flow.shift else "ends recomputed"
    elif op in stream.sums:
        lines, window_lines = stream.sums[op].added, stream.flows[op.input(0)].lines
        state = "streamed" if not stream.sums[op].ends else "ends recomputed"
    else:
        state, lines, window_lines = f"whole: {stream.whole[op]}", 0, 0
    made = maker.products.get(op, 0)
    kept = sum(map(stream.kept_bytes, op.outputs))
    return StreamedLayer(op.name, state, lines, window_lines, made, products(op), kept)
