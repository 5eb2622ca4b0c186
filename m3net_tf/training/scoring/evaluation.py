# SPDX-License-Identifier: Apache-2.0
"""Predictions of a network and their scores."""

import math

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.models import learnt_figures
from m3net_tf.networks.models.interface import feed, takes_lengths
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.features import FeatureSet, original_features, with_lengths
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.scoring.metrics import (
    Evaluation,
    LabelFigures,
    MultiLabelEvaluation,
    MultiLabelFigures,
)
from m3net_tf.training.scoring.windows import whole_scores

SMALLEST_PROBABILITY = 1e-7  # as Keras clips probabilities in its cross-entropy
_LARGEST_BATCH = 256
_LEARNT_CLIPS = 32
_BATCH_VALUES = 2**20  # of the input; a network's inner maps are up to 200 times as large


def predict(
    model: keras.Model,
    features: npt.NDArray[np.int8] | npt.NDArray[np.float32],
    lengths: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.float32]:
    """Class probabilities of clips, in batches that fit into memory.

    Args:
        features: int8 or float32, shape (clips, bins, frames, 1).
        lengths: frames of each clip, shape (clips,), for networks that use them; default: all.

    Returns:
        Class probabilities, shape (clips, classes).
    """
    if lengths is None:
        lengths = np.full(len(features), features.shape[2], np.int32)
    size = max(1, min(_LARGEST_BATCH, _BATCH_VALUES // math.prod(features.shape[1:])))
    parts = []
    for i in range(0, len(features), size):
        maps = tf.constant(dequantize_features(features[i : i + size]))
        batch_lengths = tf.constant(lengths[i : i + size, None])
        parts.append(model(feed(model, maps, batch_lengths), training=False).numpy())
    return np.concatenate(parts)


def own_features(
    model: keras.Model, dataset: AudioDataset, split: str, recipe: Recipe, log: Log = silent
) -> FeatureSet:
    """Features of a split's original clips as a recipe's network gets them, float or int8.

    All that is called the accuracy of a float network is of these.

    Raises:
        DataError: as :func:`.features.compute_features`.
    """
    features = original_features(dataset, split, recipe, log)
    return with_lengths(features, dataset, recipe.frontend) if takes_lengths(model) else features


def predict_originals(model: keras.Model, features: FeatureSet) -> npt.NDArray[np.float32]:
    """Class probabilities of the original clips, shape (clips, classes)."""
    lengths = features.lengths[0] if features.lengths is not None else None
    return predict(model, features.clean, lengths)


def learnt(model: keras.Model, validation: FeatureSet, recipe: Recipe) -> dict[str, float]:
    """Learnt figures of the network, computed on the first validation clips."""
    maps = tf.constant(dequantize_features(validation.clean[:_LEARNT_CLIPS]))
    return learnt_figures(recipe.model.name, model, maps)


def score(
    probabilities: npt.NDArray[np.float32],
    clips: FeatureSet,
    labels: tuple[str, ...],
    *,
    sigmoids: bool = False,
) -> tuple[float, float]:
    """Score by which epochs are compared (accuracy or mAP), and mean cross-entropy.

    Windows of a longer clip count as one clip; see :func:`.windows.whole_scores`.

    Args:
        probabilities: shape (clips, classes).
    """
    probabilities, first = whole_scores(probabilities, clips.clips, labels)
    truths = clips.labels[first]
    if clips.matrix is not None:
        truth = clips.matrix[first]
        value = MultiLabelEvaluation(truth, probabilities, labels).mean_average_precision
    else:
        truth = np.eye(len(labels), dtype=np.uint8)[truths]
        value = float((probabilities.argmax(1) == truths).mean())
    if sigmoids:
        of_truth = np.where(truth, probabilities, 1.0 - probabilities)
    else:
        of_truth = probabilities[np.arange(len(probabilities)), truths]
    return value, float(-np.log(np.maximum(of_truth, SMALLEST_PROBABILITY)).mean())


def evaluate(
    model: keras.Model, features: FeatureSet, labels: tuple[str, ...]
) -> tuple[Evaluation | MultiLabelEvaluation, LabelFigures | MultiLabelFigures]:
    """Evaluate a network on a split; also returns plain values for ``metrics.json``."""
    probabilities = predict_originals(model, features)
    probabilities, first = whole_scores(probabilities, features.clips, labels)
    if features.matrix is not None:
        multi_label = MultiLabelEvaluation(features.matrix[first], probabilities, labels)
        return multi_label, multi_label.to_dict()
    predicted = probabilities.argmax(1)
    truth = features.labels[first]
    evaluation = Evaluation.of(truth, predicted, labels)
    summary = evaluation.to_dict()
    listed = np.array([not features.clips[i].synthetic for i in first])
    # Some clips, such as excerpts of silence, are not listed by the publisher.
    if listed.any() and not listed.all():
        subset = Evaluation.of(truth[listed], predicted[listed], labels)
        summary["listed_clips"] = subset.to_dict()
    return evaluation, summary
