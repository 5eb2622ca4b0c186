# SPDX-License-Identifier: Apache-2.0
"""Reading a paper's table from a YAML file, and expanding it to cells.

A grid has these keys:

``title``, ``paper``, ``table``
    Content of the table, its paper, and its number there. The cells of a ``figure`` are what it
    shows (:mod:`m3net_tf.lab.figures`).
``base``
    The recipe that all cells start from.
``axes``
    The table's axes in order, the last one across. Each maps the printed labels to patches.
``exceptions``
    Patches for single combinations: each has ``where`` (axis to labels) and ``patch``.
``averages``
    Axis to label: another row or column of this name, with the mean of the others.
``expected``
    The paper's values, nested by the labels of the axes in order; a leaf is a number, a list of
    mean and standard deviation, or nothing.
``reference``
    Axis to label: a cell is compared with the one that has these labels in place of its own.
``skip``
    Combinations of labels that the table does not have.
``steps``
    Trainings that cells need beforehand, by name: patches over the cell's own recipe. A cell asks
    for one by ``fine_tuning: {run: {step: NAME}}``, or likewise in ``distillation``.
``scales``
    By name, ``patch`` for all cells, ``axes`` and ``steps`` with patches for single labels and
    steps, and ``only`` with the labels that it keeps.

A patch holds sections of a recipe, and these keys of a cell: ``metric``, ``seeds``, ``folds``,
``quoted`` (a rival's value, printed and not run), ``paper_protocol`` (the split of the paper's
value: where the cell has another one, the table says so; default: that of the cell), ``resources``
(``cpus``, ``gpus`` and ``memory`` that each run reserves with ``--jobs``; not in the recipe) and,
for a figure, ``clip`` (the clip that it shows, or the label of one). It may be the name of a file
in the grid's folder, or a list of patches. They are merged key by key in the order base, axes,
exceptions, step, scale, scale's axes, scale's step; a section that names another data set, network
or front end replaces the former section as a whole.

``seeds`` become ``training.seed`` and ``folds`` ``dataset.fold``; a cell has one run for each pair.
A split that is drawn at random stays the same: ``dataset.seed`` is not touched. A step has the seed
of the run that needs it, or its own ``seeds``, so that its runs serve all; several are an ensemble
of teachers. On the same data set a step has that run's fold, so that no test clip is trained on, on
another the first of its own ``folds``.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import LINKS
from m3net_tf.lab.studies.grid import Cell, Grid, Patch, Step, merge
from m3net_tf.lab.studies.grid_cells import (
    SECTIONS,
    average_cell,
    make_cell,
    make_step,
    whole_numbers,
)
from m3net_tf.system.checkout import find_sources, require_sources
from m3net_tf.system.errors import ConfigError, require_known_keys
from m3net_tf.system.yaml_files import read_yaml

_KEYS = (
    *("title", "paper", "table", "figure", "base", "axes", "exceptions", "averages", "steps"),
    *("expected", "reference", "skip", "scales"),
)
_NEEDED = ("title", "paper", "base", "axes", "scales")
_SCALE_KEYS = ("patch", "axes", "steps", "only")
_CELL_KEYS = ("metric", "seeds", "folds", "quoted", "paper_protocol", "clip", "resources")
_FAULTS = (ArithmeticError, LookupError, ValueError)


def find_grid(name: str) -> Path:
    """File of a grid, from its path or from ``<paper>/<table>``.

    Raises:
        ConfigError: there is none, or no source checkout to look for it.
    """
    for path in (Path(name), Path("experiments") / f"{name}.yaml"):
        if path.is_file():
            return path
    path = require_sources("experiments") / f"{name}.yaml"
    if path.is_file():
        return path
    raise ConfigError(f"there is no table {name!r}: choose from {', '.join(grid_names())}")


def grid_names(kind: str = "table") -> list[str]:
    """Names of the shipped grids, sorted: ``<paper>/<table>``, or with kind ``figure`` figures."""
    folder = find_sources("experiments")
    paths = folder.glob("*/*.yaml")
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in paths
        if {"axes", kind} <= set(re.findall(r"^([a-z]+):", path.read_text(), re.MULTILINE))
    )


def load_grid(path: Path, scale: str) -> Grid:
    """Read a table and expand it.

    Args:
        path: its file.
        scale: one of :data:`m3net_tf.lab.studies.grid.SCALES` that the table has.

    Raises:
        ConfigError: the file is missing or no valid grid; the message names it and the key.
    """
    try:
        return _expand(path, _read(path), scale)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    except _FAULTS as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(
            f"{path}: a key has a value of another form than a table takes ({text}): compare the "
            "file with those in experiments/"
        ) from error


def _read(path: Path) -> Patch:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} has no keys: write a grid or a patch")
    return values


@dataclasses.dataclass(frozen=True)
class _Patches:
    """The patches that the cells of a table are merged from.

    Attributes:
        first: keys of a cell at the top level of the file.
        base: the recipe that all cells start from.
        axes: axis -> label -> patch.
        exceptions: labels (axis -> those that it applies to) and patch.
        steps: name -> patch of the step, and the one that the scale has for it.
        last: the scale's patch for all cells.
        scaled: the scale's patches for single labels: axis -> label -> patch.
    """

    first: Patch
    base: Patch
    axes: Mapping[str, Mapping[str, Patch]]
    exceptions: Sequence[tuple[Mapping[str, set[str]], Patch]]
    steps: Mapping[str, tuple[Patch, Patch]]
    last: Patch
    scaled: Mapping[str, Mapping[str, Patch]]

    def cell(self, labels: Mapping[str, str]) -> Patch:
        """A cell's recipe and other keys."""
        return merge(*self._before(labels), *self._of_scale(labels))

    def papers_cell(self, labels: Mapping[str, str]) -> Patch:
        """The same without the changes of the scale."""
        return merge(*self._before(labels))

    def needed_steps(self, cell: Patch, labels: Mapping[str, str]) -> dict[str, Step]:
        """Section of a cell's recipe -> the step that it needs.

        Raises:
            ConfigError: a section asks for a step that the table does not have, or one to start
                from has several seeds.
        """
        needed = {}
        for section in LINKS:
            run = (cell.get(section) or {}).get("run")
            if isinstance(run, Mapping):
                name = str(run.get("step"))
                if name not in self.steps:
                    raise ConfigError(
                        f"{section}.run is {run}: known steps are {', '.join(self.steps)}"
                    )
                step = self._step(name, labels)
                if section != "distillation" and len(step.seeds) > 1:
                    raise ConfigError(
                        f"{section} starts from one run, but step {name} has {len(step.seeds)} "
                        "seeds: give it one"
                    )
                needed[section] = step
        return needed

    def _step(self, name: str, labels: Mapping[str, str]) -> Step:
        own, scaled = self.steps[name]
        values = merge(*self._before(labels), own, *self._of_scale(labels), scaled)
        return make_step(name, values, whole_numbers(merge(own, scaled), "seeds"))

    def _before(self, labels: Mapping[str, str]) -> list[Patch]:
        """The patches before those of steps and of the scale."""
        others = [patch for where, patch in self.exceptions if _matches(labels, where)]
        return [self.first, self.base, *self._of(self.axes, labels), *others]

    def _of_scale(self, labels: Mapping[str, str]) -> list[Patch]:
        return [self.last, *self._of(self.scaled, labels)]

    @staticmethod
    def _of(axes: Mapping[str, Mapping[str, Patch]], labels: Mapping[str, str]) -> list[Patch]:
        return [axes.get(axis, {}).get(label, {}) for axis, label in labels.items()]


def _expand(path: Path, values: Patch, scale: str) -> Grid:
    require_known_keys(values, (*_KEYS, *_CELL_KEYS), "of a table")
    for key in (*_NEEDED, "figure" if "figure" in values else "table"):
        if values.get(key) in (None, ""):
            raise ConfigError(f"key {key!r} is missing: a table has table, {', '.join(_NEEDED)}")
    axes = _axes(path, _mapping(values["axes"], "axes"))
    plan = _plan(values, scale)
    scaled = _axes(path, _mapping(plan.get("axes") or {}, f"scales.{scale}.axes"))
    only = _labels(plan.get("only") or {}, axes, f"scales.{scale}.only")
    skip = [_labels(row, axes, "skip") for row in _rows(values, "skip")]
    named = _mapping(values.get("reference") or {}, "reference")
    reference = {str(axis): str(label) for axis, label in named.items()}
    _labels(reference, axes, "reference")
    _labels({axis: list(labels) for axis, labels in scaled.items()}, axes, f"scales.{scale}.axes")
    averages = _averages(values, axes, only)
    patches = _read_patches(path, values, plan, axes, scaled)
    shown = {axis: [*labels, *averages.get(axis, ())] for axis, labels in axes.items()}
    cells: list[Cell] = []
    for combination in itertools.product(*shown.values()):
        labels = dict(zip(axes, combination, strict=True))
        averaged = [axis for axis in averages if labels[axis] in averages[axis]]
        if any(labels[axis] not in kept for axis, kept in only.items() if axis not in averaged):
            continue
        if any(_matches(labels, row) for row in skip):
            continue
        expected = _expected(values.get("expected"), combination)
        if averaged:
            cells.append(average_cell(labels, averaged[0], expected, cells))
        else:
            cell, papers = patches.cell(labels), patches.papers_cell(labels)
            steps = patches.needed_steps(cell, labels)
            cells.append(make_cell(labels, cell, papers, steps, expected))
    return Grid(
        path=path,
        name=f"{path.resolve().parent.name}/{path.stem}",
        scale=scale,
        title=str(values["title"]),
        paper=str(values["paper"]),
        table=str(values.get("table") or values["figure"]),
        axes={
            axis: tuple(
                label
                for label in labels
                if label in only.get(axis, labels) or label in averages.get(axis, ())
            )
            for axis, labels in shown.items()
        },
        cells=tuple(cells),
        reference=reference,
    )


def _axes(path: Path, axes: Mapping[Any, Mapping[Any, Any]]) -> dict[str, dict[str, Patch]]:
    return {
        str(axis): {
            str(label): _patch(path, patch)
            for label, patch in _mapping(labels, f"axis {axis!r}").items()
        }
        for axis, labels in axes.items()
    }


def _read_patches(
    path: Path,
    values: Patch,
    plan: Patch,
    axes: Mapping[str, Mapping[str, Patch]],
    scaled: Mapping[str, Mapping[str, Patch]],
) -> _Patches:
    scaled_steps = _mapping(plan.get("steps") or {}, "steps of the scale")
    steps = {
        str(step): (_patch(path, patch), _patch(path, scaled_steps.get(step)))
        for step, patch in _mapping(values.get("steps") or {}, "steps").items()
    }
    return _Patches(
        first=merge({key: values[key] for key in _CELL_KEYS if key in values}),
        base=_patch(path, values["base"]),
        axes=axes,
        exceptions=[
            (_labels(row["where"], axes, "exceptions"), _patch(path, row["patch"]))
            for row in _rows(values, "exceptions")
        ],
        steps=steps,
        last=_patch(path, plan.get("patch")),
        scaled=scaled,
    )


def _averages(
    values: Patch, axes: Mapping[str, Mapping[str, Patch]], only: Mapping[str, set[str]]
) -> dict[str, list[str]]:
    """Axis -> label of its mean, for axes of which the scale keeps several labels; checked."""
    named = _mapping(values.get("averages") or {}, "averages")
    _labels({axis: [] for axis in named}, axes, "averages")
    names = {str(axis): [str(label)] for axis, label in named.items()}
    printed = [(axis, [*labels, *names.get(axis, ())]) for axis, labels in axes.items()]
    _require_values(values.get("expected"), printed)
    return {axis: label for axis, label in names.items() if len(only.get(axis, axes[axis])) > 1}


def _matches(labels: Mapping[str, str], row: Mapping[str, set[str]]) -> bool:
    return all(labels[axis] in some for axis, some in row.items())


def _plan(values: Patch, scale: str) -> Patch:
    """The changes of a table at a scale."""
    scales = _mapping(values["scales"], "scales")
    if scale not in scales:
        raise ConfigError(f"there is no scale {scale!r}: choose from {', '.join(scales)}")
    plan = _mapping(scales[scale] or {}, f"scales.{scale}")
    require_known_keys(plan, _SCALE_KEYS, f"of scale {scale}")
    return plan


def _expected(values: Any, labels: Sequence[str]) -> Any:
    for label in labels:
        if not isinstance(values, Mapping):
            return None
        values = {str(key): value for key, value in values.items()}.get(label)
    return values


def _require_values(expected: Any, axes: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Refuse values under labels that the table does not have: they would never be printed."""
    numbers = expected if isinstance(expected, list) and len(expected) == 2 else [expected]
    if not axes and not all(isinstance(number, int | float | None) for number in numbers):
        raise ConfigError(f"expected has {expected!r}: give a number, or mean and deviation")
    if not axes or expected is None:
        return
    (axis, labels), *rest = axes
    for label, values in _mapping(expected, f"expected along {axis!r}").items():
        if str(label) not in labels:
            raise ConfigError(
                f"expected names {label!r} of axis {axis!r}: known are {', '.join(labels)}"
            )
        _require_values(values, rest)


def _patch(path: Path, value: Any) -> Patch:
    """A patch from a mapping, a file's name beside the grid, or a list of them."""
    if value is None:
        return {}
    if isinstance(value, list):
        return merge(*(_patch(path, patch) for patch in value))
    if isinstance(value, str):
        value = _read(path.parent / value)
    require_known_keys(_mapping(value, "patch"), (*SECTIONS, *_CELL_KEYS), "of a patch")
    for section in ("dataset", *LINKS):
        _mapping(value.get(section) or {}, section)
    _mapping((value.get("dataset") or {}).get("options") or {}, "dataset.options")
    return merge(value)


def _mapping(value: Any, where: str) -> Patch:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}: give keys and values")
    return value


def _rows(values: Patch, key: str) -> list[Patch]:
    """A list of mappings; [] if it is left out."""
    rows = values.get(key) or []
    if not isinstance(rows, list):
        raise ConfigError(f"{key} is {rows!r}: give a list")
    return [_mapping(row, f"a row of {key}") for row in rows]


def _labels(
    named: Mapping[Any, Any], axes: Mapping[str, Mapping[str, Patch]], where: str
) -> dict[str, set[str]]:
    """Axis -> labels, checked against those that exist."""
    checked: dict[str, set[str]] = {}
    for axis, labels in _mapping(named, where).items():
        if str(axis) not in axes:
            raise ConfigError(f"{where} names the axis {axis!r}: known are {', '.join(axes)}")
        listed = labels if isinstance(labels, list) else [labels]
        checked[str(axis)] = {str(label) for label in listed}
        for label in checked[str(axis)] - set(axes[str(axis)]):
            raise ConfigError(
                f"{where} names {label!r} of axis {axis!r}: known are {', '.join(axes[str(axis)])}"
            )
    return checked
