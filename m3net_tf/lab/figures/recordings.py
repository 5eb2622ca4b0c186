# SPDX-License-Identifier: Apache-2.0
"""Recordings of a data set as they are: durations, information entropy, zero crossings."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.datasets.audio import header_of
from m3net_tf.lab.figures.shown import Shown, recorded
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.system.errors import DataError

_LEVELS = 16


def draw_durations(shown: Sequence[Shown]) -> Drawing:
    """Bars of the clips per class that last a whole clip, and of the shorter ones.

    This is figure 7 of the SpectroMaskNet paper.

    Raises:
        DataError: a file cannot be read.
    """
    dataset = shown[0].dataset
    full_s = dataset.info.clip_s
    whole: Counter[str] = Counter()
    short: Counter[str] = Counter()
    for clip in recorded(dataset):
        duration_s = clip.duration_s
        if duration_s is None and clip.path is not None:
            try:
                duration_s = header_of(clip.path).duration
            except RuntimeError:
                raise DataError(f"{clip.path}: is not sound: replace it or leave it out") from None
        counts = short if duration_s is not None and duration_s < full_s else whole
        counts[clip.label] += 1
    labels = [label for label in dataset.info.labels if whole[label] + short[label]]
    figure = new_figure(max(5.0, 0.32 * len(labels) + 2), 3.6)
    axes = figure.subplots()
    heights = [whole[label] for label in labels]
    axes.bar(range(len(labels)), heights, color="C0", label=f"{full_s:g} s or longer")
    axes.bar(
        range(len(labels)),
        [short[label] for label in labels],
        bottom=heights,
        color="C1",
        hatch="//",
        edgecolor="white",
        label=f"shorter than {full_s:g} s",
    )
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
    axes.set(xlabel="class", ylabel="clips")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    rows = [(label, whole[label], short[label]) for label in labels]
    return Drawing(figure, ("label", "clips_of_full_length", "shorter_clips"), rows)


def signal_values(dataset: AudioDataset) -> dict[str, float]:
    """Mean and standard deviation over the clips, each in its own length (M3Net's tables 1 and 2).

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

    The paper names neither the symbols nor their number (docs/design/decisions.md).
    """
    counts = np.histogram(wave, _LEVELS)[0]
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log2(shares)))


def zero_crossings_hz(wave: npt.NDArray[np.float32], sample_rate_hz: int) -> float:
    """Changes of sign per second."""
    changes = np.count_nonzero(np.diff(np.signbit(wave)))
    return changes * sample_rate_hz / len(wave)
