# SPDX-License-Identifier: Apache-2.0
"""Zero padding before convolutions becomes part of their windows."""

from m3net_tf.compiler.operators.common import window_of
from m3net_tf.tflite.graph import Graph, Operation

_READERS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def fold_padding(graph: Graph) -> int:
    """Fold each padding that only convolutions read."""
    count = 0
    for op in list(graph.operations):
        readers = graph.readers(op.output)
        if not _is_foldable(op) or not readers or op.output in graph.outputs:
            continue
        if any(reader.kind not in _READERS for reader in readers):
            continue
        top, left = (int(op.constant(1)[axis][0]) for axis in (1, 2))
        for reader in readers:
            _fold(reader, op, top, left)
        graph.operations.remove(op)
        count += 1
    return count


def _is_foldable(op: Operation) -> bool:
    """Whether an operator pads only rows and columns, with the zero point."""
    if op.kind not in ("PAD", "PADV2") or len(op.output.shape) != 4:
        return False
    if not op.input(0).same_quantization(op.output):
        return False
    amounts = op.constant(1)
    if amounts[0].any() or amounts[3].any():
        return False
    return len(op.inputs) < 3 or int(op.constant(2).reshape(())) == op.output.zero_point


def _fold(reader: Operation, pad: Operation, top: int, left: int) -> None:
    filters = reader.input(1)
    window = window_of(reader, filters.shape[1], filters.shape[2], pad.output.shape)
    reader.inputs[0] = pad.input(0)
    reader.options = {
        **reader.options,
        "explicit_padding": (window.top + top, window.left + left),
    }
