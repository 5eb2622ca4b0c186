# SPDX-License-Identifier: Apache-2.0
"""Misses over false accepts at all thresholds, as a CSV table and a plot."""

import io
from pathlib import Path

import numpy as np

from m3net_tf.evaluation.scoring import Tally
from m3net_tf.evaluation.tuning import total
from m3net_tf.system.artifacts import csv_table, write_bytes

Point = tuple[float, dict[str, Tally]]


def curve_csv(points: list[Point], hours: float) -> str:
    """Misses and false accepts of each class at each threshold, as a CSV table."""
    columns = ("threshold", "class", "true_events", "missed", "false_accepts", "hours")
    rows = []
    for threshold, tallies in points:
        for label, tally in {"all": total(tallies), **tallies}.items():
            counts = (tally.true_events, tally.missed, tally.false_accepts)
            rows.append((threshold, label, *counts, f"{hours:.6g}"))
    return csv_table(columns, rows)


def plot_curve(points: list[Point], chosen: Tally, hours: float, path: Path) -> None:
    """Plot misses against false accepts, and mark the detector's settings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    totals = [total(tallies) for _, tallies in points]
    accepts = [tally.false_accepts / hours for tally in totals]
    misses = [100 * tally.miss_rate for tally in totals]
    axes.plot(accepts, misses, marker=".", label="one threshold for all classes")
    axes.plot(
        [chosen.false_accepts / hours],
        [100 * chosen.miss_rate],
        "o",
        label="the detector's settings",
    )
    # The axis includes zero, so its scale is linear near zero.
    axes.set_xscale("symlog", linthresh=1 / hours)
    axes.set(xlabel="false accepts per hour", ylabel="missed events, %", xlim=(0, None))
    axes.set_ylim(0, max(5.0, 1.05 * float(np.max([*misses, 100 * chosen.miss_rate]))))
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, image.getvalue())
