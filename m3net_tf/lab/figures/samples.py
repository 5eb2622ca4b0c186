# SPDX-License-Identifier: Apache-2.0
"""Choice of the clips of a figure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.training.features import FeatureSet


def recorded(dataset: AudioDataset) -> Iterator[Clip]:
    """The clips that were not cut from other recordings, as silence was."""
    return (clip for clip in dataset.clips if not (clip.synthetic and clip.path))


def maps_of(test: FeatureSet, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Feature maps of some clips as a network's input, float32, shape (clips, bins, frames, 1)."""
    return dequantize_features(test.features[np.zeros_like(chosen), chosen])[..., None]
