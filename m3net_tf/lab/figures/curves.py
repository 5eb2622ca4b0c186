# SPDX-License-Identifier: Apache-2.0
"""Curves over the epochs of finished runs, and confusion matrices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from m3net_tf.networks.models import design_defaults, presets_of
from m3net_tf.pages.plotting import COLOURS, Drawing, new_figure
from m3net_tf.pages.report.run_files import read_confusion, read_history
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training.run import Run


def frames_per_second(run: Run) -> float:
    """Frames per second at the classifier of a run with DiffRes or a baseline.

    Raises:
        ConfigError: the run's network is not ``diffres``.
    """
    recipe = run.recipe()
    if recipe.model.name != "diffres":
        raise ConfigError(f"{run.folder} has network {recipe.model.name}: name runs of diffres")
    preset = presets_of("diffres")[recipe.model.preset]
    arguments = {**design_defaults("diffres"), **preset.arguments, **recipe.model.arguments}
    config = recipe.frontend
    share = 1.0 - float(arguments["reduction"])
    return share * config.sample_rate_hz / config.hop_samples


def draw_by_frame_rate(runs: Sequence[Run], column: str, label: str) -> Drawing:
    """A quantity of DiffRes over the epochs, with one colour per frame rate.

    Args:
        runs: runs of ``diffres``.
        column: column of their histories.
        label: label of the axis.

    Raises:
        ConfigError: a run of another network.
        DataError: a history lacks the column.
    """
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    rows: list[tuple[str, float, float, float]] = []
    colours: dict[float, str] = {}
    for run in sorted(runs, key=frames_per_second):
        rate = frames_per_second(run)
        epochs, values = history_column(run, column)
        name = f"{rate:.3g} FPS"
        colour = colours.get(rate, f"C{len(colours)}")
        axes.plot(epochs, values, color=colour, label=None if rate in colours else name)
        colours[rate] = colour
        rows += [
            (run.folder.name, rate, epoch, value)
            for epoch, value in zip(epochs, values, strict=True)
        ]
    axes.set(xlabel="epoch", ylabel=label)
    axes.legend()
    return Drawing(figure, ("run", "frames_per_s", "epoch", column), rows)


def draw_fusion(runs: Sequence[Run]) -> Drawing:
    """Weights of SpectroMaskNet's branches over the epochs (its figure 5).

    Raises:
        DataError: a history has no lambda.
    """
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    rows: list[tuple[str, float, float]] = []
    for index, run in enumerate(runs):
        epochs, values = history_column(run, "lambda")
        shares = np.array(values)
        axes.plot(epochs, shares, color=f"C{index}", label=f"{run.folder.name}: complete")
        axes.plot(epochs, 1 - shares, "--", color=f"C{index}", label=f"{run.folder.name}: masked")
        rows += [(run.folder.name, *pair) for pair in zip(epochs, values, strict=True)]
    axes.set(xlabel="epoch", ylabel="weight of the branch in the fusion")
    axes.legend()
    return Drawing(figure, ("run", "epoch", "lambda"), rows)


def draw_curves(runs: Sequence[Run]) -> Drawing:
    """Loss and validation figures of several runs in the same axes.

    Raises:
        DataError: a history is missing or damaged.
    """
    histories = [read_history(run) for run in runs]
    shared = [
        name
        for name in histories[0]
        if name not in ("epoch", "seconds") and all(name in history for history in histories)
    ]
    figure = new_figure(7, 2.6 * -(-len(shared) // 2))
    for axes, name in zip(
        np.ravel(figure.subplots(-(-len(shared) // 2), 2, squeeze=False)),
        itertools.chain(shared, [None]),
        strict=False,
    ):
        if name is None:
            axes.set_axis_off()
            continue
        for run, history in zip(runs, histories, strict=True):
            axes.plot(history["epoch"], history[name], label=run.folder.name)
        axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axes.legend(fontsize="small")
    rows = [
        (run.folder.name, *values)
        for run, history in zip(runs, histories, strict=True)
        for values in zip(history["epoch"], *(history[name] for name in shared), strict=True)
    ]
    return Drawing(figure, ("run", "epoch", *shared), rows)


def draw_confusion(runs: Sequence[Run]) -> Drawing:
    """Confusion matrix of a run's test clips, as shares of each true class.

    Raises:
        DataError: the run has none, or it is damaged.
    """
    labels, counts = read_confusion(runs[0])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    edge = 2.2 + 0.3 * len(labels)
    figure = new_figure(edge + 0.8, edge)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=90, parse_math=False)
    axes.set_yticks(ticks, labels, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class")
    rows = [
        (labels[i], labels[j], int(counts[i, j]), float(shares[i, j])) for i in ticks for j in ticks
    ]
    return Drawing(figure, ("true", "predicted", "clips", "share"), rows)


def history_column(run: Run, name: str) -> tuple[list[float], list[float]]:
    """Epochs and a column of a run's history.

    Raises:
        DataError: the history is missing or damaged, or lacks the column.
    """
    history = read_history(run)
    if name not in history:
        raise DataError(
            f"{run.folder / 'history.csv'} has no column {name}: name a run whose network learns "
            f"it, trained by this version (it has {', '.join(history)})"
        )
    return history["epoch"], history[name]
