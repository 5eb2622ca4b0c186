# SPDX-License-Identifier: Apache-2.0
"""Fits the classifier of a network whose body stays as it is: seconds, on stored embeddings."""

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

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
    solution = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    weights = solution.reshape(-1, classes)
    unscaled = weights[:-1] / spread[:, None]
    return unscaled, weights[-1] - mean @ unscaled
