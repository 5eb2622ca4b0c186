# SPDX-License-Identifier: Apache-2.0
"""Accuracies of many runs: by split, with what share of the test was trained on; by clips."""

import statistics
from collections.abc import Sequence
from typing import Any

from m3net_tf.lab.figures.shown import Shown
from m3net_tf.pages.plotting import Drawing, new_figure

_AXES = ("Data set", "Network", "Split")
_BY_SPLIT = (
    *("data_set", "network", "split", "run", "protocol"),
    *("train_clips", "test_clips", "trained_share", "accuracy"),
)
_BY_CLIPS = ("network", "teacher", "run", "train_clips", "accuracy")


def draw_leakage(shown: Sequence[Shown]) -> Drawing:
    """Test accuracy of each network by split, a panel per data set; a dot is a run.

    The numbers have, for each run, the share of test clips whose recording or speaker is in
    training (``trained_share``). A legend calls both their source.

    Raises:
        DataError: the data of a run are missing.
    """
    rows = [_row(cell) for cell in shown]
    data_sets, networks, splits = (list(dict.fromkeys(row[i] for row in rows)) for i in range(3))
    figure = new_figure(5 * len(data_sets), 3.8)
    panels = figure.subplots(1, len(data_sets), sharey=True, squeeze=False)[0]
    for axes, data_set in zip(panels, data_sets, strict=True):
        own = [row for row in rows if row[0] == data_set]
        drawn = [split for split in splits if any(row[2] == split for row in own)]
        width = 0.8 / len(drawn)
        for k, split in enumerate(drawn):
            for i, network in enumerate(networks):
                values = [row[-1] for row in own if row[1:3] == (network, split)]
                place = i + (k - (len(drawn) - 1) / 2) * width
                colour = f"C{splits.index(split)}"
                label = _label(split, own) if not i else None
                axes.bar(place, statistics.fmean(values), 0.9 * width, color=colour, label=label)
                axes.plot([place] * len(values), values, "k.", markersize=4, alpha=0.6)
        axes.set_xticks(range(len(networks)), networks)
        axes.set_title(data_set, fontsize="medium")
        axes.set_ylim(0, 100)
        # Below the panel, as the bars of a leaking split reach the top.
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.1))
    panels[0].set_ylabel("test accuracy (%)")
    return Drawing(figure, _BY_SPLIT, rows)


def _row(cell: Shown) -> tuple[Any, ...]:
    dataset = cell.dataset
    return (
        *(cell.labels[axis] for axis in _AXES),
        cell.labels["run"],
        cell.recipe.dataset.protocol or dataset.info.protocol,
        len(dataset.split("train")),
        len(dataset.split("test")),
        100 * dataset.leak(),
        100 * float(cell.metrics["test"]["accuracy"]),
    )


def _label(split: str, rows: Sequence[tuple[Any, ...]]) -> str:
    share = statistics.fmean(row[7] for row in rows if row[2] == split)
    return f"{split}: {share:.0f} % of the test clips have their source in training"


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
        colour = f"C{networks.index(network)}"
        label = network if alone else f"{network}, taught"
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
    return Drawing(figure, _BY_CLIPS, rows)
