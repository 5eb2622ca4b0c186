# SPDX-License-Identifier: Apache-2.0
"""Draws docs/mirror_attention.png: what replaces the mirrors of M3Net, in points to M3Net itself.

python docs/draw_mirror_attention.py
"""

from __future__ import annotations

from pathlib import Path

from m3net_tf.lab import RESULTS
from m3net_tf.lab.studies.statistics import FEWEST_PAIRS, paired_values
from m3net_tf.lab.studies.table_record import CellValues, TableReport
from m3net_tf.pages.plotting import new_figure
from m3net_tf.system.artifacts import read_json

PICTURE = Path(__file__).parent / "mirror_attention.png"
TABLE = RESULTS / "m3net/mirrors.paper.xla.json"


def panels(report: TableReport) -> dict[str, list[tuple[str, list[float], CellValues]]]:
    """By split, the networks other than M3Net with the differences of their pairs."""
    found: dict[str, list[tuple[str, list[float], CellValues]]] = {}
    for cell in report["cells"]:
        test = cell["against_reference"]
        if test is None or test["pairs"] < FEWEST_PAIRS:
            continue
        labels = {**cell["labels"], **report["reference"]}
        reference = next(other for other in report["cells"] if other["labels"] == labels)
        own, others, _ = paired_values(cell, reference)
        points = [value - other for value, other in zip(own, others, strict=True)]
        row = (cell["labels"]["Model"], points, cell)
        found.setdefault(cell["labels"]["Split"], []).append(row)
    return found


def draw() -> None:
    """Write the picture from the written table."""
    drawn = list(panels(read_json(TABLE)).items())
    heights = [len(rows) for _, rows in drawn]
    figure = new_figure(7, 2 + 0.27 * sum(heights))
    axes_of = figure.subplots(len(drawn), squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (title, rows) in zip(axes_of, drawn, strict=True):
        for place, (_, points, cell) in enumerate(rows):
            test = cell["against_reference"]
            if test and test["low"] is not None:
                axes.plot([test["low"], test["high"]], [place] * 2, "C0", linewidth=2)
                axes.plot(test["difference"], place, "C0|", markersize=12)
            axes.plot(points, [place] * len(points), "k.", alpha=0.6)
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [model for model, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title, fontsize="medium")
    axes_of[-1].set_xlabel("accuracy minus M3Net's of the same seed and draw, points; line: 95 %")
    figure.savefig(PICTURE, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    draw()
