# SPDX-License-Identifier: Apache-2.0
"""A spectrogram before and after DiffRes: figure 4 of its paper (also 12 and 13)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3net_tf.lab.figures.shown import Shown, maps_of
from m3net_tf.networks.layers.diffres.warp import warp_matrix
from m3net_tf.networks.models.diffres import probe
from m3net_tf.pages.plotting import Drawing, draw_map, new_figure
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.training.clips.features import original_features

CLIPS = 3


def draw_warp(shown: Sequence[Shown], clips: int = CLIPS) -> Drawing:
    """Spectrogram, scores, warp matrix and the classifier's input, one column per clip.

    Raises:
        M3NetError: the data or the run cannot be read.
    """
    cell = shown[0]
    model = cell.trained.load_model()
    probe_model = probe(model)
    layer = model.get_layer("diffres_warp")
    test = original_features(cell.dataset, "test", cell.recipe)
    chosen = spread_over_classes(test.labels, clips)
    maps = maps_of(test, chosen)
    outputs = probe_model(maps, training=False)
    matrices = warp_matrix(outputs["scores"], layer.frames_out, layer.fill_rows).numpy()
    channels = ["mean", *["maximum"] * layer.maximum, *["encoding"] * layer.encoding]

    hop_s = cell.recipe.frontend.hop_s
    heights = [2, 1, 2, *[2] * len(channels)]
    figure = new_figure(3 * len(chosen) + 1, 0.8 * sum(heights))
    axes = figure.subplots(len(heights), len(chosen), squeeze=False, height_ratios=heights)
    rows: list[tuple[Any, ...]] = []
    for i, (column, index) in enumerate(zip(axes.T, chosen, strict=True)):
        clip = test.clips[index]
        scores = outputs["scores"][i].numpy()
        matrix = matrices[i]
        channel_maps = np.moveaxis(outputs["features"][i].numpy(), -1, 0)
        warped = list(zip(channels, channel_maps, strict=True))
        parts = [("spectrogram", maps[i, ..., 0]), ("importance", scores[None]), *warped]
        column[0].set_title(clip.label, parse_math=False)
        _draw_column(column, maps[i, ..., 0], scores, matrix, warped, hop_s)
        rows += [
            (clip.clip_id, clip.label, part, *position, float(value))
            for part, values in parts
            for position, value in np.ndenumerate(values)
        ]
        rows += [  # most of it is zero
            (clip.clip_id, clip.label, "warp", int(row), int(frame), float(matrix[row, frame]))
            for row, frame in np.argwhere(matrix > 0)
        ]
    facts = {
        "activeness": [round(float(value), 6) for value in outputs["activeness"]],
        "guide_loss": [round(float(value), 6) for value in outputs["guide_loss"]],
    }
    return Drawing(figure, ("clip", "label", "part", "row", "frame", "value"), rows, facts)


def _draw_column(
    column: Any,
    spectrogram: np.ndarray,
    scores: np.ndarray,
    matrix: np.ndarray,
    warped: Sequence[tuple[str, np.ndarray]],
    hop_s: float,
) -> None:
    """Draw one clip.

    Args:
        spectrogram: shape (bins, frames).
        scores: shape (frames,).
        matrix: warp, shape (frames out, frames).
        warped: channels of the classifier's input, each of shape (bins, frames out).
    """
    frames_out, frames = matrix.shape
    end_s = frames * hop_s
    _show(column[0], spectrogram, end_s, "spectrogram")
    column[1].stairs(scores, np.arange(frames + 1) * hop_s, fill=True)
    column[1].set(xlim=(0, end_s), ylim=(0, 1), ylabel="importance")
    _show(column[2], matrix, end_s, "frame out")
    for axes, (name, values) in zip(column[3:], warped, strict=True):
        _show(axes, values, frames_out, name)
    column[2].set_xlabel("s")
    column[3].set_title("input of the classifier", fontsize="medium")
    column[-1].set_xlabel("frame out")


def _show(axes: Any, values: np.ndarray, width: float, label: str) -> None:
    draw_map(axes, values, width)
    axes.set_ylabel(label)
