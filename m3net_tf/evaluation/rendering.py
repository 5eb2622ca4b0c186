# SPDX-License-Identifier: Apache-2.0
"""Tables of evaluations for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from m3net_tf.audio.datasets import protocol_statement

if TYPE_CHECKING:  # they import TensorFlow
    from m3net_tf.evaluation.clips import ClipsResult
    from m3net_tf.evaluation.live import StreamingResult


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
