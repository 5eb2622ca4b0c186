# SPDX-License-Identifier: Apache-2.0
"""Scores of whole clips from the scores of their windows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import Clip
from m3net_tf.runtime.classifier import mean_of_windows


def rows_of_whole(clips: Sequence[Clip]) -> list[list[int]]:
    """Indices of the windows of each clip, in the order of their first windows."""
    rows: dict[str, list[int]] = {}
    for i, clip in enumerate(clips):
        rows.setdefault(clip.whole or clip.clip_id, []).append(i)
    return list(rows.values())


def whole_scores(
    scores: npt.NDArray[np.floating], clips: Sequence[Clip], labels: Sequence[str]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Scores of whole clips, some of which are cut into windows: each clip counts once.

    Args:
        scores: scores of ``clips``, 0 to 1, shape (clips, classes).

    Returns:
        Scores of the whole clips, shape (whole clips, classes), from windows by
        :func:`.classifier.mean_of_windows`; and the index of the first row of each.
    """
    rows = rows_of_whole(clips)
    first = np.array([windows[0] for windows in rows], np.int64)
    if len(rows) == len(clips):
        return scores, first
    means = [
        mean_of_windows(
            scores[windows],
            labels,
            [clips[i].start_s for i in windows],
            clips[windows[0]].duration_s or 1.0,
        )
        for windows in rows
    ]
    return np.array(means), first
