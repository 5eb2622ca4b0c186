# SPDX-License-Identifier: Apache-2.0
"""Order of the training clips in an epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m3net_tf.training.features import FeatureSet


def epoch_order(
    features: FeatureSet, sampling: str, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of an epoch's training clips, shape (clips,).

    Args:
        sampling: ``uniform``: each clip once; ``balanced``: drawn by :func:`balanced_shares`.
    """
    count = len(features.labels)
    if sampling == "uniform":
        return rng.permutation(count)
    return rng.choice(count, count, p=balanced_shares(features.labels, features.matrix))


def occurrences(
    features: FeatureSet, sampling: str, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """How often each training clip occurs in an epoch of :func:`epoch_order`, shape (clips,)."""
    count = len(features.labels)
    if sampling == "uniform":
        return np.ones(count, np.int64)
    return rng.multinomial(count, balanced_shares(features.labels, features.matrix))


def balanced_shares(
    labels: npt.NDArray[np.int32], matrix: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.float64]:
    """Probability of each clip under class re-balancing, shape (clips,).

    A class weighs one divided by its number of clips, and a clip the sum over its classes (balanced
    sampling of Gong et al., "PSLA", 2021). With one label per clip all classes are equally likely.

    Args:
        labels: class of each clip, shape (clips,).
        matrix: non-zero if a clip has a class, shape (clips, classes), for several labels per clip.
    """
    if matrix is None:
        matrix = np.eye(int(labels.max()) + 1, dtype=np.uint8)[labels]
    weights = (matrix != 0) @ (1.0 / np.maximum((matrix != 0).sum(0), 1))
    return np.asarray(weights / weights.sum())
