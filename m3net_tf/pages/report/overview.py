# SPDX-License-Identifier: Apache-2.0
"""Sections on a run as a whole: its figures, their differences, and its training."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import altair as alt

from m3net_tf.pages.report.added import before_and_after
from m3net_tf.pages.report.charts import Spec, chart_of, drawn
from m3net_tf.pages.report.content import Block, Chart, Note, Part, Section, Table, Tiles
from m3net_tf.pages.report.gather import RunData, hits
from m3net_tf.pages.report.records import Folded, Summary
from m3net_tf.pages.report.run_files import read_history
from m3net_tf.pages.report.words import difference, interval, number, percent
from m3net_tf.system.errors import DataError
from m3net_tf.system.words import counted
from m3net_tf.training.cross_validation import RESULT

_LONGEST_VALUE = 60


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a run.

    Attributes:
        share: whether it is a share, shown in percent.
        remark: shown after the figure, such as an interval.
    """

    name: str
    value: float | None
    share: bool = False
    remark: str = ""

    @property
    def text(self) -> str:
        """The figure with its remark; a dash if there is none."""
        if self.value is None:
            return "-"
        return f"{self.short} {self.remark}".strip()

    @property
    def short(self) -> str:
        """The figure alone."""
        return percent(self.value, 2) if self.share else number(self.value)


class CurvePoint(TypedDict):
    """A figure of a split after an epoch of a run."""

    run: str
    epoch: float
    figure: str
    split: str
    value: float


def figures_of(run: RunData) -> list[Figure]:
    """Accuracy, size and cost of a run, from its training, quantisation and board."""
    test = run.metrics.test
    name, key = run.figure
    f1 = "test F1, mean over classes"
    if run.multi_label:
        first = Figure("test mAP", test["mean_average_precision"], True)
        f1 = "test F1 at a threshold of 50 %, mean over classes"
    else:
        bounds = interval((test["accuracy_95_low"], test["accuracy_95_high"]))
        first = Figure("test accuracy", test["accuracy"], True, f"({bounds})")
    board = run.file("summary.json", Summary) or Summary()
    stages = board.get(key, {})
    return [
        _validated(run),
        first,
        Figure(f1, test.get("macro_f1"), True),
        Figure(f"int8 {name}, desktop", stages.get("int8_desktop"), True),
        Figure(f"int8 {name}, emulated board", stages.get("emulated"), True),
        Figure("parameters", run.metrics.parameters),
        Figure("multiply-accumulates per inference", run.metrics.macs),
        Figure("network, bytes", board.get("model_bytes")),
        Figure("arena, bytes", board.get("arena_bytes")),
        Figure("flash of the firmware, bytes", board.get("flash_bytes")),
        Figure("RAM of the firmware, bytes", board.get("ram_bytes")),
        Figure("instructions per inference", board.get("instructions")),
    ]


def _validated(run: RunData) -> Figure:
    """The accuracy of the cross-validation, if there was one."""
    name = "accuracy, cross-validation"
    result = run.file(RESULT, Folded)
    if result is None:
        return Figure(name, None, True)
    bounds = interval((result["accuracy_95_low"], result["accuracy_95_high"]))
    remark = f"({bounds}), all {counted(result['clips'], 'clip')}"
    return Figure(name, result["accuracy"], True, remark)


def overview(runs: Sequence[RunData]) -> Section:
    """The runs' figures, with differences from the first run."""
    explanation = (
        "Figures of the held-out test clips, and of the emulated board where the run was emulated; "
        "brackets are 95 % intervals."
    )
    figures = [figures_of(run) for run in runs]
    if len(runs) == 1:
        shown = [(f.name, f.short, f.remark) for f in figures[0] if f.value is not None]
        parts = [Part("", [Tiles(shown), *before_and_after(runs), *_missing(runs)])]
        return Section("overview", "Overview", explanation, parts)
    columns = ["", *(run.name for run in runs)]
    columns += [f"{run.name} minus {runs[0].name}" for run in runs[1:]]
    rows = []
    for of_figure in zip(*figures, strict=True):
        if all(figure.value is None for figure in of_figure):
            continue
        cells = [figure.text for figure in of_figure]
        cells += [_change(of_figure[0], figure) for figure in of_figure[1:]]
        rows.append((of_figure[0].name, *cells))
    parts = [Part("", [Table(columns, rows), *before_and_after(runs), *_missing(runs)])]
    parts.append(_recipe_changes(runs))
    if len(runs) == 2 and (part := _same_clips(runs)):
        parts.append(part)
    return Section("overview", "Overview", explanation, parts)


def _change(first: Figure, later: Figure) -> str:
    if first.value is None or later.value is None:
        return "-"
    change = later.value - first.value
    return difference(100 * change, " points", 2) if first.share else difference(change)


def _missing(runs: Sequence[RunData]) -> list[Block]:
    return [
        Note(f"{run.name} was not run on an emulated board.", f"m3net emulate {run.path}")
        for run in runs
        if run.file("summary.json", Summary) is None
    ]


def _recipe_changes(runs: Sequence[RunData]) -> Part:
    """Keys of the recipes that differ."""
    recipes = [_flat(run.run.recipe().to_dict()) for run in runs]
    keys = list(dict.fromkeys(key for recipe in recipes for key in recipe))
    rows = []
    for key in keys:
        values = [_short(recipe[key]) if key in recipe else "-" for recipe in recipes]
        if len(set(values)) > 1:
            rows.append((key, *values))
    columns = ("key of the recipe", *(run.name for run in runs))
    block: Block = Table(columns, rows) if rows else Note("The recipes are equal.")
    return Part("Differences of the recipes", [block])


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested sections as one level: ``{"a": {"b": 1}, "c": {}}`` to ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _same_clips(runs: Sequence[RunData]) -> Part | None:
    """Right and wrong answers of two runs on the same test clips."""
    first, second = (run.clips for run in runs)
    if first is None or second is None:
        return None
    ids = [[clip.clip_id for clip in clips.features.clips] for clips in (first, second)]
    if ids[0] != ids[1] or runs[0].labels != runs[1].labels:
        return Part("Clip by clip", [Note("The runs have different test clips or classes.")])
    from scipy.stats import binomtest  # takes a second to import

    pairs = zip(runs, (first, second), strict=True)
    right_1, right_2 = (hits(*clips.whole(), run.thresholds) for run, clips in pairs)
    only_first = int((right_1 & ~right_2).sum())
    only_second = int((right_2 & ~right_1).sum())
    changed = only_first + only_second
    chance = binomtest(only_second, changed).pvalue if changed else 1.0
    rows = [
        ("right in both", number(int((right_1 & right_2).sum()))),
        (f"right only in {runs[0].name}", number(only_first)),
        (f"right only in {runs[1].name}", number(only_second)),
        ("wrong in both", number(int((~right_1 & ~right_2).sum()))),
    ]
    verdict = (
        f"If the networks were equally good, a difference of this size or larger would have a "
        f"probability of {chance:.2g} (exact McNemar test)."
    )
    return Part("Clip by clip", [Table(("answers", "test clips"), rows), Note(verdict)])


def learning_curves(runs: Sequence[RunData]) -> Section:
    """Loss, score and other columns of the histories over the epochs."""
    rows: list[CurvePoint] = []
    blocks: list[Block] = []
    for run in runs:
        try:
            history = read_history(run.run)
        except DataError as error:
            blocks.append(Note(str(error)))
            continue
        rows += [
            {
                "run": run.name,
                "epoch": epoch,
                "figure": column.removeprefix("validation_"),
                "split": "validation" if column.startswith("validation_") else "training",
                "value": value,
            }
            for column, values in history.items()
            if column not in ("epoch", "seconds")
            for epoch, value in zip(history["epoch"], values, strict=True)
            if not math.isnan(value)
        ]
    charts: list[Block] = []
    for figure in dict.fromkeys(row["figure"] for row in rows):
        own = [row for row in rows if row["figure"] == figure]
        caption = "Dashed: validation." if len(runs) > 1 and figure == "loss" else ""
        charts.append(
            Chart(_curve_chart(own, figure, len(runs)), _curve_text(own, figure), caption)
        )
    explanation = (
        "Training loss falls and validation loss follows it; a validation loss that rises again is "
        "overfitting. The network of the best validation score is kept, of equal scores the one "
        "with the lowest validation loss."
    )
    return Section("curves", "Learning curves", explanation, [Part("", [*charts, *blocks])])


def _curve_chart(rows: Sequence[CurvePoint], figure: str, runs: int) -> Spec:
    splits = list(dict.fromkeys(row["split"] for row in rows))
    colour: Literal["run", "split"] = "run" if runs > 1 else "split"
    several = len({row[colour] for row in rows}) > 1
    title = " ".join(["validation"] * (splits == ["validation"]) + figure.split("_"))
    encodings: dict[str, object] = {
        "x": alt.X(
            "epoch:Q",
            axis=alt.Axis(tickMinStep=1, grid=False),
            scale=alt.Scale(zero=False, nice=False),
        ),
        "y": alt.Y("value:Q", title=title.replace("_", " "), scale=alt.Scale(zero=False)),
        "color": alt.Color(
            f"{colour}:N",
            legend=alt.Legend(title=None, orient="top" if runs > 1 else "top-right")
            if several
            else None,
        ),
        "tooltip": ["run:N", "split:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")],
    }
    if runs > 1 and len(splits) > 1:
        encodings["strokeDash"] = alt.StrokeDash("split:N", legend=None)
    return drawn(chart_of(rows).mark_line(point=True).encode(**encodings), 220)


def _curve_text(rows: Sequence[CurvePoint], figure: str) -> str:
    words = []
    for name, split in dict.fromkeys((row["run"], row["split"]) for row in rows):
        values = [row["value"] for row in rows if (row["run"], row["split"]) == (name, split)]
        words.append(f"{split} of {name} from {values[0]:.3g} to {values[-1]:.3g}")
    return f"{figure.replace('_', ' ')} over the epochs: {'; '.join(words)}."
