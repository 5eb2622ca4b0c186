# SPDX-License-Identifier: Apache-2.0
"""Information entropy and zero crossings of a data set's clips (M3Net's tables 1 and 2)."""

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.lab.figures.shown import recorded

_LEVELS = 16


def signal_values(dataset: AudioDataset) -> dict[str, float]:
    """Mean and standard deviation over the clips, each in its own length.

    Silent clips have no entropy and are left out, as are clips that this package has added.

    Raises:
        DataError: a clip cannot be read.
    """
    entropies, crossings = [], []
    for clip in recorded(dataset):
        wave = dataset.read(clip)
        if np.ptp(wave):
            entropies.append(entropy_bits(wave))
            crossings.append(zero_crossings_hz(wave, dataset.info.sample_rate_hz))
    return {
        "clips": len(entropies),
        "entropy_bits": round(float(np.mean(entropies)), 4),
        "entropy_bits_std": round(float(np.std(entropies)), 4),
        "zero_crossings_hz": round(float(np.mean(crossings)), 2),
        "zero_crossings_hz_std": round(float(np.std(crossings)), 2),
    }


def entropy_bits(wave: npt.NDArray[np.float32]) -> float:
    """Shannon entropy of a clip's samples in 16 equal steps from the lowest to the highest.

    The paper names neither the symbols nor their number (docs/decisions.md).
    """
    counts = np.histogram(wave, _LEVELS)[0]
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log2(shares)))


def zero_crossings_hz(wave: npt.NDArray[np.float32], sample_rate_hz: int) -> float:
    """Changes of sign per second."""
    changes = np.count_nonzero(np.diff(np.signbit(wave)))
    return changes * sample_rate_hz / len(wave)
