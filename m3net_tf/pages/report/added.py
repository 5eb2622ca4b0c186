# SPDX-License-Identifier: Apache-2.0
"""Before and after: what a run with added clips changed on old and on new clips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.pages.report.content import Block, Note, Table
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.words import difference, number, percent, with_interval
from m3net_tf.system.words import counted
from m3net_tf.training.clips.added import read_added

_SELECTED = (
    "Clips captured because the former network erred on them rate it lower than sounds at large "
    "would. The difference on the test clips has no such bias."
)


def before_and_after(runs: Sequence[RunData]) -> list[Block]:
    """Tables on each run with added clips; none on other runs."""
    return [
        block
        for run in runs
        if (added := run.metrics.values.get("added"))
        for block in _blocks(added, run, runs)
    ]


def _blocks(added: Mapping[str, Any], run: RunData, runs: Sequence[RunData]) -> list[Block]:
    former = Path(added["run"])
    shown = [r.name for r in runs if r.run.folder.resolve() == former.resolve()]
    before = shown[0] if shown else added["run"]
    rows = [_row("test clips", added["test_before"], run.metrics.test)]
    blocks: list[Block] = []
    if added["held_out"]:
        rows.append(_row("held-out new clips", added["held_out_before"], added["held_out_after"]))
        blocks.append(_classes(added, run))
        if added["reasons"]:
            blocks.append(Note(_SELECTED))
    else:
        blocks.append(Note("No new clip is held out: no class has several new recordings."))
    columns = ("accuracy", "clips", f"before: {before}", f"after: {run.name}", "difference")
    reasons = [f"{name.replace('_', ' ')} {n}" for name, n in sorted(added["reasons"].items())]
    origin = (
        f"{added['train']} new clips train, {added['held_out']} are held out, from "
        f"{counted(added['recordings'], 'recording')}"
    )
    return [
        Table(columns, rows, f"Before and after the added clips of {run.name}"),
        Note(f"{origin} ({', '.join(reasons)})." if reasons else f"{origin}."),
        *blocks,
    ]


def _row(name: str, before: Mapping[str, object], after: Mapping[str, Any]) -> tuple[str, ...]:
    change = 100 * (after["accuracy"] - before["accuracy"])
    return (
        name,
        number(after["clips"]),
        _accuracy(before),
        _accuracy(after),
        difference(change, " points", 2),
    )


def _accuracy(figures: Mapping[str, Any]) -> str:
    bounds = figures["accuracy_95_low"], figures["accuracy_95_high"]
    return with_interval(figures["accuracy"], bounds, 2, 1)


def _classes(added: Mapping[str, Any], run: RunData) -> Table:
    """Recall of each class on the held-out new clips."""
    counts = Counter(clip.label for clip in read_added(run.run.folder) if clip.split == "test")
    before, after = added["held_out_before"]["recall"], added["held_out_after"]["recall"]
    rows = [
        (
            label,
            number(count),
            percent(before[label]),
            percent(after[label]),
            difference(100 * (after[label] - before[label]), " points", 1),
        )
        for label, count in sorted(counts.items())
        if label in before and label in after
    ]
    columns = ("class", "new clips", "recall before", "recall after", "difference")
    return Table(columns, rows, "Held-out new clips by class")
