# SPDX-License-Identifier: Apache-2.0
"""DiffRes's figures 9 to 11: learnt features, pilot studies, warp."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.lab.figures.shown import Shown, maps_of
from m3net_tf.networks.layers.diffres import WARP
from m3net_tf.networks.layers.diffres.warp import warp_matrix
from m3net_tf.pages.plotting import COLOURS, STYLES, Drawing, draw_map, new_figure
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import original_features

CLIPS = 2


def draw_learnt_features(shown: Sequence[Shown], clips: int = CLIPS) -> Drawing:
    """Mel spectrogram, and each run's input of the classifier, for the same test clips.

    The numbers are the mean of each bin over the frames.

    Args:
        shown: runs of DiffRes and of ConvAvgPool on the same clips.

    Raises:
        M3NetError: the data or a run cannot be read.
    """
    first = shown[0]
    test = original_features(first.dataset, "test", first.recipe)
    chosen = spread_over_classes(test.labels, clips)
    maps = maps_of(test, chosen)
    parts = {"mel spectrogram": maps[..., 0]}
    for cell in shown:
        model = cell.trained.load_model()
        layers = [layer.name for layer in model.layers]
        name = WARP if WARP in layers else "avgpool"
        outputs = keras.Model(model.input, model.get_layer(name).output)(maps, training=False)
        parts[cell.first_label] = outputs[..., 0].numpy()
    config = first.recipe.frontend
    end_s = maps.shape[2] * config.hop_samples / config.sample_rate_hz
    figure = new_figure(3.4 * len(parts), 2.6 * len(chosen))
    panels = figure.subplots(len(chosen), len(parts), squeeze=False)
    rows: list[tuple[Any, ...]] = []
    for i, index in enumerate(chosen):
        clip = test.clips[index]
        for axes, (part, values) in zip(panels[i], parts.items(), strict=True):
            plain = part == "mel spectrogram"
            draw_map(axes, values[i], end_s if plain else values.shape[2])
            axes.set(xlabel="time (s)" if plain else "frame out", ylabel="bin")
            axes.set_title(f"{part}: {clip.label}", fontsize="medium", parse_math=False)
            rows += [
                (clip.clip_id, clip.label, part, bin_, float(value))
                for bin_, value in enumerate(values[i].mean(1))
            ]
    return Drawing(figure, ("clip", "label", "part", "bin", "mean"), rows)


def draw_improvement(shown: Sequence[Shown]) -> Drawing:
    """How much each class gains from a smaller hop, and the distribution over the classes.

    The score is the average precision of a class for clips with several labels, else its recall.

    Args:
        shown: runs of two different hops.
    """
    hops = sorted({cell.hop_ms for cell in shown})
    small, large = ([_by_class(c) for c in shown if c.hop_ms == hop] for hop in hops)
    classes = [label for label in small[0] if all(label in run for run in (*small, *large))]
    rows: list[tuple[str, float, float, float]] = []
    for label in classes:
        before, after = (
            100 * statistics.fmean(run[label] for run in runs) for runs in (large, small)
        )
        rows.append((label, before, after, after - before))
    rows.sort(key=lambda row: row[-1])
    gains = [row[-1] for row in rows]
    figure = new_figure(8, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    left.bar(range(len(gains)), gains, color="C0")
    left.axhline(0, color="black", linewidth=0.8)
    quantity = "average precision" if _multi_label(shown[0]) else "recall"
    left.set(xlabel="class", ylabel=f"gain in {quantity} (points)")
    left.set_title(f"hop of {hops[0]:g} instead of {hops[1]:g} ms", fontsize="medium")
    if len(rows) <= 50:
        left.set_xticks(range(len(rows)), [r[0] for r in rows], rotation=90, parse_math=False)
    right.violinplot(gains, showextrema=True)
    median = statistics.median(gains)
    right.axhline(median, color="C3", linestyle="--", label=f"median {median:.1f}")
    right.set_xticks([])
    right.set_xlabel("distribution")
    right.legend(fontsize="small")
    columns = ("class", f"at_{hops[1]:g}_ms", f"at_{hops[0]:g}_ms", "gain")
    return Drawing(figure, columns, rows, {"median_gain": median})


def draw_hops(shown: Sequence[Shown]) -> Drawing:
    """Accuracy and multiplications of the network by hop, a line per front end.

    Multiplications are relative to the first front end's at 10 ms, or at its largest hop below
    10 ms.
    """
    points: dict[tuple[str, float], list[Shown]] = {}
    for cell in shown:
        points.setdefault((cell.first_label, cell.hop_ms), []).append(cell)
    names = list(dict.fromkeys(name for name, _ in points))
    own = [hop for name, hop in points if name == names[0]]
    base = points[names[0], max([hop for hop in own if hop <= 10] or own)][0]
    base_macs = base.trained.metrics().macs
    rows: list[tuple[Any, ...]] = []
    for (name, hop_ms), cells in sorted(points.items()):
        scores = [100 * float(cell.trained.metrics().test["accuracy"]) for cell in cells]
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        macs = cells[0].trained.metrics().macs
        rows.append(
            (name, hop_ms, len(scores), statistics.fmean(scores), deviation, macs, macs / base_macs)
        )
    figure = new_figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(names):
        own_rows = sorted((row for row in rows if row[0] == name), key=lambda row: row[1])
        steps, accuracy, deviations = ([row[k] for row in own_rows] for k in (1, 3, 4))
        style = {"color": f"C{index}", "linestyle": STYLES[index % len(STYLES)]}
        left.errorbar(steps, accuracy, deviations, marker="o", capsize=3, label=name, **style)
        right.plot(steps, [row[6] for row in own_rows], marker="o", label=name, **style)
    for axes in (left, right):
        axes.set_xlabel("hop (ms)")
        axes.set_xscale("log")
        hops = sorted({row[1] for row in rows})
        axes.set_xticks(hops, [f"{hop:g}" for hop in hops])
        axes.minorticks_off()
    left.set_ylabel("test accuracy (%)")
    right.set(ylabel="multiplications, relative", ylim=(0, None))
    right.legend(fontsize="small")
    columns = ("front_end", "hop_ms", "runs", "accuracy", "std", "macs", "relative_macs")
    return Drawing(figure, columns, rows)


def draw_algorithm(frames: int = 12, frames_out: int = 6, seed: int = 1) -> Drawing:
    """A warp matrix before and after Algorithm 1, for random scores (figure 11)."""
    scores = np.random.default_rng(seed).uniform(0.05, 0.8, frames)
    scores = (scores * min(1.0, frames_out / scores.sum())).astype(np.float32)
    titles = {"equation 5": False, "after Algorithm 1": True}
    figure = new_figure(9, 4.2)
    panels = figure.subplots(2, 2, height_ratios=[1, 2.4], sharex=True)
    rows: list[tuple[Any, ...]] = []
    for (top, bottom), (title, filled) in zip(panels.T, titles.items(), strict=True):
        matrix = warp_matrix(tf.constant(scores[None]), frames_out, filled)[0].numpy()
        top.bar(range(frames), scores, color="C0")
        top.set(ylim=(0, 1), ylabel="score")
        top.set_title(title)
        image = bottom.imshow(matrix, cmap=COLOURS, aspect="auto", vmin=0, vmax=1)
        for (i, j), value in np.ndenumerate(matrix):
            if value > 0.005:
                shade = "black" if value > 0.6 else "white"
                bottom.text(j, i, f"{value:.2f}", ha="center", va="center", color=shade, size=6)
        bottom.set_yticks(
            range(frames_out), [f"{i} ($\\Sigma$ {row.sum():.2f})" for i, row in enumerate(matrix)]
        )
        bottom.set(xlabel="frame", ylabel="frame out (sum of the row)")
        rows += [
            (title, i, j, float(value)) for (i, j), value in np.ndenumerate(matrix) if value > 0
        ]
    figure.colorbar(image, ax=panels[1].tolist(), label="weight")
    facts = {"scores": [round(float(score), 6) for score in scores], "seed": seed}
    return Drawing(figure, ("step", "frame_out", "frame", "weight"), rows, facts)


def _multi_label(cell: Shown) -> bool:
    return "average_precision" in cell.trained.metrics().test


def _by_class(cell: Shown) -> Mapping[str, float]:
    key = "average_precision" if _multi_label(cell) else "recall"
    by_class: Mapping[str, float] = cell.trained.metrics().test[key]
    return by_class
