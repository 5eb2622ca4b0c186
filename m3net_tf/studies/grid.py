# SPDX-License-Identifier: Apache-2.0
"""A paper's table as a YAML file, and how it expands to cells and trainings.

A grid has these keys:

``title``, ``paper``, ``table``
    What it is and where it stands.
``base``
    The recipe that all cells start from.
``axes``
    The table's axes in order, the last one across. Each maps the printed labels to patches.
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
``budgets``
    By name, ``patch`` for all cells, ``axes`` and ``steps`` with patches for single labels and
    steps, and ``only`` with the labels that it keeps.

A patch holds sections of a recipe and, beside them, what else a cell has: ``metric``, ``seeds``,
``folds`` and ``quoted`` (a rival's value, printed and not run). It may be the name of a file in the
grid's folder, or a list of patches. They are merged key by key in the order base, axes, step,
budget, budget's axes, budget's step; a section that names another data set, network or front end
starts anew.

``seeds`` become ``training.seed`` and ``folds`` ``dataset.fold``; a cell has one run for each pair.
A split that is drawn at random stays the same: ``dataset.seed`` is not touched. A step has the seed
of the run that needs it, or the first of its own ``seeds``, so that one run serves all; on the same
data set it has that run's fold, so that no test clip is trained on, on another the first of its own
``folds``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.checkout import find_sources, require_sources
from m3net_tf.errors import ConfigError, require_known_keys
from m3net_tf.training.recipe import Recipe
from m3net_tf.yaml_files import read_yaml

BUDGETS = ("tiny", "small", "paper")
_KEYS = (
    *("title", "paper", "table", "base", "axes", "steps", "expected", "reference", "skip"),
    "budgets",
)
_NEEDED = ("title", "paper", "table", "base", "axes", "budgets")
_BUDGET_KEYS = ("patch", "axes", "steps", "only")
_CELL_KEYS = ("metric", "seeds", "folds", "quoted")
_SECTIONS = tuple(field.name for field in dataclasses.fields(Recipe))
LINKS = ("fine_tuning", "distillation")
"""Sections of a recipe that may name a run which must be finished first."""

Patch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """One run that a table needs.

    Attributes:
        key: hash of all that decides the result; equal ones are trained once.
        recipe: what to do; ``run`` of the sections in ``needs`` is filled in by whoever trains it.
        place: where its folder lies, below the folder of all tables' runs.
        needs: section of the recipe -> training that must be finished first.
    """

    key: str
    recipe: Recipe
    place: str
    needs: Mapping[str, Training]


@dataclasses.dataclass(frozen=True)
class Repeat:
    """One of a cell's runs: its pair in other cells has the same seed and fold."""

    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"seed{self.seed}" + ("" if self.fold is None else f"-fold{self.fold}")


@dataclasses.dataclass(frozen=True)
class Step:
    """A training that a cell needs beforehand.

    Attributes:
        name: its name in the grid.
        values: the recipe as plain values, without seed and fold.
        fold: test fold, where its data set is not that of the cell.
        seed: its seed, where that is not that of the run that needs it.
    """

    name: str
    values: Patch
    fold: int | None
    seed: int | None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        labels: axis -> label.
        metric: what is printed: a figure of the test clips such as ``accuracy``, ``run.`` and a
            dotted path in ``metrics.json``, or ``model.`` and a measure of the untrained network.
        expected: the paper's mean, if it has the cell.
        expected_std: the paper's standard deviation, if it gives one.
        quoted: the paper's value alone is printed.
        values: the recipe as plain values, without seed and fold.
        repeats: its runs.
        steps: section of the recipe -> the training that it needs.
    """

    labels: Mapping[str, str]
    metric: str
    expected: float | None
    expected_std: float | None
    quoted: bool
    values: Patch
    repeats: tuple[Repeat, ...]
    steps: Mapping[str, Step]

    @property
    def slug(self) -> str:
        """The labels as a folder's name."""
        return slug(self.labels.values())

    @property
    def trained(self) -> bool:
        """Whether the cell needs trained networks."""
        return not self.quoted and not self.metric.startswith("model.")

    @property
    def scored(self) -> bool:
        """Whether the metric says how well the test clips are recognised, in percent."""
        return "." not in self.metric


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table under one budget.

    Attributes:
        path: its file.
        name: ``<paper>/<table>``, from the file's place.
        budget: one of :data:`BUDGETS`.
        title: what the table shows.
        paper: authors, venue and year.
        table: number of the table there.
        axes: axis -> labels, in order.
        cells: all cells, rows first.
        reference: axis -> label of the cells that others are compared with.
    """

    path: Path
    name: str
    budget: str
    title: str
    paper: str
    table: str
    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    reference: Mapping[str, str]

    def cell(self, labels: Mapping[str, str]) -> Cell | None:
        """The cell of these labels, if the table has it."""
        return next((cell for cell in self.cells if cell.labels == dict(labels)), None)

    def reference_of(self, cell: Cell) -> Cell | None:
        """The cell that another one is compared with; None for the reference itself."""
        labels = {**cell.labels, **self.reference}
        return None if not self.reference or labels == cell.labels else self.cell(labels)

    def training(self, cell: Cell, repeat: Repeat) -> Training:
        """One run of a cell, with the runs that it needs.

        Raises:
            ConfigError: the recipe is wrong.
        """
        needs, links = {}, {}
        for section, step in cell.steps.items():
            same_data = step.values["dataset"]["name"] == cell.values["dataset"]["name"]
            seed = repeat.seed if step.seed is None else step.seed
            drawn = Repeat(seed, repeat.fold if same_data else step.fold)
            where = f"{self.name} ({self.budget}), step {step.name} of cell {cell.slug}"
            recipe = _recipe(step.values, drawn, where)
            key = fingerprint(recipe)
            place = f"{self.name}/{self.budget}/{slug(['step', step.name])}-{key[:8]}/{drawn.name}"
            needs[section] = Training(key, recipe, place, {})
            links[section] = {"run": f"recipe {key}"}
        where = f"{self.name} ({self.budget}), cell {cell.slug}"
        recipe = _recipe(merge(cell.values, links), repeat, where)
        place = f"{self.name}/{self.budget}/{cell.slug}/{repeat.name}"
        return Training(fingerprint(recipe), recipe, place, needs)


def _recipe(values: Patch, repeat: Repeat, where: str) -> Recipe:
    drawn: Patch = {"training": {"seed": repeat.seed}}
    if repeat.fold is not None:
        drawn["dataset"] = {"fold": repeat.fold}
    try:
        return Recipe.from_dict(merge(values, drawn))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def fingerprint(recipe: Recipe) -> str:
    """Hash of a recipe, in hex."""
    return hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()


def slug(labels: Iterable[str]) -> str:
    """Labels as one name of a folder."""
    parts = (re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.") for label in labels)
    return "--".join(part or "x" for part in parts)


def merge(*patches: Mapping[str, Any]) -> Patch:
    """Patches over one another, key by key; lists and plain values replace what was there.

    A mapping whose ``name`` differs replaces the former one as a whole, for its other keys belonged
    to the former name; so does a ``frontend`` with another ``preset``.
    """
    merged: Patch = {}
    for patch in patches:
        for key, value in patch.items():
            old = merged.get(key)
            if isinstance(old, Mapping) and isinstance(value, Mapping):
                title = "preset" if key == "frontend" else "name"
                anew = title in value and value[title] != old.get(title)
                merged[key] = merge({} if anew else old, value)
            else:
                merged[key] = merge(value) if isinstance(value, Mapping) else value
    return merged


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


def grid_names() -> list[str]:
    """Names of the shipped tables, sorted: ``<paper>/<table>``."""
    folder = find_sources("experiments")
    paths = folder.glob("*/*.yaml")
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in paths
        if re.search(r"^axes:", path.read_text(), re.MULTILINE)
    )


def load_grid(path: Path, budget: str) -> Grid:
    """Read a table and expand it.

    Args:
        path: its file.
        budget: one of :data:`BUDGETS` that the table has.

    Raises:
        ConfigError: the file is missing or no valid grid; the message names it and the key.
    """
    try:
        return _expand(path, _read(path), budget)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _read(path: Path) -> Patch:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} has no keys: write a grid or a patch")
    return values


def _expand(path: Path, values: Patch, budget: str) -> Grid:
    require_known_keys(values, (*_KEYS, *_CELL_KEYS), "of a table")
    for key in _NEEDED:
        if key not in values:
            raise ConfigError(f"key {key!r} is missing: a table has {', '.join(_NEEDED)}")
    axes = {
        str(axis): {str(label): _patch(path, patch) for label, patch in labels.items()}
        for axis, labels in _mapping(values["axes"], "axes").items()
    }
    budgets = _mapping(values["budgets"], "budgets")
    if budget not in budgets:
        raise ConfigError(f"there is no budget {budget!r}: choose from {', '.join(budgets)}")
    plan = _mapping(budgets[budget] or {}, f"budgets.{budget}")
    require_known_keys(plan, _BUDGET_KEYS, f"of budget {budget}")
    scaled = {
        str(axis): {str(label): _patch(path, patch) for label, patch in labels.items()}
        for axis, labels in (plan.get("axes") or {}).items()
    }
    only = _labels(plan.get("only") or {}, axes, f"budgets.{budget}.only")
    skip = [_labels(row, axes, "skip") for row in values.get("skip") or []]
    reference = {str(axis): str(label) for axis, label in (values.get("reference") or {}).items()}
    _labels(reference, axes, "reference")
    _labels({axis: list(labels) for axis, labels in scaled.items()}, axes, f"budgets.{budget}.axes")

    steps = {
        str(step): (_patch(path, patch), _patch(path, (plan.get("steps") or {}).get(step)))
        for step, patch in _mapping(values.get("steps") or {}, "steps").items()
    }
    _require_values(values.get("expected"), list(axes.items()))
    first = merge({key: values[key] for key in _CELL_KEYS if key in values})
    base = _patch(path, values["base"])
    last = _patch(path, plan.get("patch"))
    cells = []
    for combination in itertools.product(*axes.values()):
        labels = dict(zip(axes, combination, strict=True))
        if any(labels[axis] not in kept for axis, kept in only.items()):
            continue
        if any(all(labels[axis] in some for axis, some in row.items()) for row in skip):
            continue
        patches = [axes[axis][label] for axis, label in labels.items()]
        finer = [scaled.get(axis, {}).get(label, {}) for axis, label in labels.items()]
        cell = merge(first, base, *patches, last, *finer)
        needed = {}
        for section in LINKS:
            run = (cell.get(section) or {}).get("run")
            if isinstance(run, Mapping):
                name = run.get("step")
                if name not in steps:
                    raise ConfigError(f"{section}.run is {run}: known steps are {', '.join(steps)}")
                own, scaled_step = steps[name]
                step = merge(first, base, *patches, own, last, *finer, scaled_step)
                seeds = _whole_numbers(merge(own, scaled_step), "seeds")
                needed[section] = _step(name, step, seeds)
        cells.append(_cell(labels, cell, needed, _expected(values.get("expected"), combination)))
    return Grid(
        path=path,
        name=f"{path.resolve().parent.name}/{path.stem}",
        budget=budget,
        title=str(values["title"]),
        paper=str(values["paper"]),
        table=str(values["table"]),
        axes={
            axis: tuple(label for label in labels if label in only.get(axis, labels))
            for axis, labels in axes.items()
        },
        cells=tuple(cells),
        reference=reference,
    )


def _cell(
    labels: Mapping[str, str], values: Patch, steps: Mapping[str, Step], expected: Any
) -> Cell:
    seeds, folds = _whole_numbers(values, "seeds"), _whole_numbers(values, "folds")
    drawn: list[int | None] = [*folds] if folds else [None]
    mean, deviation = expected if isinstance(expected, list) else (expected, None)
    cell = Cell(
        labels=labels,
        metric=str(values.get("metric", "accuracy")),
        expected=None if mean is None else float(mean),
        expected_std=None if deviation is None else float(deviation),
        quoted=bool(values.get("quoted", False)),
        values={key: value for key, value in values.items() if key in _SECTIONS},
        repeats=tuple(Repeat(seed, fold) for fold in drawn for seed in seeds or [0]),
        steps=steps,
    )
    return cell if cell.trained else dataclasses.replace(cell, repeats=(), steps={})


def _step(name: str, values: Patch, seeds: Sequence[int] | None) -> Step:
    folds = _whole_numbers(values, "folds")
    kept = {key: value for key, value in values.items() if key in _SECTIONS and key not in LINKS}
    return Step(name, kept, folds[0] if folds else None, seeds[0] if seeds else None)


def _whole_numbers(values: Patch, key: str) -> list[int] | None:
    drawn = values.get(key)
    if drawn is None:
        return None
    whole = isinstance(drawn, list) and all(type(one) is int for one in drawn)
    if not whole or not drawn or len(set(drawn)) != len(drawn):
        raise ConfigError(f"{key} is {drawn!r}: give a list of different whole numbers")
    return drawn


def _expected(values: Any, labels: Sequence[str]) -> Any:
    for label in labels:
        if not isinstance(values, Mapping):
            return None
        values = {str(key): value for key, value in values.items()}.get(label)
    return values


def _require_values(expected: Any, axes: Sequence[tuple[str, Mapping[str, Patch]]]) -> None:
    """Values under labels that the table does not have would never be seen."""
    numbers = expected if isinstance(expected, list) and len(expected) == 2 else [expected]
    if not axes and not all(isinstance(one, int | float | None) for one in numbers):
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
        return merge(*(_patch(path, one) for one in value))
    if isinstance(value, str):
        value = _read(path.parent / value)
    require_known_keys(_mapping(value, "patch"), (*_SECTIONS, *_CELL_KEYS), "of a patch")
    return merge(value)


def _mapping(value: Any, where: str) -> Patch:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}: give keys and values")
    return value


def _labels(
    named: Mapping[Any, Any], axes: Mapping[str, Mapping[str, Patch]], where: str
) -> dict[str, set[str]]:
    """Axis -> labels, checked against those that exist."""
    found: dict[str, set[str]] = {}
    for axis, labels in named.items():
        if str(axis) not in axes:
            raise ConfigError(f"{where} names the axis {axis!r}: known are {', '.join(axes)}")
        listed = labels if isinstance(labels, list) else [labels]
        found[str(axis)] = {str(label) for label in listed}
        for label in found[str(axis)] - set(axes[str(axis)]):
            raise ConfigError(
                f"{where} names {label!r} of axis {axis!r}: known are {', '.join(axes[str(axis)])}"
            )
    return found
