# SPDX-License-Identifier: Apache-2.0
"""Curves over the epochs of finished runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.lab.figures.shown import Shown
from m3net_tf.pages.plotting import STYLES, Drawing, new_figure
from m3net_tf.pages.report.run_files import read_history
from m3net_tf.system.errors import DataError


def draw_curves(shown: Sequence[Shown], columns: Mapping[str, str]) -> Drawing:
    """A panel for each column of the histories; runs with the same first label have one colour.

    Args:
        columns: column of the histories -> label of its axis.

    Raises:
        DataError: a history is missing or damaged, or lacks a column.
    """
    figure = new_figure(2 + 3 * len(columns), 3.3)
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    names = list(dict.fromkeys(cell.first_label for cell in shown))
    rows: list[tuple[Any, ...]] = []
    for cell in shown:
        history = read_history(cell.trained)
        if missing := [column for column in columns if column not in history]:
            raise DataError(
                f"{cell.trained.folder / 'history.csv'} has no column {missing[0]}: delete the "
                "folder, and this version trains it again"
            )
        epochs = history["epoch"]
        index = names.index(cell.first_label)
        style = {
            "color": f"C{index}",
            "linestyle": STYLES[index % len(STYLES)],
            "marker": "o" if len(epochs) == 1 else "",
        }
        for axes, (column, label) in zip(panels, columns.items(), strict=True):
            drawn = {line.get_label() for line in axes.get_lines()}
            legend = "_" if cell.first_label in drawn else cell.first_label
            axes.plot(epochs, history[column], label=legend, **style)
            axes.set(xlabel="epoch", ylabel=label)
        rows += [(cell.title, *row) for row in zip(epochs, *map(history.get, columns), strict=True)]
    panels[0].legend(title=next(iter(shown[0].labels)), fontsize="small")
    return Drawing(figure, ("run", "epoch", *columns), rows)


def draw_fusion(shown: Sequence[Shown]) -> Drawing:
    """Weights of SpectroMaskNet's branches over the epochs (its figure 5).

    Raises:
        DataError: see :func:`draw_curves`.
    """
    drawing = draw_curves(shown, {"lambda": "weight of the branch in the fusion"})
    (axes,) = drawing.figure.axes
    for line in axes.get_lines():
        line.set_label("complete map")
        masked = 1 - np.asarray(line.get_ydata(), float)
        axes.plot(line.get_xdata(), masked, ":", color=line.get_color(), label="masked map")
    axes.legend()
    return drawing


def draw_ablation(shown: Sequence[Shown]) -> Drawing:
    """Guide loss, activeness and validation score over the epochs (DiffRes's figure 8).

    Raises:
        DataError: see :func:`draw_curves`.
    """
    columns = {"guide_loss": "guide loss", "activeness": "activeness"}
    if "validation_map" in read_history(shown[0].trained):
        return draw_curves(shown, {**columns, "validation_map": "mAP (validation)"})
    return draw_curves(shown, {**columns, "validation_accuracy": "accuracy (validation)"})
