# SPDX-License-Identifier: Apache-2.0
"""Where a quantised network loses accuracy: tensor by tensor, layer by layer, class by class."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.frontend import dequantize_features
from m3net_tf.models.diffres import WARP
from m3net_tf.quantization.graph import Graph, Operator
from m3net_tf.quantization.methods import Quantized
from m3net_tf.quantization.observation import Float, Single, watch
from m3net_tf.quantization.ptq import quantize_except
from m3net_tf.runtime.interpreter import Int8, activation_bits, run_reference
from m3net_tf.runtime.warp import warp_int8
from m3net_tf.training.metrics import Evaluation

_SMALLEST = 1 / 512  # half a step of int8 probabilities: below, they say nothing
_MOVERS = frozenset(
    """
    CONCATENATION DEQUANTIZE EXPAND_DIMS GATHER MIRROR_PAD PACK PAD QUANTIZE RESHAPE REVERSE_V2
    SLICE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE UNPACK
    """.split()
)


def probabilities(scores: npt.NDArray[Any]) -> Float:
    """Scores of a network of any width as numbers from 0 to 1."""
    if scores.dtype == np.int8:
        return (scores.astype(float) + 128) / 256
    return scores / 32768 if scores.dtype == np.int16 else scores.astype(float)


def points(share: float) -> float:
    """A difference of shares in percentage points, free of the last bits: 0.90 - 0.89 is 1."""
    return round(100 * float(share), 6)


def divergence(of: Float, to: Float) -> float:
    """Mean Kullback-Leibler divergence of answers from the float network's, in nats.

    Far finer than accuracy, which moves only where a clip's best class changes.
    """
    expected = np.clip(of, _SMALLEST, 1)
    answer = np.clip(to, _SMALLEST, 1)
    expected /= expected.sum(1, keepdims=True)
    answer /= answer.sum(1, keepdims=True)
    return float((expected * np.log(expected / answer)).sum(1).mean())


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """How a layer's output differs from the float network's.

    Attributes:
        layer: Keras's name of the layer, behind the part's where there are several.
        operator: what it became.
        sqnr_db: signal to quantisation noise; None if the two are equal.
        low: smallest value of the float network.
        high: largest value.
        covered_low: smallest value that the quantised tensor can hold.
        covered_high: largest one.
        step: one step of the quantised tensor.
        clipped_share: share of the float values outside of what it can hold.
        max_error: largest difference.
        mean_error: quantised less float.
    """

    layer: str
    operator: str
    sqnr_db: float | None
    low: float
    high: float
    covered_low: float
    covered_high: float
    step: float
    clipped_share: float
    max_error: float
    mean_error: float


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What it costs to quantise one operator and nothing else.

    Attributes:
        layer: Keras's name of the layer, behind the part's where there are several.
        operator: what it became; ``WARP`` for the one between two parts.
        accuracy_points: float accuracy less that, in percentage points.
        divergence: of its answers from the float ones, in nats a clip.
    """

    layer: str
    operator: str
    accuracy_points: float
    divergence: float


def compare_tensors(quantized: Quantized, features: Int8) -> list[TensorReport]:
    """Compare each computed tensor with the float network's, in the order of execution.

    Errors of earlier layers are in the later ones' figures.

    Args:
        quantized: network and the float graphs that it comes from.
        features: int8 clips, shape (clips, bins, frames, channels).
    """
    network, floats = quantized.network, quantized.floats
    reports = []
    for name, tflite, graph, ours, theirs in zip(
        network.names,
        network.parts,
        floats.parts,
        floats.inputs(features),
        network.inputs(run_reference, features),
        strict=True,
    ):
        reports += _compare_part(name, graph, tflite, ours, theirs)
    return reports


def _compare_part(
    name: str, calibrated: bytes, tflite: bytes, ours: Single, theirs: Int8
) -> list[TensorReport]:
    """Compare one part's tensors: ``ours`` is input of the float graph, ``theirs`` of the int8."""
    plain, small, bits = Graph(calibrated), Graph(tflite), activation_bits(tflite)
    twins = {plain.name(t): t for operator in plain.operators for t in operator.outputs}
    pairs: list[tuple[Operator, int, int]] = []
    for operator in small.operators:
        tensor = operator.outputs[0]
        twin = twins.get(small.name(tensor))
        if operator.kind in _MOVERS or twin is None or small.quantization(tensor) is None:
            continue
        if plain.shape(twin) == small.shape(tensor):
            pairs.append((operator, twin, tensor))
    sums = {tensor: _Sums() for _, _, tensor in pairs}
    limits = {tensor: _limits(small, tensor, bits) for _, _, tensor in pairs}
    expected = watch(calibrated, ours, [twin for _, twin, _ in pairs])
    reached = watch(tflite, theirs, [tensor for _, _, tensor in pairs])
    for expected_values, reached_values in zip(expected, reached, strict=True):
        for _, twin, tensor in pairs:
            sums[tensor].add(expected_values[twin], reached_values[tensor], *limits[tensor])
    return [
        sums[tensor].report(_named(name, small, operator), operator.kind, *limits[tensor])
        for operator, _, tensor in pairs
    ]


def _named(part: str, graph: Graph, operator: Operator) -> str:
    """A layer's name, behind its part's."""
    return "/".join(filter(None, (part, graph.layer(operator))))


def rank_layers(
    quantized: Quantized, features: Int8, labels: npt.NDArray[np.int32], name: str
) -> list[LayerCost]:
    """Quantise one operator at a time and sort by what that costs, the most expensive first.

    All else is float, the warp between two parts included; it has a cost of its own, with the
    int8 scores and maps that it takes and gives.

    Args:
        quantized: int8 network and its float graphs.
        features: int8 validation clips, shape (clips, bins, frames, channels).
        labels: their classes, shape (clips,).
        name: network's name, for messages.
    """
    network, floats = quantized.network, quantized.floats
    expected = floats.run(features)
    accuracy = (expected.argmax(1) == labels).mean()

    def cost(layer: str, operator: str, scores: Float) -> LayerCost:
        drop = points(accuracy - (scores.argmax(1) == labels).mean())
        return LayerCost(layer, operator, drop, divergence(expected, probabilities(scores)))

    costs = []
    given = floats.inputs(features)
    for index, calibrated in enumerate(floats.parts):
        graph = Graph(calibrated)
        outputs = [graph.name(operator.outputs[0]) for operator in graph.operators]
        for operator, output in zip(graph.operators, outputs, strict=True):
            if operator.kind in _MOVERS:
                continue
            others = [name for name in outputs if name != output]
            alone = quantize_except(calibrated, name, others)
            scores = floats.answers_with(index, alone, given[index])
            costs.append(cost(_named(network.names[index], graph, operator), operator.kind, scores))
    if network.warp:
        rated = np.round(256 * floats.answers_of(0, given[0]) - 128).clip(-128, 127)
        merged = warp_int8(network.warp, features, rated.astype(np.int8))
        scores = floats.answers_with(1, floats.parts[1], dequantize_features(merged))
        costs.append(cost(WARP, "WARP", scores))
    return sorted(costs, key=lambda cost: (-cost.accuracy_points, -cost.divergence))


def compare_split(
    expected: Float, scores: Int8, labels: npt.NDArray[np.int32], names: tuple[str, ...]
) -> dict[str, Any]:
    """Accuracy, confusion and recall of each class, float beside quantised.

    Args:
        expected: probabilities by the trained network, shape (clips, classes).
        scores: of the quantised evaluation, the same shape.
        labels: the clips' classes, shape (clips,).
        names: of the classes.
    """
    both = {"float": expected.argmax(1), "quantized": scores.argmax(1)}
    evaluations = {key: Evaluation.of(labels, answers, names) for key, answers in both.items()}
    recall = {key: evaluation.to_dict()["recall"] for key, evaluation in evaluations.items()}
    return {
        "clips": len(labels),
        "accuracy": {key: evaluation.accuracy for key, evaluation in evaluations.items()},
        "drop_points": points(evaluations["float"].accuracy - evaluations["quantized"].accuracy),
        "same_answer": float((both["float"] == both["quantized"]).mean()),
        "divergence": divergence(expected, probabilities(scores)),
        "confusion": {key: evaluation.matrix.tolist() for key, evaluation in evaluations.items()},
        "recall": {
            label: {
                "float": recall["float"][label],
                "quantized": recall["quantized"][label],
                "drop_points": points(recall["float"][label] - recall["quantized"][label]),
            }
            for label in recall["float"]
        },
    }


class _Sums:
    """Running sums over clips of one tensor."""

    def __init__(self) -> None:
        self.count = self.outside = 0
        self.signal = self.noise = self.bias = self.largest = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, ours: Single, theirs: Single, low: float, high: float, step: float) -> None:
        error = theirs.astype(float) - ours
        self.count += error.size
        self.outside += int(((ours < low - step / 2) | (ours > high + step / 2)).sum())
        self.signal += float((ours.astype(float) ** 2).sum())
        self.noise += float((error**2).sum())
        self.bias += float(error.sum())
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.low, self.high = min(self.low, float(ours.min())), max(self.high, float(ours.max()))

    def report(
        self, layer: str, operator: str, low: float, high: float, step: float
    ) -> TensorReport:
        ratio_db = None
        if self.noise > 0:
            ratio_db = float(10 * np.log10(max(self.signal, 1e-30) / self.noise))
        return TensorReport(
            layer,
            operator,
            ratio_db,
            float(self.low),
            float(self.high),
            low,
            high,
            step,
            self.outside / self.count,
            self.largest,
            self.bias / self.count,
        )


def _limits(graph: Graph, tensor: int, bits: int) -> tuple[float, float, float]:
    """Smallest and largest number that a quantised tensor can hold, and its step."""
    quantization = graph.quantization(tensor)
    assert quantization is not None
    step, zero_point = quantization
    half = 1 << (bits - 1)
    return (-half - zero_point) * step, (half - 1 - zero_point) * step, step
