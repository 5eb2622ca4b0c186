# SPDX-License-Identifier: Apache-2.0
"""Fits the classifier of a network whose body stays as it is, which takes seconds."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special
from threadpoolctl import threadpool_limits

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.network import has_sigmoids
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.scoring.evaluation import predict

Floats = npt.NDArray[np.float64]
PENALTY = 0.3
"""On UrbanSound8K, better than logistic regression with one to twenty clips of a class."""
_LEAST_SPREAD = 1e-3  # of the mean standard deviation, so that silent channels stay silent
_SCALES = (0.1, 4.0)  # of scores from -1 to 1 as logits; copies of clips would ask for more


def fit_head(
    embeddings: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    penalty: float = PENALTY,
) -> tuple[Floats, Floats]:
    """Ridge regression of the classes on standardised embeddings, each class with equal weight.

    With few clips it recognises more than logistic regression. Its scores become logits by the
    factor with the lowest cross-entropy, each clip predicted without itself.

    Args:
        embeddings: shape (clips, channels).
        labels: index of each clip's class, shape (clips,).
        penalty: factor on the squared weights, as a share of the mean squared length of a
            standardised embedding.

    Returns:
        The weights, shape (channels, classes), and the bias, shape (classes,), for embeddings that
        are not standardised.
    """
    inputs, mean, spread = _standardised(embeddings)
    targets = 2 * np.eye(classes)[labels] - 1
    counts = np.bincount(labels, minlength=classes)
    importance = len(labels) / (np.count_nonzero(counts) * counts[labels])
    solution, others = _ridge(inputs, targets, importance, penalty)

    def loss(logits: Floats) -> float:
        right = logits[np.arange(len(labels)), labels]
        return float(importance @ (scipy.special.logsumexp(logits, axis=1) - right))

    return _unstandardised(solution * _scale(others, loss), mean, spread)


def fit_sigmoids(
    embeddings: npt.NDArray[np.floating], truth: npt.NDArray[np.integer], penalty: float = PENALTY
) -> tuple[Floats, Floats]:
    """:func:`fit_head` for clips with several labels: each class against all other clips.

    Both sides have equal weight.

    Args:
        embeddings: shape (clips, channels).
        truth: 1 if a clip has a class, else 0, shape (clips, classes).
        penalty: as of :func:`fit_head`.

    Returns:
        As :func:`fit_head`, for sigmoids.
    """
    inputs, mean, spread = _standardised(embeddings)
    targets = (2 * truth.astype(np.int64) - 1).astype(np.float64)
    share = np.clip(truth.mean(axis=0), 1 / len(truth), 1 - 1 / len(truth))
    importance = 0.5 / np.where(truth, share, 1 - share)
    columns = [
        _ridge(inputs, targets[:, [label]], importance[:, label], penalty)
        for label in range(truth.shape[1])
    ]
    solution, others = (np.column_stack(parts) for parts in zip(*columns, strict=True))

    def loss(logits: Floats) -> float:
        return float((importance * np.logaddexp(0, -targets * logits)).sum())

    return _unstandardised(solution * _scale(others, loss), mean, spread)


def _standardised(embeddings: npt.NDArray[np.floating]) -> tuple[Floats, Floats, Floats]:
    """Standardised embeddings with a column of ones, and the mean and spread of each channel."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    spread = embeddings.std(axis=0, dtype=np.float64)
    spread = spread + _LEAST_SPREAD * spread.mean() + np.finfo(np.float32).tiny
    return np.column_stack([(embeddings - mean) / spread, np.ones(len(embeddings))]), mean, spread


def _unstandardised(solution: Floats, mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Weights and bias for embeddings as they are."""
    weights = solution[:-1] / spread[:, None]
    return weights, solution[-1] - mean @ weights


def _ridge(
    inputs: Floats, targets: Floats, importance: Floats, penalty: float
) -> tuple[Floats, Floats]:
    """The solution, shape (channels + 1, targets), and each clip's scores from all others.

    Args:
        inputs: result of :func:`_standardised`.
        targets: shape (clips, targets).
        importance: weight of each clip, shape (clips,).
        penalty: as of :func:`fit_head`.
    """
    channels = inputs.shape[1] - 1
    with threadpool_limits(1):  # the order of sums, and so the weights, depends on the threads
        weighted = inputs.T * importance
        gram = weighted @ inputs
        ridge = penalty * np.trace(gram[:channels, :channels]) / len(inputs)
        inverse = np.linalg.inv(gram + ridge * np.diag([1.0] * channels + [1e-6]))
        solution = inverse @ (weighted @ targets)
        own = np.minimum(np.einsum("ij,jk,ki->i", inputs, inverse, weighted), 1 - 1e-6)[:, None]
        others = (inputs @ solution - own * targets) / (1 - own)
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
        training: clips; all their stored copies count.

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
    if matrix is not None:
        weights, bias = fit_sigmoids(embeddings, np.tile(matrix, (copies, 1)))
    else:
        labels = np.tile(training.labels, copies)
        weights, bias = fit_head(embeddings, labels, model.output_shape[-1])
    layers["dense"].set_weights([weights[None, None].astype(np.float32), bias.astype(np.float32)])
    logits = embeddings[: len(training.labels)] @ weights + bias
    if matrix is not None:
        return np.asarray(scipy.special.expit(logits), np.float32)
    return np.asarray(scipy.special.softmax(logits, axis=1), np.float32)
