# SPDX-License-Identifier: Apache-2.0
"""Batches of an epoch's training clips, from stored copies or augmented on the fly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import DataError
from m3net_tf.keras import tf
from m3net_tf.training.features import FeatureSet
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.rooms import read_rooms
from m3net_tf.training.sampling import epoch_order
from m3net_tf.training.steps import Batch
from m3net_tf.training.waves import epoch_stream


@dataclasses.dataclass(frozen=True)
class TrainingClips:
    """Features of the training clips and a teacher's predictions.

    Attributes:
        features: features, labels and, for networks that use them, lengths.
        predictions: a teacher's probabilities for the original clips, shape (clips, classes).
        sampling: order of an epoch, ``training.sampling`` of the recipe.
    """

    features: FeatureSet
    predictions: npt.NDArray[np.float32] | None = None
    sampling: str = "uniform"

    def batch(
        self,
        features: tf.Tensor | npt.NDArray[np.int8] | npt.NDArray[np.float32],
        clips: npt.NDArray[np.integer],
        augmented: npt.NDArray[np.bool_],
    ) -> Batch:
        """A batch of some of the clips for :func:`m3net_tf.training.steps.make_step`.

        Args:
            features: int8 or float32, shape (batch, bins, frames).
            clips: indices of the clips in the split, shape (batch,).
            augmented: whether each is an augmented copy, shape (batch,).
        """
        matrix = self.features.matrix
        labels = self.features.labels if matrix is None else matrix
        batch = {"features": tf.constant(features), "labels": tf.constant(labels[clips])}
        if (lengths := self.features.lengths) is not None:
            batch["lengths"] = tf.constant(lengths[augmented.astype(int), clips])
        if self.predictions is not None:
            batch["predictions"] = tf.constant(self.predictions[clips])
        return batch


def stored_batches(
    clips: TrainingClips, batch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """The training clips in a new order, each as one of its stored copies.

    A smaller last batch is dropped because it would give normalisation a noisy estimate.
    """
    features = clips.features.features
    copies, count = features.shape[:2]
    batch_size = min(batch_size, count)
    order = epoch_order(clips.features, clips.sampling, rng)
    copy = rng.integers(copies, size=(count,))
    for first in range(0, count - batch_size + 1, batch_size):
        chosen = order[first : first + batch_size]
        yield clips.batch(features[copy[chosen], chosen], chosen, copy[chosen] > 0)


def fresh_batches(
    clips: TrainingClips, dataset: AudioDataset, recipe: Recipe, epoch: int
) -> Iterator[Batch]:
    """Like :func:`stored_batches`, but with newly augmented waveforms and without the cache."""
    rooms = []
    if recipe.augmentation.room_folder:
        rooms = read_rooms(Path(recipe.augmentation.room_folder), dataset.info.sample_rate_hz)
    batch_size = min(recipe.training.batch_size, len(clips.features.clips))
    rng = np.random.default_rng([recipe.training.seed, epoch])
    stream = epoch_stream(
        dataset,
        "train",
        recipe.frontend,
        recipe.augmentation,
        seed=recipe.training.seed,
        epoch=epoch,
        batch_size=batch_size,
        order=epoch_order(clips.features, clips.sampling, rng),
        rooms=rooms,
        dtype=recipe.training.features,
    )
    try:
        for features, chosen in stream:
            yield clips.batch(features, chosen.numpy(), np.ones(batch_size, bool))
    except tf.errors.OpError as error:  # tf.data wraps the error of a broken file
        raise DataError(str(error.message).strip().splitlines()[-1]) from None
