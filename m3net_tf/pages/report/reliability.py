# SPDX-License-Identifier: Apache-2.0
"""Section on probabilities: whether they are the share of answers that are right."""

from collections.abc import Sequence
from typing import TypedDict

import altair as alt
import numpy as np
import numpy.typing as npt

from m3net_tf.pages.report.charts import Spec, chart_of, drawn, run_legend
from m3net_tf.pages.report.clips import no_clips
from m3net_tf.pages.report.content import Chart, Part, Section
from m3net_tf.pages.report.gather import RunData, hits
from m3net_tf.pages.report.words import percent
from m3net_tf.training.scoring.metrics import wilson_interval

_BINS = 10
_HEIGHT = 300  # pixels


class Bin(TypedDict):
    """Answers of similar probability: its mean, the share that is right, bounds, and the number."""

    run: str
    sure: float
    right: float
    low: float
    high: float
    clips: int


def reliability(runs: Sequence[RunData]) -> Section:
    """Whether probabilities are shares: of answers with 80 %, are 80 % right?"""
    parts: list[Part] = []
    rows: list[Bin] = []
    errors: list[str] = []
    for run in runs:
        if run.clips is None:
            parts.append(Part(run.name if len(runs) > 1 else "", [no_clips(run)]))
            continue
        sure, right = run.clips.whole()
        if run.multi_label:
            sure = sure.ravel()
            right = right.ravel()
        else:
            sure, right = sure.max(1), hits(sure, right)
        bins = reliability_bins(run.name, sure, right)
        errors.append(f"{run.name}: {percent(calibration_error(bins))}")
        rows += bins
    if rows:
        words = "; ".join(errors)
        text = (
            f"Reliability diagram. Mean gap between probability and share that is right: {words}."
        )
        caption = f"Expected calibration error: {words}."
        parts.insert(0, Part("", [Chart(_reliability_chart(rows, len(runs)), text, caption)]))
    return Section(
        "reliability",
        "Reliability",
        "On the dashed line, answers given with 80 % are right in 80 % of the cases. Points below "
        "it mean that the network is too sure, above it that it is too careful; it matters when "
        "you set a threshold. Lines are 95 % intervals.",
        parts,
    )


def reliability_bins(
    run: str, sure: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]
) -> list[Bin]:
    """Answers by their probability, in ten bins; empty bins are left out.

    Args:
        sure: probabilities, shape (answers,).
        right: whether they are right, same shape.
    """
    numbers = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    rows: list[Bin] = []
    for index in np.unique(numbers):
        inside = numbers == index
        count, true = int(inside.sum()), int(right[inside].sum())
        low, high = wilson_interval(true, count)
        rows.append(
            {
                "run": run,
                "sure": float(sure[inside].mean()),
                "right": true / count,
                "low": low,
                "high": high,
                "clips": count,
            }
        )
    return rows


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean gap between probability and share, by answers."""
    gaps = [abs(row["sure"] - row["right"]) for row in bins]
    return float(np.average(gaps, weights=[row["clips"] for row in bins]))


def _reliability_chart(rows: Sequence[Bin], runs: int) -> Spec:
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=5, labelFlush=False)
    ends = [{"sure": 0, "right": 0}, {"sure": 1, "right": 1}]
    ideal = (
        chart_of(ends)
        .mark_line(strokeDash=[5, 4], color="#888888")
        .encode(x=alt.X("sure:Q", scale=share), y=alt.Y("right:Q", scale=share))
    )
    base = chart_of(rows).encode(
        x=alt.X("sure:Q", title="probability of the answer", axis=axis, scale=share),
        color=alt.Color("run:N", legend=run_legend(runs)),
        tooltip=[
            "run:N",
            *(alt.Tooltip(f"{key}:Q", format=".1%") for key in ("sure", "right", "low", "high")),
            "clips:Q",
        ],
    )
    lines = base.mark_rule(strokeWidth=2, opacity=0.5).encode(y="low:Q", y2="high:Q")
    points = base.mark_line(point=alt.OverlayMarkDef(size=60, filled=True)).encode(
        y=alt.Y("right:Q", title="share that is right", axis=axis, scale=share)
    )
    return drawn(alt.layer(ideal, lines, points), _HEIGHT)
