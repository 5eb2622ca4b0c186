# SPDX-License-Identifier: Apache-2.0
"""Sections on classes: confusion, precision and recall."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, TypedDict

import altair as alt
import numpy as np

from m3net_tf.pages.report.charts import Spec, chart_of, drawn, run_legend
from m3net_tf.pages.report.clips import no_clips
from m3net_tf.pages.report.content import (
    Block,
    Chart,
    Note,
    Part,
    Section,
    Table,
    side_by_side,
)
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.run_files import Counts, class_figures, read_confusion
from m3net_tf.pages.report.words import difference, percent, with_interval
from m3net_tf.system.errors import DataError
from m3net_tf.system.words import counted
from m3net_tf.training.scoring.metrics import MultiLabelEvaluation, confusion_matrix

MOST_CONFUSED = 10
_NUMBERED = 20  # classes up to which cells of the confusion matrix have numbers
_CELL, _SMALL_CELL = 26, 18  # pixels of a row with and without numbers


class ClassRow(TypedDict):
    """A figure of a class of a run, with its interval: shares."""

    run: str
    label: str
    figure: str
    value: float
    low: float
    high: float


def confusion(runs: Sequence[RunData]) -> Section:
    """Confusion matrices of the test clips."""
    return Section(
        "confusion",
        "Confusion matrix",
        "Each row is a true class and each column an answer; a stronger colour is a larger share "
        "of its row, numbers are test clips. Right answers are on the diagonal.",
        side_by_side(runs, _confusion_of),
    )


def _matrix(run: RunData) -> Counts | None:
    """Counts of test clips, rows are true classes; None if clips have several labels.

    They are counted again if the run's file is missing or damaged.
    """
    if run.multi_label:
        return None
    with contextlib.suppress(DataError):
        labels, counts = read_confusion(run.run)
        if tuple(labels) == run.labels:
            return counts
    if run.clips is None:
        return None
    scores, truth = run.clips.whole()
    return confusion_matrix(truth.argmax(1), scores.argmax(1), len(run.labels))


def _confusion_of(run: RunData) -> list[Block]:
    counts = _matrix(run)
    if run.multi_label:
        return [Note("A clip may have several classes here, so there is no confusion matrix.")]
    if counts is None:
        return [Note("confusion_matrix.csv is missing or damaged."), no_clips(run)]
    wrong = counts - np.diag(np.diag(counts))
    order = [int(cell) for cell in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]]
    pairs = [np.unravel_index(cell, wrong.shape) for cell in order]
    rows = [
        (run.labels[i], run.labels[j], str(wrong[i, j]), percent(wrong[i, j] / counts[i].sum()))
        for i, j in pairs
        if wrong[i, j]
    ]
    most = ""
    if rows:
        true, answer, clips, _ = rows[0]
        most = f", most often {true} as {answer} ({counted(int(clips), 'clip')})"
    text = (
        f"Confusion matrix of {run.name}: {np.trace(counts)} of {counts.sum()} test clips are on "
        f"the diagonal; {wrong.sum()} are confused{most}."
    )
    columns = ("true class", "answer", "clips", "of the class")
    return [
        Chart(matrix_chart(counts, run.labels), text, wide=len(run.labels) > _NUMBERED),
        Table(columns, rows, "Most frequent confusions")
        if rows
        else Note("No test clip is confused."),
    ]


def matrix_chart(counts: Counts, labels: Sequence[str]) -> Spec:
    """A confusion matrix whose cells' opacity is the share of the row.

    Args:
        counts: clips; rows are true classes.
    """
    totals = np.maximum(counts.sum(1), 1)
    rows = [
        {
            "true": true,
            "answer": answer,
            "clips": int(counts[i, j]),
            "share": float(counts[i, j] / totals[i]),
        }
        for i, true in enumerate(labels)
        for j, answer in enumerate(labels)
    ]
    few = len(labels) <= _NUMBERED
    axis_of = functools.partial(alt.Axis, labelLimit=110, ticks=False, domain=False)
    band = alt.Scale(paddingInner=0.06)
    order = list(labels)
    base = chart_of(rows).encode(
        x=alt.X(
            "answer:N",
            sort=order,
            title="answer",
            scale=band,
            axis=axis_of(labelAngle=-60 if few else -90, labelOverlap=not few),
        ),
        y=alt.Y("true:N", sort=order, title="true class", scale=band, axis=axis_of()),
        tooltip=[alt.Tooltip("true:N", title="true class"), "answer:N", "clips:Q"],
    )
    cells = base.mark_rect(cornerRadius=2).encode(
        opacity=alt.Opacity(
            "share:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 1]), legend=None
        ),
    )
    layers: list[Any] = [cells]
    if few:
        for style, test in (("faint", "datum.share <= 0.55"), ("strong", "datum.share > 0.55")):
            numbers = base.transform_filter(f"datum.clips !== 0 && {test}")
            layers.append(numbers.mark_text(fontSize=11, style=style).encode(text="clips:Q"))
    height = max(160, min(1200, (_CELL if few else _SMALL_CELL) * len(labels)))
    return drawn(alt.layer(*layers), height)


def per_class(runs: Sequence[RunData]) -> Section:
    """Precision, recall and number of test clips of each class, with intervals."""
    explanation = (
        "Recall is the share of a class's clips that are recognised, precision the share of its "
        "answers that are right. Lines are 95 % intervals (Wilson): with few clips they are long, "
        "and two runs whose lines overlap widely may not differ."
    )
    if any(run.multi_label for run in runs):
        explanation += (
            " Where a clip may have several classes, it is in a class's answers if its score "
            "reaches the threshold that validation chose; average precision is over all thresholds."
        )
    parts = []
    if rows := [row for run in runs for row in _class_rows(run)]:
        text = f"Recall and precision of {len({row['label'] for row in rows})} classes."
        charts = [
            Chart(_class_chart(rows, figure, len(runs)), f"{figure} by class. {text}", "")
            for figure in dict.fromkeys(row["figure"] for row in rows)
        ]
        parts.append(Part("", charts))
    parts += side_by_side(runs, _class_table)
    if len(runs) == 2:
        parts += _recall_differences(runs)
    return Section("classes", "Classes", explanation, parts)


def _class_rows(run: RunData) -> list[ClassRow]:
    """A row for each class and figure, with its interval."""
    counts = _matrix(run)
    name = run.name
    shares = [
        (label, "average precision", share, (share, share))
        for label, share in run.metrics.test.get("average_precision", {}).items()
    ]
    if counts is not None:
        shares = []
        for each in class_figures(run.labels, counts):
            shares += [
                (each["label"], "recall", each["recall"], each["recall_95"]),
                (each["label"], "precision", each["precision"], each["precision_95"]),
            ]
    return [
        {"run": name, "label": label, "figure": figure, "value": share, "low": low, "high": high}
        for label, figure, share, (low, high) in shares
        if share is not None
    ]


def _class_chart(rows: Sequence[ClassRow], figure: str, runs: int) -> Spec:
    shown = [row for row in rows if row["figure"] == figure]
    labels = list(dict.fromkeys(row["label"] for row in shown))
    names = list(dict.fromkeys(row["run"] for row in shown))
    legend = run_legend(runs)
    base = chart_of(shown).encode(
        y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=130)),
        yOffset=alt.YOffset("run:N", sort=names),
        color=alt.Color("run:N", scale=alt.Scale(domain=names), legend=legend),
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("label:N", title="class"),
            *(alt.Tooltip(f"{key}:Q", format=".1%") for key in ("value", "low", "high")),
        ],
    )
    axis = alt.Axis(format="%", tickCount=5, labelFlush=False)
    lines = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=alt.X("low:Q", title=figure, axis=axis, scale=alt.Scale(domain=[0, 1])), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("value:Q", title=figure),
        shape=alt.Shape("run:N", scale=alt.Scale(domain=names), legend=legend),
    )
    height = max(120, min(1500, (14 + 10 * runs) * len(labels)))
    return drawn(alt.layer(lines, points), height)


def _class_table(run: RunData) -> list[Block]:
    counts = _matrix(run)
    if counts is None:
        return _average_precisions(run)
    rows = [
        (
            each["label"],
            str(each["clips"]),
            with_interval(each["recall"], each["recall_95"]),
            with_interval(each["precision"], each["precision_95"]),
        )
        for each in class_figures(run.labels, counts)
    ]
    return [Table(("class", "test clips", "recall (95 %)", "precision (95 %)"), rows)]


def _average_precisions(run: RunData) -> list[Block]:
    """Average precision, and precision and recall at the thresholds that validation chose."""
    if run.clips is None:
        precisions = run.metrics.test.get("average_precision", {})
        rows = [(label, percent(value)) for label, value in precisions.items()]
        return [Table(("class", "average precision"), rows), no_clips(run)]
    scores, truth = run.clips.whole()
    evaluation = MultiLabelEvaluation(truth, scores, run.labels)
    columns = ("class", "test clips", "average precision", "threshold", "recall", "precision")
    cells = [
        (
            label,
            str(each["clips"]),
            *(
                "-" if each[key] is None else percent(each[key])
                for key in ("average_precision", "threshold", "recall", "precision")
            ),
        )
        for label, each in evaluation.by_class(run.metrics.thresholds).items()
    ]
    return [Table(columns, cells, "Recall and precision are at the threshold of each class.")]


def _recall_differences(runs: Sequence[RunData]) -> list[Part]:
    key = "average_precision" if runs[0].multi_label else "recall"
    first, second = (run.metrics.test.get(key, {}) for run in runs)
    shared = [label for label in first if label in second]
    rows = [
        (label, percent(first[label]), percent(second[label]), second[label] - first[label])
        for label in sorted(shared, key=lambda label: first[label] - second[label])
    ]
    if not rows:
        return []
    cells = [(*row[:3], difference(100 * row[3], digits=1)) for row in rows]
    columns = ("class", runs[0].name, runs[1].name, "points")
    title = key.replace("_", " ")
    return [Part("Differences", [Table(columns, cells, f"Change of {title}, gains first")])]
