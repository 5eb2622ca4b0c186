# SPDX-License-Identifier: Apache-2.0
"""Draws docs/wake_word.svg: misses of real voices against false accepts, from the tables of curves.

python docs/draw_wake.py "phrase only=A" "with 5 clips=B" …, where A, B, … are folders that
`m3net bench wake --out A` has written.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

PICTURE = Path(__file__).parent / "wake_word.svg"
TABLE = "wake_curve.csv"


def curve(table: Path, word: str) -> tuple[list[float], list[float]]:
    """False accepts an hour, and misses in percent."""
    with table.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["class"] == word]
    accepts = [int(row["false_accepts"]) / float(row["hours"]) for row in rows]
    return accepts, [100 * int(row["missed"]) / int(row["true_events"]) for row in rows]


def main() -> None:
    """Draw the folders of the command line."""
    folders = dict(argument.split("=", 1) for argument in sys.argv[1:])
    with (Path(next(iter(folders.values()))) / TABLE).open(newline="") as lines:
        words = sorted({row["class"] for row in csv.DictReader(lines)} - {"all"})
    # Equal curves give equal bytes; text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": PICTURE.stem, "svg.fonttype": "none"})
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, word in zip(figure.subplots(1, len(words), sharey=True), words, strict=True):
        for name, folder in folders.items():
            axes.step(*curve(Path(folder) / TABLE, word), label=name)
        axes.axvline(0.5, color="grey", linestyle=":")
        axes.set_xscale("symlog", linthresh=0.5)
        axes.set(title=word, xlabel="false accepts an hour", xlim=(0, 20), ylim=(0, 40))
        axes.grid(alpha=0.3)
    axes.legend()
    figure.axes[0].set_ylabel("missed, %")
    figure.savefig(PICTURE, metadata={"Date": None, "Creator": None})


main()
