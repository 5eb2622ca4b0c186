# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of SpectroMaskNet's branches: figure 6 of its paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.lab.figures.shown import Shown, maps_of
from m3net_tf.pages.plotting import Drawing, draw_map, new_figure
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import original_features

CLIPS = 2
_BRANCHES = {"complete": "global branch", "masked": "local branch"}


def draw_activation_maps(shown: Sequence[Shown], clips: int = CLIPS) -> Drawing:
    """Grad-CAM of the last module of each stage, one row per branch and clip.

    Masks act in training only, so the local branch sees the whole map here. Each map is scaled to
    its maximum. The numbers are each map's mean over the frames.

    Raises:
        M3NetError: the data or the run cannot be read.
    """
    cell = shown[0]
    model = cell.trained.load_model()
    layers = stage_layers(model)
    test = original_features(cell.dataset, "test", cell.recipe)
    chosen = spread_over_classes(test.labels, clips)
    maps = maps_of(test, chosen)
    cams = gradient_maps(model, layers, tf.constant(maps), test.labels[chosen])
    stages = max(len([name for name in layers if name.startswith(b)]) for b in _BRANCHES)
    config = cell.recipe.frontend
    end_s = maps.shape[2] * config.hop_samples / config.sample_rate_hz
    branches = [b for b in _BRANCHES if any(name.startswith(b) for name in layers)]
    figure = new_figure(2.5 * (stages + 1), 2.1 * len(branches) * len(chosen))
    panels = figure.subplots(len(branches) * len(chosen), stages + 1, squeeze=False)
    rows: list[tuple[Any, ...]] = []
    for i, index in enumerate(chosen):
        clip = test.clips[index]
        for j, branch in enumerate(branches):
            row = panels[i * len(branches) + j]
            _show(row[0], maps[i, ..., 0], end_s, f"input: {clip.label}")
            row[0].set_ylabel(f"{_BRANCHES[branch]}\nmel bin")
            names = [name for name in layers if name.startswith(branch)]
            for number, (axes, name) in enumerate(zip(row[1:], names, strict=False), start=1):
                image = _show(axes, cams[name][i], end_s, f"stage {number}")
                rows += [
                    (clip.clip_id, clip.label, branch, number, bin_, float(value))
                    for bin_, value in enumerate(cams[name][i].mean(1))
                ]
    for axes in panels[-1]:
        axes.set_xlabel("time (s)")
    figure.colorbar(image, ax=panels[:, -1].tolist(), label="activation, share of the maximum")
    return Drawing(figure, ("clip", "label", "branch", "stage", "bin", "mean"), rows)


def stage_layers(model: keras.Model) -> list[str]:
    """The last map of each stage of each branch, by the layers' names, in order."""
    last: dict[tuple[str, int], str] = {}
    for layer in model.layers:
        branch = next((name for name in _BRANCHES if layer.name.startswith(name)), "")
        number = layer.name.removeprefix(branch).split("_")[0]
        is_map = len(layer.output.shape) == 4 and min(layer.output.shape[1:3]) > 1
        if branch and number.isdecimal() and is_map:
            last[branch, int(number)] = layer.name
    return [last[key] for key in sorted(last)]


def gradient_maps(
    model: keras.Model, layers: Sequence[str], maps: tf.Tensor, labels: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.float32]]:
    """Grad-CAM (Selvaraju et al., 2017, equations 1 and 2), in the size of the input.

    Args:
        model: network with a layer ``logits``.
        maps: float32, shape (clips, bins, frames, 1).
        labels: class of each clip, shape (clips,).

    Returns:
        Layer -> maps of shape (clips, bins, frames), from 0 to 1.
    """
    outputs = {name: model.get_layer(name).output for name in layers}
    probe = keras.Model(model.input, {**outputs, "logits": model.get_layer("logits").output})
    with tf.GradientTape() as tape:
        tape.watch(maps)
        values = probe(maps, training=False)
        score = tf.reduce_sum(tf.gather(values["logits"], labels, axis=1, batch_dims=1))
    gradients = tape.gradient(score, {name: values[name] for name in layers})
    cams = {}
    for name in layers:
        weights = tf.reduce_mean(gradients[name], axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(weights * values[name], axis=-1, keepdims=True))
        cam = tf.image.resize(cam, maps.shape[1:3])[..., 0]
        largest = tf.reduce_max(cam, axis=(1, 2), keepdims=True)
        cams[name] = tf.math.divide_no_nan(cam, largest).numpy()
    return cams


def _show(axes: Any, values: npt.NDArray[np.float32], end_s: float, title: str) -> Any:
    axes.set_title(title, fontsize="medium", parse_math=False)
    return draw_map(axes, values, end_s)
