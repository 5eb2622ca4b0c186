# SPDX-License-Identifier: Apache-2.0
"""Renders the report of :func:`.pipeline.quantize_run` as Markdown and as a terminal table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

from m3net_tf.audio.datasets import protocol_statement
from m3net_tf.quantization.record import Confusion, Report, SplitFigures, Tuning
from m3net_tf.system.markdown import markdown_table


def markdown(report: Report) -> str:
    """The report as a Markdown page."""
    splits = {"validation": report["validation"], "test": report["test"]}
    lines = [
        *_heading(report),
        *_repair(report),
        *_accuracy(splits),
        *_ranking(report),
        *_weights(report),
        *_tensors(report),
    ]
    for key, split in splits.items():
        lines += _classes(key, split, list(report["labels"]))
    return "\n".join(lines)


def _heading(report: Report) -> list[str]:
    return [
        f"# Quantisation of {report['run']}",
        "",
        f"Method `{report['method']}`, calibrated on {len(report['calibration']['clips'])} "
        f"training clips of {report['dataset']['name']} ({report['dataset']['protocol']}); "
        f"{report['bytes']:,} bytes, {report['compression']['gzip_bytes']:,} after gzip.",
        "",
        *(_training(tuning) for tuning in report["fine_tuning"]),
    ]


def _repair(report: Report) -> list[str]:
    if not report["tried"]:
        return []
    return [
        f"Repair to within {report['bound_points']:g} points on validation: "
        + ("reached." if report["within_bound"] else "NOT reached; this is the best one."),
        "",
        *markdown_table(
            ("method", "drop, points", "divergence", "outcome"),
            [
                (
                    attempt["method"],
                    "" if attempt["drop_points"] is None else f"{attempt['drop_points']:.2f}",
                    "" if attempt["divergence"] is None else f"{attempt['divergence']:.5f}",
                    attempt["outcome"],
                )
                for attempt in report["tried"]
            ],
        ),
    ]


def _accuracy(splits: Mapping[str, SplitFigures]) -> list[str]:
    return [
        "Validation chooses; test only reports. Divergence: mean Kullback-Leibler divergence of "
        "the answers from the float network's, in nats.",
        "",
        *markdown_table(
            ("split", "clips", "float", "quantised", "drop, points", "same answer", "divergence"),
            [
                (
                    key,
                    split["clips"],
                    f"{100 * split['accuracy']['float']:.2f} %",
                    f"{100 * split['accuracy']['quantized']:.2f} %",
                    f"{split['drop_points']:.2f}",
                    f"{100 * split['same_answer']:.1f} %",
                    f"{split['divergence']:.5f}",
                )
                for key, split in splits.items()
            ],
        ),
    ]


def _ranking(report: Report) -> list[str]:
    if not report["ranking"]:
        return []
    return [
        f"## Layers by what each costs alone ({report['ranking_clips']} validation clips)",
        "",
        "One operator is int8 and all others are float; the most expensive comes first.",
        "",
        *markdown_table(
            ("layer", "operator", "accuracy, points", "divergence"),
            [
                (
                    cost["layer"],
                    cost["operator"],
                    f"{cost['accuracy_points']:.2f}",
                    f"{cost['divergence']:.5f}",
                )
                for cost in report["ranking"]
            ],
        ),
    ]


def _weights(report: Report) -> list[str]:
    if all(tuning["kind"] == "qat" for tuning in report["fine_tuning"]):
        return []
    return [
        "## Weights in int8",
        "",
        *markdown_table(
            ("layer", "operator", "weights", "zeros", "different values"),
            [
                (
                    layer["layer"],
                    layer["operator"],
                    f"{layer['weights']:,}",
                    f"{100 * layer['zero_share']:.1f} %",
                    layer["values"],
                )
                for layer in report["compression"]["layers"]
            ],
        ),
    ]


def _tensors(report: Report) -> list[str]:
    return [
        "## Tensors, in the order of execution",
        "",
        "Errors of earlier layers are in the later ones' figures.",
        "",
        *markdown_table(
            ("layer", "operator", "SQNR, dB", "range", "covered", "clipped", "largest error"),
            [
                (
                    tensor["layer"],
                    tensor["operator"],
                    "exact" if tensor["sqnr_db"] is None else f"{tensor['sqnr_db']:.1f}",
                    f"{tensor['low']:.4g} to {tensor['high']:.4g}",
                    f"{tensor['covered_low']:.4g} to {tensor['covered_high']:.4g}",
                    f"{100 * tensor['clipped_share']:.3f} %",
                    f"{tensor['max_error']:.4g}",
                )
                for tensor in report["tensors"]
            ],
        ),
    ]


def _classes(split_name: str, split: SplitFigures, labels: list[str]) -> list[str]:
    return [
        f"## Classes, {split_name}",
        "",
        *markdown_table(
            ("class", "float", "quantised", "drop, points"),
            [
                (
                    label,
                    f"{100 * recall['float']:.1f} %",
                    f"{100 * recall['quantized']:.1f} %",
                    f"{recall['drop_points']:.1f}",
                )
                for label, recall in split["recall"].items()
            ],
        ),
        f"Confusions that changed on {split_name} (true class, answer, float clips, quantised "
        "clips):",
        "",
        *markdown_table(
            ("true", "answer", "float", "quantised"), _changes(split["confusion"], labels)
        ),
    ]


def _training(done: Tuning) -> str:
    """A sentence on a fine-tuning."""
    kind = {
        "prune": f"until {done.get('percent')} % of the weights of convolutions are 0",
        "qat": "with int8's rounding"
        + (f", from layer {done['first_layer']} on" if done.get("first_layer") else ""),
        "cluster": f"with {done.get('centroids')} values for the weights of a convolution",
    }[done["kind"]]
    teacher = f", distilled from {done['teacher']}" if done["teacher"] else ""
    return f"Trained {kind}: {done['epochs']} epochs, rate {done['learning_rate']:g}{teacher}.\n"


def _changes(confusion: Confusion, names: list[str]) -> list[tuple[Any, ...]]:
    before, after = np.array(confusion["float"]), np.array(confusion["quantized"])
    changed = np.argwhere(before != after)
    return [(names[i], names[j], before[i, j], after[i, j]) for i, j in changed]


def summary_table(report: Report, layers: int = 10) -> Table:
    """A summary for the terminal: accuracy and the most expensive layers.

    Args:
        report: result of :func:`.pipeline.quantize_run`.
    """
    table = Table("", "float", "quantised", "drop", title=f"{report['run']}: {report['method']}")
    for key, split in (("validation", report.get("validation")), ("test", report.get("test"))):
        if split:
            table.add_row(
                f"accuracy, {split['clips']} {key} clips",
                f"{100 * split['accuracy']['float']:.2f} %",
                f"{100 * split['accuracy']['quantized']:.2f} %",
                f"{split['drop_points']:.2f}",
            )
    for cost in report["ranking"][:layers]:
        table.add_row(
            f"{cost['layer']} ({cost['operator']}) alone",
            "",
            f"divergence {cost['divergence']:.5f}",
            f"{cost['accuracy_points']:.2f}",
        )
    table.caption = f"Protocol: {protocol_statement(report['dataset'])}."
    return table
