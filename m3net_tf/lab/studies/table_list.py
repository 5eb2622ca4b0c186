# SPDX-License-Identifier: Apache-2.0
"""The shipped tables that have written results, and the state of these."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from m3net_tf.lab.studies.grid import SCALES
from m3net_tf.lab.studies.grid_cells import load_grid
from m3net_tf.lab.studies.grid_file import grid_names
from m3net_tf.system.artifacts import read_json
from m3net_tf.training.run import built_otherwise


@dataclasses.dataclass(frozen=True)
class WrittenTable:
    """A table's written results at one scale.

    Attributes:
        name: ``<paper>/<table>``.
        scale: one of :data:`m3net_tf.lab.studies.grid.SCALES`.
        runs: number of runs with a result.
        current: number of them that today's recipes would train in the same way.
        needed: number of runs that today's table has.
        date: day on which it was written, ISO 8601; '' if it does not say.
        commit: commit that wrote it; '' if unknown.
    """

    name: str
    scale: str
    runs: int
    current: int
    needed: int
    date: str
    commit: str

    @property
    def state(self) -> str:
        """Whether the results are those of today's recipes."""
        if self.current == self.needed == self.runs:
            return "current"
        if not self.current:
            return "older recipe"
        return f"{self.current} of {self.needed} runs current"


def written_tables(out: Path) -> list[WrittenTable]:
    """The shipped tables that have written results, by name and scale.

    Args:
        out: folder of the results.

    Raises:
        ConfigError: a grid is wrong, or there is no source checkout.
        DataError: a result is damaged.
    """
    paths = {(name, scale): _results_path(out, name, scale) for name, scale in _shipped()}
    return [_written(name, scale, path) for (name, scale), path in paths.items() if path.exists()]


def _shipped() -> list[tuple[str, str]]:
    """Each shipped table at each scale."""
    return [(name, scale) for name in grid_names() for scale in SCALES]


def _results_path(out: Path, name: str, scale: str) -> Path:
    return out / f"{name}.{scale}.json"


def hours_path(out: Path, name: str, scale: str) -> Path:
    """File of the estimated hours of a table, which ``m3net bench table --out`` writes."""
    return out / f"{name}.{scale}.hours.json"


@dataclasses.dataclass(frozen=True)
class EstimatedTable:
    """A table without results at one scale, and the hours that it would take.

    Attributes:
        name: ``<paper>/<table>``.
        scale: one of :data:`m3net_tf.lab.studies.grid.SCALES`.
        runs: number of its runs.
        hours: hours of all runs one after the other, at most.
        machine: machine that was timed.
        commit: commit that made it; '' if unknown.
    """

    name: str
    scale: str
    runs: int
    hours: float
    machine: str
    commit: str


def estimated_tables(out: Path) -> list[EstimatedTable]:
    """The shipped tables that have an estimate in place of results, by name and scale.

    Args:
        out: folder of the results.

    Raises:
        DataError: an estimate is damaged.
    """
    estimates = []
    for name, scale in _shipped():
        path = hours_path(out, name, scale)
        if not path.exists() or _results_path(out, name, scale).exists():
            continue
        facts = read_json(path)
        machine = f"{facts['cores']} cores" if "cores" in facts else f"{facts['tflops']} TFLOP/s"
        commit = str(facts.get("git_commit") or "")[:9]
        runs, hours = int(facts["runs"]), float(facts["hours"])
        estimates.append(EstimatedTable(name, scale, runs, hours, machine, commit))
    return estimates


def _written(name: str, scale: str, path: Path) -> WrittenTable:
    report = read_json(path)
    grid = load_grid(name, scale)
    trainings = (grid.training(cell, repeat) for cell in grid.cells for repeat in cell.repeats)
    needed = {training.key: training.recipe for training in trainings}
    runs = [run for cell in report["cells"] for run in cell["runs"] if run["value"] is not None]
    trained = {run["recipe_sha256"]: run.get("metrics", {}) for run in runs}
    current = [
        key
        for key, metrics in trained.items()
        if key in needed and not built_otherwise(metrics, needed[key])
    ]
    date, commit = str(report.get("date", "")), str(report.get("git_commit") or "")
    return WrittenTable(name, scale, len(trained), len(current), len(needed), date, commit[:9])
