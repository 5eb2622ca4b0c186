# SPDX-License-Identifier: Apache-2.0
"""Renders the report of :func:`.pipeline.quantize_run` as Markdown and as a terminal table."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from m3net_tf.audio.datasets import protocol_statement
from m3net_tf.quantization.record import Report, SplitFigures, Tuning
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.words import counted

_SHOWN_LAYERS = 10  # in the terminal, the most expensive ones

Columns = Mapping[str, str]
"""Heading -> format of a column's cells, with the keys of a record."""

_ATTEMPTS = {
    "method": "{method}",
    "drop, points": "{drop_points:.2f}",
    "divergence": "{divergence:.5f}",
    "outcome": "{outcome}",
}
_SPLITS = {
    "split": "{split}",
    "clips": "{clips}",
    "float": "{accuracy[float]:.2%}",
    "quantised": "{accuracy[quantized]:.2%}",
    "drop, points": "{drop_points:.2f}",
    "same answer": "{same_answer:.1%}",
    "divergence": "{divergence:.5f}",
}
_LAYERS = {
    "layer": "{layer}",
    "operator": "{operator}",
    "accuracy, points": "{accuracy_points:.2f}",
    "divergence": "{divergence:.5f}",
}
_WEIGHTS = {
    "layer": "{layer}",
    "operator": "{operator}",
    "weights": "{weights:,}",
    "zeros": "{zero_share:.1%}",
    "different values": "{values}",
}
_TENSORS = {
    "layer": "{layer}",
    "operator": "{operator}",
    "SQNR, dB": "{sqnr_db:.1f}",
    "range": "{low:.4g} to {high:.4g}",
    "covered": "{covered_low:.4g} to {covered_high:.4g}",
    "clipped": "{clipped_share:.3%}",
    "largest error": "{max_error:.4g}",
}
_CLASSES = {
    "class": "{label}",
    "float": "{float:.1%}",
    "quantised": "{quantized:.1%}",
    "drop, points": "{drop_points:.1f}",
}


def markdown(report: Report) -> str:
    """The report as a Markdown page."""
    splits = {"validation": report["validation"], "test": report["test"]}
    lines = [
        f"# Quantisation of {report['run']}",
        "",
        f"Method `{report['method']}`, calibrated on {len(report['calibration']['clips'])} "
        f"training clips of {report['dataset']['name']} ({report['dataset']['protocol']}); "
        f"{report['bytes']:,} bytes, {report['compression']['gzip_bytes']:,} after gzip.",
        "",
        *(_training(tuning) for tuning in report["fine_tuning"]),
    ]
    if report["tried"]:
        lines += [
            f"Repair to within {report['bound_points']:g} points on validation: "
            + ("reached." if report["within_bound"] else "NOT reached; this is the best one."),
            "",
            *_table(_ATTEMPTS, report["tried"]),
        ]
    lines += [
        "Validation chooses; test only reports. Divergence: mean Kullback-Leibler divergence of "
        "the answers from the float network's, in nats.",
        "",
        f"How the clips were held out: `{protocol_statement(report['dataset'])}`.",
        "",
        *_table(_SPLITS, ({"split": name, **split} for name, split in splits.items())),
    ]
    if report["ranking"]:
        lines += [
            f"## Layers by what each costs alone ({report['ranking_clips']} validation clips)",
            "",
            "One operator is int8 and all others are float; the most expensive comes first.",
            "",
            *_table(_LAYERS, report["ranking"]),
        ]
    if any(tuning["kind"] != "qat" for tuning in report["fine_tuning"]):
        weights = _table(_WEIGHTS, report["compression"]["layers"])
        lines += ["## Weights in int8", "", *weights]
    lines += [
        "## Tensors, in the order of execution",
        "",
        "Errors of earlier layers are in the later ones' figures. Without SQNR the two are equal.",
        "",
        *_table(_TENSORS, report["tensors"]),
    ]
    for name, split in splits.items():
        lines += _classes(name, split, report["labels"])
    return "\n".join(lines)


def _table(columns: Columns, records: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [[_cell(form, record) for form in columns.values()] for record in records]
    return markdown_table(list(columns), rows)


def _cell(form: str, record: Mapping[str, Any]) -> str:
    """A cell; '' for a figure that is None."""
    try:
        return form.format_map(record).replace("%", " %")
    except TypeError:  # None has no format of a number
        return ""


def _classes(name: str, split: SplitFigures, labels: list[str]) -> list[str]:
    before, after = (np.array(split["confusion"][key]) for key in ("float", "quantized"))
    changes = [
        (labels[i], labels[j], before[i, j], after[i, j]) for i, j in np.argwhere(before != after)
    ]
    return [
        f"## Classes, {name}",
        "",
        *_table(
            _CLASSES, ({"label": label, **figures} for label, figures in split["recall"].items())
        ),
        f"Confusions that changed on {name} (true class, answer, float clips, quantised clips):",
        "",
        *markdown_table(("true", "answer", "float", "quantised"), changes),
    ]


def _training(done: Tuning) -> str:
    kind = {
        "prune": f"until {done.get('percent')} % of the weights of convolutions are 0",
        "qat": "with int8's rounding"
        + (f", from layer {done['first_layer']} on" if done.get("first_layer") else ""),
    }[done["kind"]]
    teacher = f", distilled from {done['teacher']}" if done["teacher"] else ""
    return (
        f"Trained {kind}: {counted(done['epochs'], 'epoch')}, rate "
        f"{done['learning_rate']:g}{teacher}.\n"
    )


def summary_table(report: Report) -> Table:
    """A summary of :func:`.pipeline.quantize_run` for the terminal: accuracy and ten layers."""
    table = Table("", "float", "quantised", "drop", title=f"{report['run']}: {report['method']}")
    for key, split in (("validation", report.get("validation")), ("test", report.get("test"))):
        if split:
            table.add_row(
                f"accuracy, {split['clips']} {key} clips",
                f"{100 * split['accuracy']['float']:.2f} %",
                f"{100 * split['accuracy']['quantized']:.2f} %",
                f"{split['drop_points']:.2f}",
            )
    for cost in report["ranking"][:_SHOWN_LAYERS]:
        table.add_row(
            f"{cost['layer']} ({cost['operator']}) alone",
            "",
            f"divergence {cost['divergence']:.5f}",
            f"{cost['accuracy_points']:.2f}",
        )
    table.caption = f"Protocol: {protocol_statement(report['dataset'])}."
    return table
