# SPDX-License-Identifier: Apache-2.0
"""Curves over the epochs of finished runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3net_tf.networks.models import network_design
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.pages.report.run_files import read_history
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
    design = network_design("diffres", recipe.model.preset, recipe.model.arguments)
    config = recipe.frontend
    share = 1.0 - float(design.reduction)
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
