# SPDX-License-Identifier: Apache-2.0
"""Answers of a network, and their scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.frontend import dequantize_features
from m3net_tf.keras import keras, tf
from m3net_tf.training.features import FeatureSet
from m3net_tf.training.metrics import Evaluation, MultiLabelEvaluation
from m3net_tf.training.self_distillation import SMALLEST_PROBABILITY

_LARGEST_BATCH = 256
_BATCH_VALUES = 2**20  # of the input; the maps inside a network are up to 200 times as large


def takes_lengths(model: keras.Model) -> bool:
    """Whether a network also takes the length of each clip (SpectroMaskNet's ``lengths``)."""
    return isinstance(model.input, dict)


def feed(model: keras.Model, maps: tf.Tensor, lengths: tf.Tensor | None) -> Any:
    """Inputs of a network: the maps, and in a dict their lengths if it takes them.

    A clip's frames count as its own, those behind them as padding. All maps of a data set have
    one shape, the store's; padding each batch to its longest clip would change nothing but the
    time, since a network that takes lengths gives the same for any padding.
    """
    return {"features": maps, "lengths": lengths} if takes_lengths(model) else maps


def predict(
    model: keras.Model,
    features: npt.NDArray[np.int8],
    lengths: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.float32]:
    """Answers of a network, in batches that fit into memory.

    Args:
        model: network from features to probabilities.
        features: int8, shape (clips, bins, frames, 1).
        lengths: frames of each clip, shape (clips,), for networks that take them; all by default.

    Returns:
        Class probabilities, shape (clips, classes).
    """
    if lengths is None:
        lengths = np.full(len(features), features.shape[2], np.int32)
    size = max(1, min(_LARGEST_BATCH, _BATCH_VALUES // math.prod(features.shape[1:])))
    parts = []
    for i in range(0, len(features), size):
        maps = tf.constant(dequantize_features(features[i : i + size]))
        own = tf.constant(lengths[i : i + size, None])
        parts.append(model(feed(model, maps, own), training=False).numpy())
    return np.concatenate(parts)


def answers(model: keras.Model, features: FeatureSet) -> npt.NDArray[np.float32]:
    """Class probabilities of clips as recorded, shape (clips, classes)."""
    lengths = features.lengths[0] if features.lengths is not None else None
    return predict(model, features.clean, lengths)


def score(
    probabilities: npt.NDArray[np.float32], clips: FeatureSet, labels: tuple[str, ...]
) -> tuple[float, float]:
    """Figure by which epochs are compared (accuracy or mAP), and mean cross-entropy."""
    if clips.matrix is not None:
        evaluation = MultiLabelEvaluation(clips.matrix, probabilities, labels)
        likely = np.where(clips.matrix, probabilities, 1.0 - probabilities)
        loss = float(-np.log(np.maximum(likely, SMALLEST_PROBABILITY)).mean())
        return evaluation.mean_average_precision, loss
    accuracy = float((probabilities.argmax(1) == clips.labels).mean())
    picked = probabilities[np.arange(len(probabilities)), clips.labels]
    return accuracy, float(-np.log(np.maximum(picked, SMALLEST_PROBABILITY)).mean())


def evaluate(
    model: keras.Model, features: FeatureSet, labels: tuple[str, ...]
) -> tuple[Evaluation | MultiLabelEvaluation, dict[str, Any]]:
    """How well a split is recognised, also as plain values for ``metrics.json``."""
    probabilities = answers(model, features)
    if features.matrix is not None:
        several = MultiLabelEvaluation(features.matrix, probabilities, labels)
        return several, several.to_dict()
    predicted = probabilities.argmax(1)
    evaluation = Evaluation.of(features.labels, predicted, labels)
    summary = evaluation.to_dict()
    listed = np.array([not clip.synthetic for clip in features.clips])
    # The publisher does not list some clips, such as cuts of silence.
    if listed.any() and not listed.all():
        subset = Evaluation.of(features.labels[listed], predicted[listed], labels)
        summary["listed_clips"] = subset.to_dict()
    return evaluation, summary
