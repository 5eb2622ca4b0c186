# SPDX-License-Identifier: Apache-2.0
"""The JSON of a table, with types: all that its CSV, Markdown and LaTeX show."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from m3net_tf.lab.studies.machine import Computer
from m3net_tf.lab.studies.statistics import Comparison
from m3net_tf.system.artifacts import Provenance
from m3net_tf.training.metrics import Spread


class RunValues(TypedDict):
    """A run of a cell.

    Attributes:
        split: seed of its split, where the cell has several draws of it.
        value: the cell's metric, shares in percent; None if the run failed.
        metrics: the part of ``metrics.json`` that the table needs.
        kept: True if the result comes from a written table, because the run's folder is missing.
    """

    seed: int
    fold: int | None
    split: NotRequired[int]
    value: float | None
    recipe_sha256: str
    run: str
    metrics: NotRequired[Mapping[str, Any]]
    kept: NotRequired[bool]
    error: NotRequired[str]


class CellValues(TypedDict):
    """A cell of a table.

    Attributes:
        paper: the paper's value; None if it has none.
        quoted: whether the value is quoted, and nothing is trained.
        other_split: whether the paper's value was measured with another split than ours.
        other_data: whether it was measured on other data or classes, or by another metric.
        against_reference: test against the reference cell, over the runs that both have.
        facts: ``parameters``, ``macs``, and the data set's ``name``, ``protocol``, ``leaking``,
            ``subset`` and ``subset_sha256``, where known.
        error: why a cell without runs has no value.
        missing: number of its runs that have not been trained.
        runs: its runs, finished and failed; none where nothing is trained.
    """

    labels: dict[str, str]
    metric: str
    paper: float | None
    paper_std: float | None
    quoted: bool
    other_split: bool
    other_data: bool
    ours: Spread | None
    against_reference: Comparison | None
    facts: NotRequired[Mapping[str, Any]]
    error: NotRequired[str]
    missing: NotRequired[int]
    runs: list[RunValues]


class TableReport(Provenance):
    """Content of a table's JSON.

    Attributes:
        paper_table: number of the table in it.
        date: day on which it was written, ISO 8601, UTC.
        recipes_sha256: hash of the recipes' hashes.
        subsets: hash of the list of each subset of a data set that runs were trained on.
        kept: number of trainings whose results come from written tables.
        failed: number of runs and measurements that failed.
    """

    table: str
    title: str
    paper: str
    paper_table: str
    scale: str
    axes: dict[str, list[str]]
    reference: dict[str, str]
    command: str
    date: str
    recipes_sha256: str
    subsets: dict[str, str]
    runs: int
    kept: int
    failed: int
    training_s: float
    machine: Computer
    cells: list[CellValues]
    wall_s: float


def is_scored(metric: str) -> bool:
    """Whether a metric says how well the test clips are recognised, in percent."""
    return "." not in metric


def paper_differs(cell: CellValues) -> str:
    """Why the paper's value says nothing about ours; '' if it does or there is none."""
    if cell["paper"] is None:
        return ""
    if cell["other_data"]:
        return "other data"
    return "other split" if cell["other_split"] else ""


Data = tuple[int | None, int | None]
"""Fold and draw of the split: the runs with equal ones share their test clips."""


def data_of(run: RunValues) -> Data:
    """The fold and the draw of the split of a run."""
    return run["fold"], run.get("split")


def paired_values(
    cell: CellValues, reference: CellValues
) -> tuple[list[float], list[float], list[Data]]:
    """Values of the finished runs that have the same seed and data in both cells, and the data."""
    own, other = _finished(cell), _finished(reference)
    both = [key for key in own if key in other]
    return [own[key] for key in both], [other[key] for key in both], [data for _, data in both]


def _finished(cell: CellValues) -> dict[tuple[int, Data], float]:
    """Values of the finished runs by seed and data."""
    return {
        (run["seed"], data_of(run)): run["value"]
        for run in cell["runs"]
        if run["value"] is not None
    }
