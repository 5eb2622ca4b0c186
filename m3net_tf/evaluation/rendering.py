# SPDX-License-Identifier: Apache-2.0
"""Renders an evaluation as terminal tables, a CSV table and a plot."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Column, Table

from m3net_tf.audio.datasets import protocol_statement
from m3net_tf.evaluation.scoring import Tally
from m3net_tf.evaluation.tuning import total
from m3net_tf.system.artifacts import write_bytes

if TYPE_CHECKING:  # they import this module, or TensorFlow
    from m3net_tf.evaluation.clips import ClipsResult
    from m3net_tf.evaluation.live import StreamingResult

Point = tuple[float, dict[str, Tally]]


def clips_table(result: ClipsResult) -> Table:
    """Clip accuracy for the terminal."""
    title = f"{result['run']}: {result['clips']} {result['split']} clips of {result['dataset']}"
    table = Table("network", "accuracy", "95 % interval", title=title)
    stages = {
        "float": result["float"],
        "int8 on the desktop": result.get("int8_desktop"),
        "float, cross-validation": result.get("cross_validation"),
    }
    for name, figures in stages.items():
        if figures:
            low, high = (100 * share for share in figures["accuracy_95"])
            accuracy = 100 * figures["accuracy"]
            table.add_row(name, f"{accuracy:.2f} %", f"{low:.1f} to {high:.1f} %")
    table.caption = f"Protocol: {protocol_statement(result)}."
    return table


def streaming_table(result: StreamingResult) -> Table:
    """Live detection for the terminal."""
    title = (
        f"{result['run']}: {result['hours']:.3g} h of {result['split']} scenes of "
        f"{result['dataset']}"
    )
    columns = ("threshold", "events", "missed", "false accepts", "per hour", "latency")
    table = Table(Column("class", no_wrap=True), *columns, title=title)
    thresholds = {row["label"]: row["threshold"] for row in result["detector"]["classes"]}
    for label, figures in {**result["classes"], "all": result["all"]}.items():
        median_s = figures["latency_s"]["median"]
        table.add_row(
            label,
            f"{thresholds[label]:.3f}" if label in thresholds else "",
            str(figures["true_events"]),
            f"{100 * figures['miss_rate']:.1f} %",
            str(figures["false_accepts"]),
            f"{figures['false_accepts_per_hour']:.2f}",
            "" if median_s is None else f"{median_s:.2f} s",
        )
    table.caption = (
        f"The gate skips {100 * result['spared_runs']:.0f} % of the runs. Latency: median, from "
        f"the sound's end. Protocol: {protocol_statement(result)}."
    )
    return table


def curve_csv(points: list[Point], hours: float) -> str:
    """Misses and false accepts of each class at each threshold, as a CSV table."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["threshold", "class", "true_events", "missed", "false_accepts", "hours"])
    for threshold, tallies in points:
        for label, tally in {"all": total(tallies), **tallies}.items():
            counts = (tally.true_events, tally.missed, tally.false_accepts)
            rows.writerow([threshold, label, *counts, f"{hours:.6g}"])
    return text.getvalue()


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
