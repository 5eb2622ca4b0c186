# SPDX-License-Identifier: Apache-2.0
"""Batches of an epoch's training clips, from stored copies or augmented on the fly."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.shards import Shards
from m3net_tf.audio.shards.stream import clip_stream
from m3net_tf.system.errors import DataError
from m3net_tf.system.keras import tf
from m3net_tf.training.augmentation.fresh import epoch_stream, feature_stream
from m3net_tf.training.augmentation.reverberation import read_rooms
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loop.distribution import current_share
from m3net_tf.training.loop.steps import Batch
from m3net_tf.training.loss.teacher_file import TeacherVectors
from m3net_tf.training.recipe import Recipe

_RAISED = "ValueError: "  # in front of this package's message in TensorFlow's


@dataclasses.dataclass(frozen=True)
class TrainingClips:
    """Features of the training clips and what a teacher says of them.

    Attributes:
        predictions: a teacher's probabilities for the original clips, shape (clips, classes).
        vectors: what a teacher's file gives for them.
    """

    features: FeatureSet
    predictions: npt.NDArray[np.float32] | None = None
    sampling: str = "uniform"
    vectors: TeacherVectors | None = None

    def batch(
        self,
        features: tf.Tensor | npt.NDArray[np.int8] | npt.NDArray[np.float32],
        clips: npt.NDArray[np.integer],
        copies: npt.NDArray[np.integer],
    ) -> Batch:
        """A batch of some of the clips for :func:`m3net_tf.training.loop.steps.make_step`.

        Args:
            features: int8 or float32, shape (batch, bins, frames).
            clips: indices of the clips in the split, shape (batch,).
            copies: number of each one's stored copy, shape (batch,); 0 is the original clip.
        """
        matrix = self.features.matrix
        labels = self.features.labels if matrix is None else matrix
        batch: Batch = {"features": tf.constant(features), "labels": tf.constant(labels[clips])}
        if (lengths := self.features.lengths) is not None:
            batch["lengths"] = tf.constant(lengths[np.minimum(copies, 1), clips])
        if self.predictions is not None:
            batch["predictions"] = tf.constant(self.predictions[clips])
        if self.vectors is not None:
            batch["vectors"] = tf.constant(self.vectors.of(copies, clips))
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
        yield clips.batch(features[copy[chosen], chosen], chosen, copy[chosen])


def fresh_batches(
    clips: TrainingClips, dataset: AudioDataset, recipe: Recipe, epoch: int
) -> Iterator[Batch]:
    """Like :func:`stored_batches`, but with newly augmented waveforms and without the cache."""
    batch_size = min(recipe.training.step_clips, len(clips.features.clips))
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
        rooms=_rooms(recipe, dataset),
        dtype=recipe.training.features,
    )
    yield from _streamed(clips, stream, augmented=True)


def sharded_batches(
    clips: TrainingClips,
    dataset: AudioDataset,
    shards: Shards,
    recipe: Recipe,
    epoch: int,
    steps: int,
) -> Iterator[Batch]:
    """An epoch's batches of this worker, whose features are computed from the sound of shards.

    A worker whose clips do not suffice for all steps starts again with its first ones.
    """
    settings = recipe.training
    share = current_share()
    fresh = recipe.augmentation.fresh
    rng = np.random.default_rng([settings.seed, epoch])
    size = settings.step_clips // share.workers
    waves = clip_stream(
        shards,
        dataset.info.clip_samples,
        occurrences(clips.features, clips.sampling, rng),
        seed=[settings.seed, epoch],
        worker=share.worker,
        workers=share.workers,
    )
    stream = feature_stream(
        waves,
        dataset,
        recipe.frontend,
        recipe.augmentation if fresh else None,
        tf.constant(rng.integers(2**31, size=2) ^ [0, share.worker], tf.int32),
        size,
        _rooms(recipe, dataset),
        settings.features,
    )
    yield from _streamed(clips, stream.take(steps), augmented=fresh)


def _rooms(recipe: Recipe, dataset: AudioDataset) -> list[npt.NDArray[np.float32]]:
    """The recorded room responses that a recipe names."""
    folder = recipe.augmentation.room_folder
    return read_rooms(Path(folder), dataset.info.sample_rate_hz) if folder else []


def _streamed(clips: TrainingClips, stream: tf.data.Dataset, *, augmented: bool) -> Iterator[Batch]:
    """Batches of a stream of features and indices of clips."""
    try:
        for features, chosen in stream:
            indices = chosen.numpy()
            yield clips.batch(features, indices, np.full(len(indices), int(augmented)))
    except tf.errors.OpError as error:  # tf.data wraps the error of a broken file
        lines = str(error.message).strip().splitlines()
        ours = [line.partition(_RAISED)[2] for line in lines if line.startswith(_RAISED)]
        raise DataError((ours or lines)[-1]) from None


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
