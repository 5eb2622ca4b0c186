# SPDX-License-Identifier: Apache-2.0
"""``report.json`` of a quantisation, with types."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from m3net_tf.system.artifacts import Provenance


class Attempt(TypedDict):
    """An attempt of a repair.

    Attributes:
        method: the method, with the layer from which on it trains.
        drop_points: percentage points of validation accuracy that it loses; None if it failed.
        divergence: divergence from the float network's probabilities, in nats per clip.
        outcome: the result, or the reason of the failure, in words.
    """

    method: str
    drop_points: float | None
    divergence: float | None
    outcome: str


class Tuning(TypedDict):
    """A fine-tuning and its figures.

    Attributes:
        kind: ``prune`` or ``qat``.
        percent: percent of the weights that ``prune`` set to 0.
        first_layer: the first layer that ``qat`` changed; None for all.
        learning_rate: initial learning rate.
        teacher: folder of the teacher's run; None without one.
    """

    kind: str
    percent: NotRequired[int]
    first_layer: NotRequired[str | None]
    epochs: int
    learning_rate: float
    teacher: str | None
    loss: float


class LayerWeights(TypedDict):
    """Weights of a layer in int8.

    Attributes:
        weights: number of weights.
        zero_share: share of zeros.
        values: number of different values.
    """

    layer: str
    operator: str
    weights: int
    zero_share: float
    values: int


class Compression(TypedDict):
    """Compressed size of a network.

    Attributes:
        gzip_bytes: all parts after ``gzip -9``.
        zero_share: share of zeros of all weights.
    """

    gzip_bytes: int
    zero_share: float
    layers: list[LayerWeights]


class SplitFigures(TypedDict):
    """The quantised and the float network on a split, under the keys ``quantized`` and ``float``.

    Attributes:
        drop_points: percentage points of accuracy that quantisation loses.
        same_answer: share of the clips with equal answers.
        divergence: divergence from the float network's probabilities, in nats per clip.
        confusion: matrices of clips: rows are true classes, columns predicted ones.
        recall: recall of each class as shares, and ``drop_points``, which quantisation loses.
    """

    clips: int
    accuracy: dict[str, float]
    drop_points: float
    same_answer: float
    divergence: float
    confusion: dict[str, list[list[int]]]
    recall: dict[str, dict[str, float]]


class TensorFigures(TypedDict):
    """Difference between a layer's quantised output and the float network's.

    Attributes:
        layer: Keras's name of the layer, with the part's name before it if there are several parts.
        sqnr_db: signal to quantisation noise; None if the two are equal.
        low: smallest value of the float network.
        high: largest value of the float network.
        covered_low: smallest value that the quantised tensor can represent.
        covered_high: largest value that it can represent.
        step: one step of the quantised tensor.
        clipped_share: share of the float values that it cannot represent.
        max_error: largest difference.
        mean_error: mean of quantised minus float values.
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


class LayerLoss(TypedDict):
    """Loss from quantising a single operator.

    Attributes:
        layer: Keras's name of the layer, with the part's name before it if there are several parts.
        operator: its TFLite operator; ``WARP`` for the warp between two parts.
        accuracy_points: loss of accuracy in percentage points.
        divergence: divergence from the float network's probabilities, in nats per clip.
    """

    layer: str
    operator: str
    accuracy_points: float
    divergence: float


class CalibrationClips(TypedDict):
    """Ids of the calibration clips, and SHA-256 of their features."""

    clips: list[str]
    features_sha256: str


class ReportedData(TypedDict):
    """The data set; ``statement`` is its protocol in words."""

    name: str
    protocol: str
    statement: str
    fold: int | None


class Report(Provenance):
    """Content of ``report.json``.

    Attributes:
        bound_points: bound of the repair; None if the method was given.
        tried: attempts of the repair.
        within_bound: whether the network is within the bound; absent without one.
        changed_layers: layers whose weights the method changed.
        bytes: all ``.tflite`` files of the network.
        tensors: in the order of execution.
        ranking: the most expensive layer first.
        ranking_clips: number of validation clips.
        importance_sha256: hash of DiffRes's importance network; absent without one.
        warp: settings of the warp; absent as ``importance_sha256``.
    """

    format: int
    run: str
    method: str
    fine_tuning: list[Tuning]
    bound_points: float | None
    tried: list[Attempt]
    within_bound: NotRequired[bool]
    changed_layers: list[str]
    sha256: str
    bytes: int
    compression: Compression
    trained_model_sha256: str
    calibration: CalibrationClips
    dataset: ReportedData
    labels: list[str]
    validation: SplitFigures
    test: SplitFigures
    tensors: list[TensorFigures]
    ranking: list[LayerLoss]
    ranking_clips: int
    importance_sha256: NotRequired[str]
    warp: NotRequired[Mapping[str, object]]
