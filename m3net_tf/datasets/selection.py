# SPDX-License-Identifier: Apache-2.0
"""Selects a subset of the test clips."""

from __future__ import annotations

import numpy as np

from m3net_tf.datasets.clips import Clip
from m3net_tf.datasets.dataset import AudioDataset
from m3net_tf.errors import DataError


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
