# SPDX-License-Identifier: Apache-2.0
"""Splits that the converter left in float, between DEQUANTIZE and QUANTIZE, become int8.

It does so where nothing reads one of the parts, as in unrolled recurrent layers.
"""

from m3net_tf.tflite.graph import Graph, Operation

_SPLITS = {"SPLIT": 1, "SPLIT_V": 0}  # index of the input that is split


def quantize_splits(graph: Graph) -> int:
    """Split the quantised tensor itself: the bytes pass both conversions unchanged."""
    producers = graph.producers()
    count = 0
    for op in list(graph.operations):
        if op.kind not in _SPLITS:
            continue
        conversion = producers.get(op.input(_SPLITS[op.kind]))
        if conversion is None or conversion.kind != "DEQUANTIZE":
            continue
        readers = [reader for part in op.outputs for reader in graph.readers(part)]
        if any(part in graph.outputs for part in op.outputs) or not all(
            _restores(reader, conversion) for reader in readers
        ):
            continue
        _split_integers(graph, op, conversion, readers)
        count += 1
    return count


def _restores(reader: Operation, conversion: Operation) -> bool:
    source = conversion.input(0)
    return (
        reader.kind == "QUANTIZE"
        and reader.output.dtype == source.dtype
        and reader.output.same_quantization(source)
    )


def _split_integers(
    graph: Graph, op: Operation, conversion: Operation, readers: list[Operation]
) -> None:
    """Let a split read and give integers, and what follows read its parts."""
    source = conversion.input(0)
    op.inputs[_SPLITS[op.kind]] = source
    for part in op.outputs:
        part.dtype, part.scales, part.zero_points = source.dtype, source.scales, source.zero_points
    for reader in readers:
        graph.operations.remove(reader)
        for follower in graph.readers(reader.output):
            follower.inputs = [
                reader.input(0) if tensor is reader.output else tensor for tensor in follower.inputs
            ]
