# SPDX-License-Identifier: Apache-2.0
"""Tables of evaluations for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from m3net_tf.audio.datasets import protocol_statement
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.system.words import counted

if TYPE_CHECKING:  # they import TensorFlow
    from collections.abc import Mapping

    from m3net_tf.evaluation.annotated import AnnotatedResult
    from m3net_tf.evaluation.clips import ClipsResult, StageAccuracy, StagePrecision
    from m3net_tf.evaluation.live import StreamingResult


def clips_table(result: ClipsResult) -> Table:
    """Clip accuracy for the terminal; of clips with several labels, mAP and figures by class."""
    title = f"{result['run']}: {result['clips']} {result['split']} clips of {result['dataset']}"
    stages = {
        "float": result["float"],
        "int8 on the desktop": result.get("int8_desktop"),
        "float, cross-validation": result.get("cross_validation"),
    }
    if "classes" in result["float"]:
        table = _by_class(stages, title)
        table.caption = f"Protocol: {protocol_statement(result)}."
        return table
    columns = ("accuracy", "95 % interval", "ROC area", "average precision")
    table = Table("network", *columns, title=title)
    for name, figures in stages.items():
        if figures and "accuracy" in figures:
            low, high = (100 * share for share in figures["accuracy_95"])
            accuracy = 100 * figures["accuracy"]
            area = figures.get("mean_auc")
            precisions = [*figures.get("average_precision", {}).values()]
            table.add_row(
                name,
                f"{accuracy:.2f} %",
                f"{low:.1f} to {high:.1f} %",
                "" if area is None else f"{area:.4f}",
                f"{sum(precisions) / len(precisions):.4f}" if precisions else "",
            )
    table.caption = (
        "ROC area and average precision: of each class against the others, averaged. Protocol: "
        f"{protocol_statement(result)}."
    )
    return table


def _by_class(stages: Mapping[str, StageAccuracy | StagePrecision | None], title: str) -> Table:
    """A row for each class and its mean, for each network."""
    columns = ("clips", "threshold", "average precision", "precision", "recall")
    table = Table("network", Column("class", no_wrap=True), *columns, title=title)
    for name, figures in stages.items():
        if not figures or "classes" not in figures:
            continue
        for label, of in figures["classes"].items():
            shares = (of["average_precision"], of["precision"], of["recall"])
            words = ("-" if share is None else f"{100 * share:.1f} %" for share in shares)
            table.add_row(name, label, str(of["clips"]), f"{of['threshold']:.3f}", *words)
        mean = f"{100 * figures['mean_average_precision']:.1f} %"
        table.add_row(name, "mean (mAP)", "", "", mean, "", "", end_section=True)
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
        f"The gate skips {100 * result['spared_runs']:.0f} % of the runs.{_gain(result)} Latency: "
        f"median, from the sound's end. Protocol: {protocol_statement(result)}."
    )
    return table


def annotated_table(result: AnnotatedResult) -> Table:
    """Scores of events against annotations for the terminal."""
    of = counted(len(result["recordings"]), f"{result['split'] or 'other'} recording")
    title = f"{result['run']}: {of}, {60 * result['hours']:.1f} minutes"
    columns = ("annotated", "detected", "F1", "precision", "recall", "error rate")
    table = Table(Column("scores", no_wrap=True), "class", *columns, title=title)
    for name, scores in (
        ("events", result["event_based"]),
        ("segments of 1 s", result["segment_based"]),
    ):
        for label, figures in {**scores["classes"], "all": scores["all"]}.items():
            shares = (figures["f1"], figures["precision"], figures["recall"])
            rate = figures["error_rate"]
            table.add_row(
                name,
                label,
                str(figures["annotated"]),
                str(figures["detected"]),
                *("" if share is None else f"{100 * share:.1f} %" for share in shares),
                "" if rate is None else f"{rate:.2f}",
            )
    left_out = f" Left out: {result['left_out']} annotated without events." * bool(
        result["left_out"]
    )
    table.caption = (
        "An event is correct if it starts within 0.2 s, and ends within 0.2 s or half of the "
        f"annotated length.{_gain(result)} Protocol: {protocol_statement(result)}.{left_out}"
    )
    return table


def _gain(result: AnnotatedResult | StreamingResult) -> str:
    """A sentence on the microphone's gain; empty without one."""
    gain = DetectorConfig.from_dict(result["detector"]).gain
    return f" Gain of the microphone: {gain.words}." if gain.used else ""
