# SPDX-License-Identifier: Apache-2.0
"""Accuracy by split, and how many test clips come from recordings or speakers in training."""

import statistics
from collections.abc import Sequence
from typing import Any

from m3net_tf.lab.figures.shown import Shown
from m3net_tf.pages.plotting import Drawing, new_figure

_AXES = ("Data set", "Network", "Split")
_COLUMNS = (
    *("data_set", "network", "split", "run", "protocol"),
    *("train_clips", "test_clips", "trained_share", "accuracy"),
)


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
    return Drawing(figure, _COLUMNS, rows)


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
