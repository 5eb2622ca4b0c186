# SPDX-License-Identifier: Apache-2.0
"""Fits the classifier of a network whose body stays as it is, which takes seconds."""

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
    mean = embeddings.mean(axis=0, dtype=np.float64)
    spread = embeddings.std(axis=0, dtype=np.float64)
    spread = spread + _LEAST_SPREAD * spread.mean() + np.finfo(np.float32).tiny
    inputs = np.column_stack([(embeddings - mean) / spread, np.ones(len(embeddings))])
    targets = 2 * np.eye(classes)[labels] - 1
    counts = np.bincount(labels, minlength=classes)
    importance = len(labels) / (np.count_nonzero(counts) * counts[labels])
    channels = embeddings.shape[1]
    with threadpool_limits(1):  # the order of sums, and so the weights, depends on the threads
        weighted = inputs.T * importance
        gram = weighted @ inputs
        ridge = penalty * np.trace(gram[:channels, :channels]) / len(labels)
        inverse = np.linalg.inv(gram + ridge * np.diag([1.0] * channels + [1e-6]))
        solution = inverse @ (weighted @ targets)
        own = np.minimum(np.einsum("ij,jk,ki->i", inputs, inverse, weighted), 1 - 1e-6)[:, None]
        others = (inputs @ solution - own * targets) / (1 - own)
    solution *= _scale(others, labels, importance)
    weights = solution[:-1] / spread[:, None]
    return weights, solution[-1] - mean @ weights


def _scale(scores: Floats, labels: npt.NDArray[np.integer], importance: Floats) -> float:
    """The factor that makes logits of scores."""

    def loss(logarithm: float) -> float:
        logits = np.exp(logarithm) * scores
        right = logits[np.arange(len(labels)), labels]
        return float(importance @ (scipy.special.logsumexp(logits, axis=1) - right))

    found = scipy.optimize.minimize_scalar(loss, bounds=np.log(_SCALES), method="bounded")
    return float(np.exp(found.x))


def fit_classifier(
    model: keras.Model, training: FeatureSet, recipe: Recipe
) -> npt.NDArray[np.float32]:
    """Give the dense layer of :func:`m3net_tf.networks.layers.classifier` fitted weights.

    Args:
        training: clips with one label each; all their stored copies count.

    Returns:
        Class probabilities of the original clips, shape (clips, classes).

    Raises:
        ConfigError: the network has another end, or clips have several labels.
    """
    layers = {layer.name: layer for layer in model.layers}
    sigmoids = has_sigmoids(recipe.training, multi_label=training.matrix is not None)
    if sigmoids or not {"pool", "dense"} <= set(layers):
        raise ConfigError(
            "fine_tuning.fit_head needs one label a clip, and a network that ends in pooling, a "
            f"dense layer and a softmax, unlike {recipe.model.name}: set it to false"
        )
    embed = keras.Model(model.input, layers["pool"].output)
    copies = training.features.shape[0]
    embeddings = np.concatenate(
        [predict(embed, training.features[copy][..., None]) for copy in range(copies)]
    )
    labels = np.tile(training.labels, copies)
    embeddings = embeddings.reshape(len(labels), -1)
    weights, bias = fit_head(embeddings, labels, model.output_shape[-1])
    layers["dense"].set_weights([weights[None, None].astype(np.float32), bias.astype(np.float32)])
    logits = embeddings[: len(training.labels)] @ weights + bias
    return np.asarray(scipy.special.softmax(logits, axis=1), np.float32)
