# SPDX-License-Identifier: Apache-2.0
"""Fits the classifier of a network whose body stays as it is, which takes seconds."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special
from threadpoolctl import threadpool_limits

from m3net_tf.audio.datasets import Clip
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.network import has_sigmoids
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.scoring.evaluation import predict
from m3net_tf.training.scoring.windows import rows_of_whole

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer]
PENALTY = 0.3
"""On UrbanSound8K, better than logistic regression with one to twenty clips of a class."""
_LEAST_SPREAD = 1e-3  # of the mean standard deviation, so that silent channels stay silent
_PARTS = 10
_SCALES = (0.1, 4.0)  # of scores from -1 to 1 as logits
_SCALE_UNTESTED = 2.0  # where no class has two clips; 0.1 would leave int8 nothing to tell apart


def fit_head(
    embeddings: npt.NDArray[np.floating],
    labels: Indices,
    classes: int,
    clips: Indices | None = None,
    penalty: float = PENALTY,
) -> tuple[Floats, Floats]:
    """Ridge regression of the classes on standardised embeddings, each class with equal weight.

    With few clips it recognises more than logistic regression. Its scores become logits by the
    factor with the lowest cross-entropy, each tenth of the clips predicted without itself; a clip
    whose class the others lack does not count.

    Args:
        embeddings: shape (rows, channels).
        labels: index of each row's class, shape (rows,).
        clips: index of each row's clip, shape (rows,): the windows and copies of a clip share its
            weight. None if each row is a clip.
        penalty: factor on the squared weights, as a share of the mean squared length of a
            standardised embedding.

    Returns:
        The weights, shape (channels, classes), and the bias, shape (classes,), for embeddings that
        are not standardised.
    """
    rows = _Rows.of(embeddings, clips)
    targets = 2 * np.eye(classes)[labels] - 1
    counts = np.bincount(labels, weights=rows.share, minlength=classes)
    importance = rows.share * rows.clips / (np.count_nonzero(counts) * counts[labels])
    solution, others = rows.ridge(targets, importance, penalty)
    testing = importance * rows.learnt_elsewhere(targets > 0)[np.arange(len(labels)), labels]
    if not testing.any():
        return rows.unstandardised(solution * _SCALE_UNTESTED)

    def loss(logits: Floats) -> float:
        right = logits[np.arange(len(labels)), labels]
        return float(testing @ (scipy.special.logsumexp(logits, axis=1) - right))

    return rows.unstandardised(solution * _scale(others, loss))


def fit_sigmoids(
    embeddings: npt.NDArray[np.floating],
    truth: Indices,
    clips: Indices | None = None,
    penalty: float = PENALTY,
) -> tuple[Floats, Floats]:
    """:func:`fit_head` for clips with several labels: each class against all other clips.

    Both sides have equal weight.

    Args:
        embeddings: shape (rows, channels).
        truth: 1 if a row has a class, else 0, shape (rows, classes).
        clips: as of :func:`fit_head`.
        penalty: as of :func:`fit_head`.

    Returns:
        As :func:`fit_head`, for sigmoids.
    """
    rows = _Rows.of(embeddings, clips)
    targets = (2 * truth.astype(np.int64) - 1).astype(np.float64)
    least = 1 / rows.clips
    positive = np.clip(rows.share @ truth / rows.clips, least, 1 - least)
    importance = rows.share[:, None] * 0.5 / np.where(truth, positive, 1 - positive)
    columns = [
        rows.ridge(targets[:, [label]], importance[:, label], penalty)
        for label in range(truth.shape[1])
    ]
    solution, others = (np.column_stack(parts) for parts in zip(*columns, strict=True))
    testing = importance * rows.learnt_elsewhere(targets > 0)
    if not testing.any():
        return rows.unstandardised(solution * _SCALE_UNTESTED)

    def loss(logits: Floats) -> float:
        return float((testing * np.logaddexp(0, -targets * logits)).sum())

    return rows.unstandardised(solution * _scale(others, loss))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Standardised embeddings.

    Attributes:
        inputs: with a column of ones at the end, shape (rows, channels + 1).
        mean: of each channel before.
        spread: of each channel before.
        clip: number of each row's clip, from 0, shape (rows,).
        share: weight of each row: the rows of a clip have 1 together, shape (rows,).
        clips: number of clips.
    """

    inputs: Floats
    mean: Floats
    spread: Floats
    clip: npt.NDArray[np.int64]
    share: Floats
    clips: int

    @classmethod
    def of(cls, embeddings: npt.NDArray[np.floating], clips: Indices | None) -> "_Rows":
        """Standardise embeddings, each clip with equal weight."""
        owners = np.arange(len(embeddings)) if clips is None else clips
        _, clip, counts = np.unique(owners, return_inverse=True, return_counts=True)
        share = 1 / counts[clip]
        mean = np.average(embeddings, axis=0, weights=share)
        spread = np.sqrt(np.average((embeddings - mean) ** 2, axis=0, weights=share))
        spread += _LEAST_SPREAD * spread.mean() + np.finfo(np.float32).tiny
        inputs = np.column_stack([(embeddings - mean) / spread, np.ones(len(embeddings))])
        return cls(inputs, mean, spread, clip, share, len(counts))

    def learnt_elsewhere(self, truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether a class has examples outside of a row's tenth of the clips.

        Args:
            truth: whether a row has a class, shape (rows, classes).

        Returns:
            Shape (rows, classes).
        """
        part = self.clip % _PARTS
        found = np.stack([truth[part == each].any(axis=0) for each in range(_PARTS)])
        return np.asarray((found.sum(axis=0) - found[part]) > 0)

    def unstandardised(self, solution: Floats) -> tuple[Floats, Floats]:
        """Weights and bias for embeddings as they are."""
        weights = solution[:-1] / self.spread[:, None]
        return weights, solution[-1] - self.mean @ weights

    def ridge(self, targets: Floats, importance: Floats, penalty: float) -> tuple[Floats, Floats]:
        """The solution, shape (channels + 1, targets), and each clip's scores from other clips.

        Args:
            targets: shape (rows, targets).
            importance: weight of each row, shape (rows,).
            penalty: as of :func:`fit_head`.
        """
        inputs = self.inputs
        channels = inputs.shape[1] - 1
        with threadpool_limits(1):  # the order of sums, and so the weights, depends on the threads
            weighted = inputs.T * importance
            gram = weighted @ inputs
            ridge = penalty * np.trace(gram[:channels, :channels]) / self.clips
            gram += ridge * np.diag([1.0] * channels + [1e-6])
            right = weighted @ targets
            solution = np.asarray(np.linalg.solve(gram, right), np.float64)
            others = np.empty_like(targets)
            for part in range(min(_PARTS, self.clips)):
                left = self.clip % _PARTS == part
                gram_of_others = gram - weighted[:, left] @ inputs[left]
                right_of_others = right - weighted[:, left] @ targets[left]
                others[left] = inputs[left] @ np.linalg.solve(gram_of_others, right_of_others)
        return solution, others


def _scale(scores: Floats, loss: Callable[[Floats], float]) -> float:
    """The factor that makes logits of scores, by their loss."""

    def of_logarithm(logarithm: float) -> float:
        return loss(np.exp(logarithm) * scores)

    found = scipy.optimize.minimize_scalar(of_logarithm, bounds=np.log(_SCALES), method="bounded")
    return float(np.exp(found.x))


def fit_classifier(
    model: keras.Model, training: FeatureSet, recipe: Recipe
) -> npt.NDArray[np.float32]:
    """Give the dense layer of :func:`m3net_tf.networks.layers.classifier` fitted weights.

    Args:
        training: clips; all their stored copies count. The windows of a recording share the weight
            of one clip.

    Returns:
        Class probabilities of the original clips, shape (clips, classes).

    Raises:
        ConfigError: the network has another end, or sigmoids although a clip has one label.
    """
    layers = {layer.name: layer for layer in model.layers}
    matrix = training.matrix
    sigmoids = has_sigmoids(recipe.training, multi_label=matrix is not None)
    if (sigmoids and matrix is None) or not {"pool", "dense"} <= set(layers):
        raise ConfigError(
            "fine_tuning.fit_head needs a network that ends in pooling and a dense layer, unlike "
            f"{recipe.model.name}, and loss cross_entropy where a clip has one label: set it to "
            "false"
        )
    embed = keras.Model(model.input, layers["pool"].output)
    copies = training.features.shape[0]
    embeddings = np.concatenate(
        [predict(embed, training.features[copy][..., None]) for copy in range(copies)]
    )
    embeddings = embeddings.reshape(len(embeddings), -1)
    clips = np.tile(_whole_clips(training.clips), copies)
    if matrix is not None:
        weights, bias = fit_sigmoids(embeddings, np.tile(matrix, (copies, 1)), clips)
    else:
        labels = np.tile(training.labels, copies)
        weights, bias = fit_head(embeddings, labels, model.output_shape[-1], clips)
    layers["dense"].set_weights([weights[None, None].astype(np.float32), bias.astype(np.float32)])
    logits = embeddings[: len(training.labels)] @ weights + bias
    if matrix is not None:
        return np.asarray(scipy.special.expit(logits), np.float32)
    return np.asarray(scipy.special.softmax(logits, axis=1), np.float32)


def _whole_clips(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """Index of each window's whole clip, shape (windows,)."""
    whole = np.zeros(len(clips), np.int64)
    for index, rows in enumerate(rows_of_whole(clips)):
        whole[rows] = index
    return whole
