# SPDX-License-Identifier: Apache-2.0
"""Accuracy by number of training clips, alone and with a teacher."""

import statistics
from collections.abc import Sequence

from m3net_tf.lab.figures.shown import Shown
from m3net_tf.pages.plotting import Drawing, new_figure

_COLUMNS = ("network", "teacher", "run", "train_clips", "accuracy")


def draw_clips_to_accuracy(shown: Sequence[Shown]) -> Drawing:
    """Test accuracy of each network by its number of training clips.

    A network has one colour: its line is dashed without a teacher. A dot is a run, a line joins the
    means.

    Raises:
        DataError: the data of a run are missing.
    """
    rows = [
        (
            cell.labels["Network"],
            cell.labels["Teacher"],
            cell.labels["run"],
            len(cell.dataset.split("train")),
            100 * float(cell.metrics["test"]["accuracy"]),
        )
        for cell in shown
    ]
    figure = new_figure(6, 4)
    axes = figure.subplots()
    networks = list(dict.fromkeys(row[0] for row in rows))
    for network, teacher in dict.fromkeys(row[:2] for row in rows):
        own = [row[3:] for row in rows if row[:2] == (network, teacher)]
        sizes = sorted({clips for clips, _ in own})
        means = [statistics.fmean(value for clips, value in own if clips == n) for n in sizes]
        alone = teacher == "none"
        colour, label = f"C{networks.index(network)}", network if alone else f"{network}, taught"
        axes.plot(sizes, means, "--" if alone else "-", color=colour, label=label)
        fill = "none" if alone else colour
        axes.plot(*zip(*own, strict=True), "o", color=colour, mfc=fill, ms=3.5, alpha=0.6)
    axes.set_xscale("log", base=2)
    ticks = sorted({row[3] for row in rows})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.set_xlabel("training clips")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    return Drawing(figure, _COLUMNS, rows)
