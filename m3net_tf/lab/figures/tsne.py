# SPDX-License-Identifier: Apache-2.0
"""t-SNE of clips by the branches of the bilateral network: figure 7 of its paper."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.lab.figures.shown import Shown, maps_of
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.pages.report.projection import Values, plane, spread_over_classes
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import original_features

CLIPS = 500
PANELS = {"detail": "detail branch", "semantic": "semantic branch", "pool": "last layer"}
"""Layer -> title of its panel; the panel of the raw audio comes first."""
_BATCH = 8


def draw_tsne(shown: Sequence[Shown], clips: int = CLIPS, seed: int = 0) -> Drawing:
    """Project test clips onto a plane by their input, each branch and the last layer.

    Sequences are averaged over time. Each panel's title gives the mean silhouette in the plane
    (1: classes are separate, 0: mixed).

    Args:
        clips: number of test clips, spread evenly over the classes; at least 8.

    Raises:
        M3NetError: the data or the run cannot be read.
    """
    cell = shown[0]
    model = cell.trained.load_model()
    test = original_features(cell.dataset, "test", cell.recipe)
    chosen = spread_over_classes(test.labels, clips)
    sounds: list[Values] = []
    branches: dict[str, list[Values]] = {name: [] for name in PANELS}
    features = keras.Model(model.input, {name: model.get_layer(name).output for name in PANELS})
    for first in range(0, len(chosen), _BATCH):
        part = chosen[first : first + _BATCH]
        maps = maps_of(test, part)
        sounds.append(maps.reshape(len(part), -1))
        for name, values in features(maps, training=False).items():
            branches[name].append(tf.reduce_mean(values, axis=(1, 2)).numpy())
    points = {"raw audio": plane(np.concatenate(sounds), seed)}
    points |= {title: plane(np.concatenate(branches[name]), seed) for name, title in PANELS.items()}
    clip_ids = [test.clips[i].clip_id for i in chosen]
    return _scatter(points, test.labels[chosen], clip_ids, cell.dataset.info.labels)


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
