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
PENALTY = 0.01
"""Suits five to a hundred clips of a class."""
_LEAST_SPREAD = 1e-3  # of the mean standard deviation, so that silent channels stay silent


def fit_head(
    embeddings: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    penalty: float = PENALTY,
) -> tuple[Floats, Floats]:
    """Multinomial logistic regression on standardised embeddings, each class with equal weight.

    Args:
        embeddings: shape (clips, channels).
        labels: index of each clip's class, shape (clips,).
        penalty: factor on half the squared weights of the standardised channels, beside the mean
            cross-entropy.

    Returns:
        The weights, shape (channels, classes), and the bias, shape (classes,), for embeddings that
        are not standardised.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    spread = embeddings.std(axis=0, dtype=np.float64)
    spread = spread + _LEAST_SPREAD * spread.mean() + np.finfo(np.float32).tiny
    inputs = (embeddings - mean) / spread
    targets = np.eye(classes)[labels]
    shares = targets.sum(axis=0)
    present = np.count_nonzero(shares)
    importance = 1 / (present * shares[labels])

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, classes)
        logits = inputs @ weights[:-1] + weights[-1]
        log_probabilities = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
        errors = (np.exp(log_probabilities) - targets) * importance[:, None]
        gradient = np.vstack([inputs.T @ errors + penalty * weights[:-1], errors.sum(axis=0)])
        value = -(log_probabilities[np.arange(len(labels)), labels] * importance).sum()
        return value + penalty / 2 * (weights[:-1] ** 2).sum(), gradient.ravel()

    start = np.zeros((inputs.shape[1] + 1) * classes)
    with threadpool_limits(1):  # the order of sums, and so the weights, depends on the threads
        solution = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    weights = solution.reshape(-1, classes)
    unscaled = weights[:-1] / spread[:, None]
    return unscaled, weights[-1] - mean @ unscaled


def fit_classifier(model: keras.Model, training: FeatureSet, recipe: Recipe) -> None:
    """Give the dense layer of :func:`m3net_tf.networks.layers.classifier` fitted weights.

    Args:
        training: clips with one label each; all their stored copies count.

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
    classes = model.output_shape[-1]
    weights, bias = fit_head(embeddings.reshape(len(labels), -1), labels, classes)
    layers["dense"].set_weights([weights[None, None].astype(np.float32), bias.astype(np.float32)])
