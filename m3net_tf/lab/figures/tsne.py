# SPDX-License-Identifier: Apache-2.0
"""t-SNE of clips by the branches of a network, such as figure 7 of the bilateral paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.lab.figures.shown import maps_of
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.pages.report.projection import FEWEST, Values, plane, spread_over_classes
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.features import original_features
from m3net_tf.training.run import Run

CLIPS = 500
PANELS = {
    "bilateral": {"detail": "detail branch", "semantic": "semantic branch", "pool": "last layer"},
    "spectromasknet": {
        "complete_pool": "global branch",
        "masked_pool": "local branch",
        "fusion": "last layer",
    },
}
"""Network -> layer -> title of its panel; the panel of the input comes first."""
_BATCH = 8


def draw_tsne(run: Run, data_dir: Path | None = None, clips: int = CLIPS, seed: int = 0) -> Drawing:
    """Project test clips onto a plane by their input, each branch and the last layer.

    Sequences are averaged over time. Each panel's title gives the mean silhouette in the plane
    (1: classes are separate, 0: mixed).

    Args:
        run: run of the bilateral network or SpectroMaskNet, with both branches.
        clips: number of test clips, spread evenly over the classes; at least 8.
        seed: seed of t-SNE.

    Raises:
        ConfigError: too few clips, or a network without these branches.
        M3NetError: the data or the run cannot be read.
    """
    dataset = run.dataset(data_dir)
    if min(clips, len(dataset.split("test"))) < FEWEST:
        raise ConfigError(
            f"t-SNE needs at least {FEWEST} test clips: raise --clips, or name a run "
            "of a larger data set"
        )
    model = run.load_model()
    layers = {layer.name for layer in model.layers}
    titles = PANELS.get(run.recipe().model.name, {})
    if not titles or not layers.issuperset(titles):
        raise ConfigError(
            f"{run.folder}: the network has no two branches: name a run of "
            f"{' or '.join(PANELS)} with both"
        )
    test = original_features(dataset, "test", run.recipe())
    chosen = spread_over_classes(test.labels, clips)
    sounds: list[Values] = []
    branches: dict[str, list[Values]] = {name: [] for name in titles}
    features = keras.Model(model.input, {name: model.get_layer(name).output for name in titles})
    for first in range(0, len(chosen), _BATCH):
        part = chosen[first : first + _BATCH]
        maps = maps_of(test, part)
        sounds.append(maps.reshape(len(part), -1))
        for name, values in features(maps, training=False).items():
            branches[name].append(tf.reduce_mean(values, axis=(1, 2)).numpy())
    first_panel = "raw audio" if run.recipe().frontend.kind == "waveform" else "features"
    points = {first_panel: plane(np.concatenate(sounds), seed)}
    points |= {title: plane(np.concatenate(branches[name]), seed) for name, title in titles.items()}
    clip_ids = [test.clips[i].clip_id for i in chosen]
    return _scatter(points, test.labels[chosen], clip_ids, dataset.info.labels)


def _scatter(
    points: dict[str, Values],
    labels: npt.NDArray[np.int32],
    clip_ids: list[str],
    names: tuple[str, ...],
) -> Drawing:
    from matplotlib import colormaps
    from sklearn.metrics import silhouette_score

    present = np.unique(labels)
    colours = colormaps["tab20"](np.arange(len(present)) % 20)
    figure = new_figure(8.5, 7)
    rows, facts = [], {}
    for axes, (title, plotted) in zip(np.ravel(figure.subplots(2, 2)), points.items(), strict=True):
        if 1 < len(present) < len(labels):
            facts[title] = round(float(silhouette_score(plotted, labels)), 4)
            title_text = f"{title} (silhouette {facts[title]:.2f})"
        else:
            title_text = title
        for colour, label in zip(colours, present, strict=True):
            axes.scatter(
                *plotted[labels == label].T, s=12, color=colour, label=names[label], linewidths=0
            )
        axes.set_title(title_text)
        axes.set_xticks([])
        axes.set_yticks([])
        rows += [
            (title, clip, names[label], float(x), float(y))
            for clip, label, (x, y) in zip(clip_ids, labels, plotted, strict=True)
        ]
    handles, texts = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, texts, loc="outside right upper", fontsize="small", markerscale=2
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return Drawing(figure, ("panel", "clip", "label", "x", "y"), rows, {"silhouette": facts})
