# SPDX-License-Identifier: Apache-2.0
"""Selects some of a data set's clips."""

import dataclasses
import hashlib
from collections import Counter, defaultdict

import numpy as np

from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.system.errors import DataError


def spread_clips(dataset: AudioDataset, count: int | None) -> tuple[Clip, ...]:
    """All test clips, or ``count`` of them spread evenly over the test split.

    Raises:
        DataError: there are no test clips.
    """
    clips = dataset.split("test")
    if not clips:
        raise DataError(f"{dataset.info.name} has no test clips: choose another protocol or fold")
    if count is None or count >= len(clips):
        return clips
    return tuple(clips[i] for i in np.linspace(0, len(clips) - 1, count).astype(int))


def with_training_share(dataset: AudioDataset, share: float, seed: int = 0) -> AudioDataset:
    """The data set with a share of the training clips of each class, at least one.

    A clip of several classes counts in its first one. A larger share
    contains the clips of a smaller one. Validation and test clips stay.

    Args:
        share: share of the training clips of each class; above 0, at most 1.
    """

    if share == 1:
        return dataset

    def draw(clip: Clip) -> bytes:
        return hashlib.sha256(f"{seed} {clip.clip_id}".encode()).digest()

    training = sorted(dataset.split("train"), key=draw)
    sizes = Counter(clip.all_labels[0] for clip in training)
    kept: defaultdict[str, set[str]] = defaultdict(set)
    for clip in training:
        label = clip.all_labels[0]
        if len(kept[label]) < max(1, round(share * sizes[label])):
            kept[label].add(clip.clip_id)
    clips = [
        clip
        for clip in dataset.clips
        if clip.split != "train" or clip.clip_id in kept[clip.all_labels[0]]
    ]
    return dataclasses.replace(dataset, clips=tuple(clips))
