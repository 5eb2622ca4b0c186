# SPDX-License-Identifier: Apache-2.0
"""Durations of the recordings of each class: figure 7 of the SpectroMaskNet paper."""

from collections import Counter
from collections.abc import Sequence

from m3net_tf.audio.datasets.audio import header_of
from m3net_tf.lab.figures.shown import Shown, recorded
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.system.errors import DataError


def draw_durations(shown: Sequence[Shown]) -> Drawing:
    """Bars of the clips per class that last a whole clip, and of the shorter ones.

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
