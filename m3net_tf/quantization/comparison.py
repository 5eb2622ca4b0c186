# SPDX-License-Identifier: Apache-2.0
"""Compares a quantised network with the float network by tensor, layer and class."""

from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.layers.diffres import WARP
from m3net_tf.quantization.methods import Quantized
from m3net_tf.quantization.observation import Float, Single, watch
from m3net_tf.quantization.ptq import quantize_except
from m3net_tf.quantization.record import LayerLoss, SplitFigures, TensorFigures
from m3net_tf.runtime.interpreter import Int8, activation_bits, run_reference
from m3net_tf.runtime.warp import warp_int8
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.training.scoring.metrics import Evaluation

_SMALLEST = 1 / 512  # half a step of int8 probabilities, their resolution
_MOVERS = frozenset(
    """
    CONCATENATION DEQUANTIZE EXPAND_DIMS GATHER MIRROR_PAD PACK PAD QUANTIZE RESHAPE REVERSE_V2
    SLICE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE UNPACK
    """.split()
)


def probabilities(scores: npt.NDArray[Any]) -> Float:
    """Convert scores of a network (int8, int16 or float) to numbers from 0 to 1."""
    if scores.dtype == np.int8:
        return (scores.astype(float) + 128) / 256
    return scores / 32768 if scores.dtype == np.int16 else scores.astype(float)


def points(share: float) -> float:
    """A difference of shares in percentage points, rounded so that 0.90 - 0.89 is exactly 1."""
    return round(100 * float(share), 6)


def divergence(of: Float, to: Float) -> float:
    """Mean Kullback-Leibler divergence of probabilities from the float network's, in nats.

    It is much finer than accuracy, which changes only with a clip's best class.
    """
    expected = np.clip(of, _SMALLEST, 1)
    actual = np.clip(to, _SMALLEST, 1)
    expected /= expected.sum(1, keepdims=True)
    actual /= actual.sum(1, keepdims=True)
    return float((expected * np.log(expected / actual)).sum(1).mean())


def compare_tensors(quantized: Quantized, features: Int8) -> list[TensorFigures]:
    """Compare each computed tensor with the float network's, in the order of execution.

    Figures include errors of earlier layers. Features are int8, (clips, bins, frames, channels).
    """
    network, floats = quantized.network, quantized.floats
    reports = []
    for name, tflite, graph, float_inputs, int8_inputs in zip(
        network.names,
        network.parts,
        floats.parts,
        floats.inputs(features),
        network.inputs(run_reference, features),
        strict=True,
    ):
        reports += _compare_part(name, graph, tflite, float_inputs, int8_inputs)
    return reports


def _compare_part(
    name: str, calibrated: bytes, tflite: bytes, float_inputs: Single, int8_inputs: Int8
) -> list[TensorFigures]:
    """Compare a part's tensors, given the inputs of its float and of its quantised graph."""
    graph = read_graph(calibrated)
    quantized = read_graph(tflite)
    bits = activation_bits(tflite)
    twins = {tensor.name: tensor for op in graph.operations for tensor in op.outputs}
    pairs: list[tuple[Operation, int, int]] = []
    for op in quantized.operations:
        twin = twins.get(op.output.name)
        if op.kind in _MOVERS or twin is None or len(op.output.scales) != 1:
            continue
        if twin.shape == op.output.shape:
            pairs.append((op, twin.index, op.output.index))
    sums = {tensor: _Sums() for _, _, tensor in pairs}
    limits = {op.output.index: _limits(op.output, bits) for op, _, _ in pairs}
    expected = watch(calibrated, float_inputs, [twin for _, twin, _ in pairs])
    actual = watch(tflite, int8_inputs, [tensor for _, _, tensor in pairs])
    for expected_values, actual_values in zip(expected, actual, strict=True):
        for _, twin_index, tensor in pairs:
            sums[tensor].add(expected_values[twin_index], actual_values[tensor], *limits[tensor])
    return [
        sums[tensor].report(_layer_name(name, quantized, op), op.kind, *limits[tensor])
        for op, _, tensor in pairs
    ]


def _layer_name(part: str, graph: Graph, op: Operation) -> str:
    return "/".join(filter(None, (part, graph.keras_layer(op))))


def rank_layers(
    quantized: Quantized,
    features: Int8,
    labels: npt.NDArray[np.int32],
    name: str,
    log: Log = silent,
) -> list[LayerLoss]:
    """Quantise one operator at a time and sort by loss, the most expensive first.

    Everything else is float, including the warp between two parts. The warp has a separate cost,
    which includes its int8 scores and maps.

    Args:
        features: int8 validation clips, shape (clips, bins, frames, channels).
        labels: their classes, shape (clips,).
    """
    network, floats = quantized.network, quantized.floats
    expected = floats.run(features)
    accuracy = (expected.argmax(1) == labels).mean()

    def cost(layer: str, operator: str, scores: Float) -> LayerLoss:
        return {
            "layer": layer,
            "operator": operator,
            "accuracy_points": points(accuracy - (scores.argmax(1) == labels).mean()),
            "divergence": divergence(expected, probabilities(scores)),
        }

    costs = []
    inputs = floats.inputs(features)
    graphs = [read_graph(calibrated) for calibrated in floats.parts]
    operations = [
        (index, op)
        for index, graph in enumerate(graphs)
        for op in graph.operations
        if op.kind not in _MOVERS
    ]
    with track(log, "cost of each layer", len(operations), "layers") as task:
        for index, op in operations:
            graph = graphs[index]
            outputs = [each.output.name for each in graph.operations]
            float_outputs = [output for output in outputs if output != op.output.name]
            part = quantize_except(floats.parts[index], name, float_outputs)
            scores = floats.run_with(index, part, inputs[index])
            layer = _layer_name(network.names[index], graph, op)
            costs.append(cost(layer, op.kind, scores))
            task.advance()
    if network.warp:
        frame_scores = np.round(256 * floats.run_part(0, inputs[0]) - 128).clip(-128, 127)
        merged = warp_int8(network.warp, features, frame_scores.astype(np.int8))
        scores = floats.run_with(1, floats.parts[1], dequantize_features(merged))
        costs.append(cost(WARP, "WARP", scores))
    return sorted(costs, key=lambda cost: (-cost["accuracy_points"], -cost["divergence"]))


def compare_split(
    expected: Float, scores: Int8, labels: npt.NDArray[np.int32], names: tuple[str, ...]
) -> SplitFigures:
    """Accuracy, confusion and recall of each class, float and quantised.

    Args:
        expected: probabilities of the float network, shape (clips, classes).
        scores: scores of the quantised network, same shape.
        labels: the clips' classes, shape (clips,).
    """
    before, after = (Evaluation.of(labels, each.argmax(1), names) for each in (expected, scores))
    recall_before = before.to_dict()["recall"]
    recall_after = after.to_dict()["recall"]
    return {
        "clips": len(labels),
        "accuracy": {"float": before.accuracy, "quantized": after.accuracy},
        "drop_points": points(before.accuracy - after.accuracy),
        "same_answer": float((expected.argmax(1) == scores.argmax(1)).mean()),
        "divergence": divergence(expected, probabilities(scores)),
        "confusion": {"float": before.matrix.tolist(), "quantized": after.matrix.tolist()},
        "recall": {
            label: {
                "float": share,
                "quantized": recall_after[label],
                "drop_points": points(share - recall_after[label]),
            }
            for label, share in recall_before.items()
        },
    }


class _Sums:
    """Running sums for one tensor over clips."""

    def __init__(self) -> None:
        self.count = self.outside = 0
        self.signal = self.noise = self.bias = self.largest = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, expected: Single, actual: Single, low: float, high: float, step: float) -> None:
        error = actual.astype(float) - expected
        self.count += error.size
        self.outside += int(((expected < low - step / 2) | (expected > high + step / 2)).sum())
        self.signal += float((expected.astype(float) ** 2).sum())
        self.noise += float((error**2).sum())
        self.bias += float(error.sum())
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.low = min(self.low, float(expected.min()))
        self.high = max(self.high, float(expected.max()))

    def report(
        self, layer: str, operator: str, low: float, high: float, step: float
    ) -> TensorFigures:
        ratio_db = None
        if self.noise > 0:
            ratio_db = float(10 * np.log10(max(self.signal, 1e-30) / self.noise))
        return {
            "layer": layer,
            "operator": operator,
            "sqnr_db": ratio_db,
            "low": float(self.low),
            "high": float(self.high),
            "covered_low": low,
            "covered_high": high,
            "step": step,
            "clipped_share": self.outside / self.count,
            "max_error": self.largest,
            "mean_error": self.bias / self.count,
        }


def _limits(tensor: Tensor, bits: int) -> tuple[float, float, float]:
    """Smallest and largest number that a quantised tensor can represent, and its step."""
    step = float(tensor.scale)
    half = 1 << (bits - 1)
    lowest = (-half - tensor.zero_point) * step
    highest = (half - 1 - tensor.zero_point) * step
    return lowest, highest, step
