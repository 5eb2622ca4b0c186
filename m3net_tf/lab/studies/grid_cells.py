# SPDX-License-Identifier: Apache-2.0
"""A table's cells and steps, merged from the patches of its file."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.many.plan import LINKS
from m3net_tf.lab.studies.grid import Cell, Grid, Patch, Repeat, Step, merge
from m3net_tf.lab.studies.grid_file import (
    CELL_KEYS,
    SECTIONS,
    Axes,
    GridFile,
    Labels,
    find_grid,
    read_grid,
)
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class _CellKeys:
    """The keys of a merged patch that belong to the cell."""

    metric: str = "accuracy"
    seeds: tuple[int, ...] | None = None
    folds: tuple[int, ...] | None = None
    splits: tuple[int, ...] | Literal["by seed"] | None = None
    quoted: bool = False
    paper_protocol: str | None = None
    clip: str | int | None = None

    @classmethod
    def of(cls, values: Patch) -> _CellKeys:
        """The keys, checked.

        Raises:
            ConfigError: a key has another form.
        """
        keys = from_plain(cls, {key: values[key] for key in CELL_KEYS if key in values}, "cell")
        for name in ("seeds", "folds", "splits"):
            drawn = getattr(keys, name)
            if isinstance(drawn, tuple) and (not drawn or len(set(drawn)) != len(drawn)):
                raise ConfigError(f"{name} is {[*drawn]}: give a list of different whole numbers")
        return keys

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """A run for each fold, draw of the split and seed."""
        return tuple(
            Repeat(seed, fold, split)
            for fold in self.folds or (None,)
            for seed in self.seeds or (0,)
            for split in ((seed,) if self.splits == "by seed" else self.splits or (None,))
        )


def load_grid(name: str | Path, scale: str, overlay: Path | None = None) -> Grid:
    """Read a table and expand it to cells.

    Args:
        scale: one of :data:`m3net_tf.lab.studies.grid.SCALES` that the table has.
        overlay: YAML with sections of a recipe and keys of a cell, merged last into all cells.

    Raises:
        ConfigError: there is no such table, or its file is no valid grid; the message names the
            file and the key.
    """
    path = find_grid(str(name))
    try:
        return _expanded(read_grid(path, scale, overlay))
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _expanded(file: GridFile) -> Grid:
    shown = {
        axis: [*labels, *([file.averages[axis]] if axis in file.averages else [])]
        for axis, labels in file.axes.items()
    }
    kept = {
        axis: tuple(
            label
            for label in labels
            if label in file.only.get(axis, labels) or label == file.averages.get(axis)
        )
        for axis, labels in shown.items()
    }
    cells: list[Cell] = []
    for combination in itertools.product(*kept.values()):
        labels = dict(zip(kept, combination, strict=True))
        if not any(_matches(labels, row) for row in file.skip):
            averaged = [axis for axis, label in file.averages.items() if labels[axis] == label]
            cells.append(
                _average(file, labels, averaged[0], cells) if averaged else _cell(file, labels)
            )
    return Grid(
        path=file.path,
        name=f"{file.path.resolve().parent.name}/{file.path.stem}",
        scale=file.scale,
        title=file.title,
        paper=file.paper,
        table=file.table,
        axes=kept,
        cells=tuple(cells),
        reference=file.reference,
    )


def _cell(file: GridFile, labels: Mapping[str, str]) -> Cell:
    """The cell of some labels, merged from its patches."""
    papers = merge(*_before(file, labels))  # without the changes of the scale
    values = merge(papers, *_of_scale(file, labels))
    keys = _CellKeys.of(values)
    mean, deviation = _expected(file, labels)
    compared = not keys.quoted and "." not in keys.metric
    cell = Cell(
        labels=labels,
        metric=keys.metric,
        expected=mean,
        expected_std=deviation,
        quoted=keys.quoted,
        other_split=compared and _other_split(values, keys.paper_protocol),
        other_data=compared and _task(values) != _task(papers),
        values=_sections(values),
        repeats=keys.repeats,
        steps=_needed_steps(file, values, labels),
        clip=None if keys.clip is None else str(keys.clip),
    )
    return cell if cell.trained else dataclasses.replace(cell, repeats=(), steps={})


def _average(file: GridFile, labels: Mapping[str, str], axis: str, cells: Sequence[Cell]) -> Cell:
    """A cell with the mean of the others along an axis, which are among the cells."""
    mean, deviation = _expected(file, labels)
    others = {name: label for name, label in labels.items() if name != axis}
    averaged = [cell for cell in cells if others.items() <= cell.labels.items()]
    data = any(cell.other_data for cell in averaged)
    return Cell(labels, "mean", mean, deviation, False, False, data, {}, (), {}, average_of=axis)


def _expected(file: GridFile, labels: Mapping[str, str]) -> tuple[float | None, float | None]:
    """The paper's mean and standard deviation."""
    values = file.expected
    for label in labels.values():
        values = values.get(label) if values else None
    mean, deviation = values if isinstance(values, list) else (values, None)
    return None if mean is None else float(mean), None if deviation is None else float(deviation)


def _other_split(values: Patch, paper: str | None) -> bool:
    """Whether the paper's value was measured with another split than the cell's."""
    dataset = values.get("dataset") or {}
    if paper is None:
        return False
    return bool(
        (dataset.get("protocol") or dataset_info(str(dataset.get("name"))).protocol) != paper
    )


def _task(values: Patch) -> tuple[Any, Any, Any]:
    dataset = values.get("dataset") or {}
    classes = (dataset.get("options") or {}).get("classes")
    return dataset.get("name"), classes, values.get("metric")


def _needed_steps(file: GridFile, cell: Patch, labels: Mapping[str, str]) -> dict[str, Step]:
    """Section of a cell's recipe -> the step that it needs."""
    needed = {}
    for section in LINKS:
        run = (cell.get(section) or {}).get("run")
        if isinstance(run, Mapping):
            name = str(run.get("step"))
            if name not in file.steps:
                raise ConfigError(
                    f"{section}.run is {run}: known steps are {', '.join(file.steps)}"
                )
            step = _step(file, name, labels)
            if section != "distillation" and len(step.seeds) > 1:
                raise ConfigError(
                    f"{section} starts from one run, but step {name} has {len(step.seeds)} "
                    "seeds: give it one"
                )
            needed[section] = step
    return needed


def _step(file: GridFile, name: str, labels: Mapping[str, str]) -> Step:
    own, scaled = file.steps[name]
    values = merge(*_before(file, labels), own, *_of_scale(file, labels), scaled)
    keys = _CellKeys.of(values)
    seeds = _CellKeys.of(merge(own, scaled)).seeds or ()  # the cells have seeds of their own
    kept = {key: value for key, value in _sections(values).items() if key not in LINKS}
    return Step(name, kept, keys.folds[0] if keys.folds else None, seeds)


def _sections(values: Patch) -> Patch:
    """The sections of the recipe."""
    return {key: value for key, value in values.items() if key in SECTIONS}


def _before(file: GridFile, labels: Mapping[str, str]) -> Iterable[Patch]:
    """The patches before the patches of steps and of the scale."""
    special = [patch for where, patch in file.exceptions if _matches(labels, where)]
    return [file.base, *_of_labels(file.axes, labels), *special]


def _of_scale(file: GridFile, labels: Mapping[str, str]) -> Iterable[Patch]:
    return [file.last, *_of_labels(file.scaled, labels), file.overlay]


def _of_labels(axes: Axes, labels: Mapping[str, str]) -> list[Patch]:
    return [axes.get(axis, {}).get(label, {}) for axis, label in labels.items()]


def _matches(labels: Mapping[str, str], row: Labels) -> bool:
    return all(labels[axis] in some for axis, some in row.items())
