# SPDX-License-Identifier: Apache-2.0
"""The JSON of a table, with types: all that its CSV, Markdown and LaTeX show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, Required, TypedDict

from m3net_tf.system.artifacts import Provenance, read_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.processor import Computer


class Spread(TypedDict):
    """A cell's figure over its runs.

    Attributes:
        std: standard deviation of the sample; None for a single run.
        low: lower end of the 95 % interval of the mean; None if there is none.
        high: its upper end.
    """

    runs: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


class Comparison(TypedDict):
    """Wilcoxon's signed-rank test and Student's t test of two cells, paired by runs.

    Attributes:
        pairs: runs of the same seed, fold and draw in both; of several folds or draws their number.
        low: lower end of its 95 % interval by Student's t; None for a single pair.
        high: its upper end; None for a single pair.
        p: two-sided p-value; exact up to :data:`.statistics.EXACT_PAIRS` pairs.
        smallest_p: smallest possible p-value for this number of pairs.
        t_p: two-sided p of Student's t test; None for differences without spread, absent in older
            tables.
        t_p_holm: p of the comparison's family (:mod:`.families`); in older tables :attr:`t_p` after
            Holm's correction over the comparisons of the file.
    """

    pairs: int
    difference: float
    low: float | None
    high: float | None
    p: float
    smallest_p: float
    t_p: NotRequired[float | None]
    t_p_holm: NotRequired[float]


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
    other_data: NotRequired[bool]
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


def read_table(path: Path) -> TableReport:
    """Read the JSON of a table.

    Raises:
        DataError: it is missing, damaged, or has a cell that its axes do not have.
    """
    report: TableReport = read_json(path, TableReport)
    axes = report["axes"]
    for cell in report["cells"]:
        labels = cell["labels"]
        if labels.keys() != axes.keys() or any(labels[axis] not in axes[axis] for axis in axes):
            raise DataError(f"{path} has a cell that its axes do not have: write the table again")
    if not report["cells"]:
        raise DataError(f"{path} has no cells: write the table again")
    return report


class WrittenMetrics(TypedDict, total=False):
    """What is read of the metrics of such a run."""

    design_sha256: str
    computers: list[Computer]


class WrittenRun(TypedDict, total=False):
    """What is read of a run of any written report."""

    recipe_sha256: Required[str]
    value: float | None
    metrics: WrittenMetrics


class WrittenCell(TypedDict, total=False):
    """What is read of a cell of any written report."""

    labels: dict[str, str]
    metric: str
    runs: list[WrittenRun]
    recipe_sha256: str


class WrittenReport(TypedDict, total=False):
    """What is read of any written report: a table's, a deployment's or a figure's."""

    cells: list[WrittenCell]
    grid: str
    date: str
    git_commit: str | None
