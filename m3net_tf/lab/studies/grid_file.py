# SPDX-License-Identifier: Apache-2.0
"""A paper's table from a YAML file: read, checked, and merged to cells.

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
``splits``, ``quoted`` (a rival's value, printed and not run), ``paper_protocol`` (the split of the
paper's value: where the cell has another one, the table says so; default: the cell's own) and, for
a figure, ``clip`` (the clip that it shows, or the label of one). It may be the name of a file in
the grid's folder, or a list of patches. They are merged key by key in the order base, axes,
exceptions, step, scale, scale's axes, overlay of the command line, scale's step; a section that
names another data set, network or front end replaces the former section as a whole.

``seeds`` become ``training.seed``, ``folds`` ``dataset.fold`` and ``splits`` ``dataset.seed``; a
cell has one run for each combination. Without ``splits`` a split that is drawn at random stays the
same; with ``splits: by seed`` each seed has its own draw, of the same number. A step has the seed
of the run that needs it, or its own ``seeds``, so that its runs serve all; several are an ensemble
of teachers. On the same data set a step has that run's fold and draw, so that no test clip is
trained on, on another the first of its own ``folds``.
"""

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.many.plan import LINKS
from m3net_tf.lab.studies.grid import Cell, Grid, Patch, Repeat, Step
from m3net_tf.system.checkout import find_sources, require_sources
from m3net_tf.system.conversion import convert, from_plain
from m3net_tf.system.errors import ConfigError, require_known_keys
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.recipe import Recipe

_SECTIONS = tuple(field.name for field in dataclasses.fields(Recipe))

_Axes = Mapping[str, Mapping[str, Patch]]
"""Axis -> label -> patch."""
_Labels = Mapping[str, Collection[str]]
"""Axis -> some of its labels."""
_Text = str | int | float | bool
"""A label or title, which YAML may take for a number."""


@dataclasses.dataclass(frozen=True)
class _Special:
    """A row of ``exceptions``."""

    where: dict[str, Any]
    patch: Any


@dataclasses.dataclass(frozen=True)
class _Scale:
    """A scale, as in the file."""

    patch: Any = None
    axes: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: dict[str, Any] = dataclasses.field(default_factory=dict)
    only: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Table:
    """The keys of a file, without the keys of a cell."""

    title: _Text
    paper: _Text
    base: Any
    axes: dict[str, Any]
    scales: dict[str, Any]
    table: _Text = ""
    figure: _Text = ""
    exceptions: tuple[_Special, ...] = ()
    averages: dict[str, _Text] = dataclasses.field(default_factory=dict)
    steps: dict[str, Any] = dataclasses.field(default_factory=dict)
    expected: Any = None
    reference: dict[str, _Text] = dataclasses.field(default_factory=dict)
    skip: tuple[dict[str, Any], ...] = ()


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

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """A run for each fold, draw of the split and seed."""
        return tuple(
            Repeat(seed, fold, split)
            for fold in self.folds or (None,)
            for seed in self.seeds or (0,)
            for split in ((seed,) if self.splits == "by seed" else self.splits or (None,))
        )


_CELL_KEYS = tuple(field.name for field in dataclasses.fields(_CellKeys))


@dataclasses.dataclass(frozen=True)
class _Patches:
    """The patches of a table at one scale, read from their files, and the paper's values.

    Attributes:
        base: keys of a cell at the top level of the file, and the recipe that all cells start from.
        steps: name -> patch of the step, and the patch that the scale has for it.
        last: the scale's patch for all cells.
        scaled: the scale's patches for single labels.
        overlay: the user's patch for all cells and steps, merged last.
    """

    base: Patch
    axes: _Axes
    exceptions: Sequence[tuple[_Labels, Patch]]
    steps: Mapping[str, tuple[Patch, Patch]]
    expected: Any
    last: Patch
    scaled: _Axes
    overlay: Patch


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


def load_grid(name: str | Path, scale: str, overlay: Path | None = None) -> Grid:
    """Read a table and expand it to cells.

    Args:
        scale: one of :data:`m3net_tf.lab.studies.grid.SCALES` that the table has.
        overlay: YAML with sections of a recipe and keys of a cell, merged last into all cells.

    Raises:
        ConfigError: there is no such table or scale, or its file is not a valid grid; the message
            names the file and the key.
    """
    path = find_grid(str(name))
    try:
        return _read_grid(path, scale, overlay)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _read_grid(path: Path, scale: str, overlay: Path | None) -> Grid:
    values = _read(path)
    own = {key: values.pop(key) for key in _CELL_KEYS if key in values}
    require_known_keys(values, (field.name for field in dataclasses.fields(_Table)), "of a table")
    number = "figure" if values.get("figure") else "table"
    for key in ("title", "paper", "base", "axes", "scales", number):
        if values.get(key) in (None, ""):
            raise ConfigError(f"key {key!r} is missing: add it")
    table = from_plain(_Table, _given(values), "table")
    if scale not in table.scales:
        raise ConfigError(f"there is no scale {scale!r}: choose from {', '.join(table.scales)}")
    plan = from_plain(_Scale, _given(table.scales[scale]), f"scales.{scale}")
    axes = _axes(path, table.axes, "axes")
    scaled = _axes(path, plan.axes, f"scales.{scale}.axes")
    _known(scaled, axes, f"scales.{scale}.axes")
    only = _known(plan.only, axes, f"scales.{scale}.only")
    averages = {axis: str(label) for axis, label in table.averages.items()}
    _known(dict.fromkeys(averages, ()), axes, "averages")
    _require_values(table.expected, _with_averages(axes, averages))
    reference = {axis: str(label) for axis, label in table.reference.items()}
    _known(reference, axes, "reference")
    patches = _Patches(
        base=merge(own, _patch(path, table.base)),
        axes=axes,
        exceptions=[
            (_known(row.where, axes, "exceptions"), _patch(path, row.patch))
            for row in table.exceptions
        ],
        steps={
            name: (_patch(path, patch), _patch(path, plan.steps.get(name)))
            for name, patch in table.steps.items()
        },
        expected=table.expected,
        last=_patch(path, plan.patch),
        scaled=scaled,
        overlay=_patch(path, _read(overlay)) if overlay else {},
    )
    skip = [_known(row, axes, "skip") for row in table.skip]
    kept = {
        axis: [label for label in labels if label in only.get(axis, labels)]
        for axis, labels in axes.items()
    }
    averages = {axis: label for axis, label in averages.items() if len(kept[axis]) > 1}
    shown = _with_averages(kept, averages)
    return Grid(
        path=path,
        name=f"{path.resolve().parent.name}/{path.stem}",
        scale=scale,
        title=str(table.title),
        paper=str(table.paper),
        table=str(table.table or table.figure),
        axes=shown,
        cells=tuple(_cells(patches, shown, averages, skip)),
        reference=reference,
    )


def _read(path: Path) -> Patch:
    values = _text_keys(read_yaml(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path} has no keys: write a grid or a patch")
    return values


def _text_keys(value: Any) -> Any:
    """The value with text for the keys of all mappings: a label may look like a number."""
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value


def _given(values: Any) -> Any:
    """The keys that have a value."""
    if not isinstance(values, dict):
        return {} if values is None else values
    return {key: value for key, value in values.items() if value is not None}


def _axes(path: Path, axes: Mapping[str, Any], where: str) -> dict[str, dict[str, Patch]]:
    return {
        axis: {
            label: _patch(path, patch)
            for label, patch in convert(dict[str, Any], labels, f"{where}.{axis}").items()
        }
        for axis, labels in axes.items()
    }


def _patch(path: Path, value: Any) -> Patch:
    """A patch from a mapping, a file's name beside the grid, or a list of them."""
    if value is None:
        return {}
    if isinstance(value, list):
        return merge(*(_patch(path, patch) for patch in value))
    if isinstance(value, str):
        value = _read(path.parent / value)
    patch: Patch = convert(dict[str, Any], value, "patch")
    require_known_keys(patch, (*_SECTIONS, *_CELL_KEYS), "of a patch")
    for section in ("dataset", "training", *LINKS):
        convert(dict[str, Any] | None, patch.get(section), section)
    convert(dict[str, Any] | None, (patch.get("dataset") or {}).get("options"), "dataset.options")
    return merge(patch)


def merge(*patches: Mapping[str, Any]) -> Patch:
    """Merge patches key by key; later lists and plain values replace earlier ones.

    A mapping with another ``name`` replaces the former one as a whole, because the former keys
    belong to the former name; so does a ``frontend`` with another ``preset``.
    """
    merged: Patch = {}
    for patch in patches:
        for key, value in patch.items():
            old = merged.get(key)
            if isinstance(old, Mapping) and isinstance(value, Mapping):
                title = "preset" if key == "frontend" else "name"
                replaced = title in value and value[title] != old.get(title)
                merged[key] = merge({} if replaced else old, value)
            else:
                merged[key] = merge(value) if isinstance(value, Mapping) else value
    return merged


def _known(named: Mapping[str, Any], axes: _Axes, where: str) -> dict[str, set[str]]:
    """Axis -> labels, checked against the labels that exist."""
    known: dict[str, set[str]] = {}
    for axis, labels in named.items():
        if axis not in axes:
            raise ConfigError(f"{where} names the axis {axis!r}: known are {', '.join(axes)}")
        several = not isinstance(labels, _Text)
        known[axis] = {str(label) for label in (labels if several else [labels])}
        for label in known[axis] - set(axes[axis]):
            raise ConfigError(
                f"{where} names {label!r} of axis {axis!r}: known are {', '.join(axes[axis])}"
            )
    return known


def _with_averages(
    axes: Mapping[str, Iterable[str]], averages: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Axis -> its labels, the label of its mean last."""
    return {
        axis: (*labels, averages[axis]) if axis in averages else tuple(labels)
        for axis, labels in axes.items()
    }


def _require_values(expected: Any, axes: Mapping[str, Sequence[str]]) -> None:
    """Refuse values under labels that the table does not have: they would never be printed."""
    if not axes:
        numbers = expected if isinstance(expected, list) and len(expected) == 2 else [expected]
        if not all(isinstance(number, int | float | None) for number in numbers):
            raise ConfigError(f"expected has {expected!r}: give a number, or mean and deviation")
    elif expected is not None:
        (axis, labels), *rest = axes.items()
        for label, values in convert(dict[str, Any], expected, f"expected, {axis}").items():
            if label not in labels:
                raise ConfigError(
                    f"expected names {label!r} of axis {axis!r}: known are {', '.join(labels)}"
                )
            _require_values(values, dict(rest))


def _cells(
    patches: _Patches,
    axes: Mapping[str, Sequence[str]],
    averages: Mapping[str, str],
    skip: Sequence[_Labels],
) -> list[Cell]:
    """The cells of a table, rows first; an average follows the cells that it averages."""
    cells: list[Cell] = []
    for combination in itertools.product(*axes.values()):
        labels = dict(zip(axes, combination, strict=True))
        if not any(_matches(labels, row) for row in skip):
            averaged = [axis for axis, label in averages.items() if labels[axis] == label]
            cells.append(
                _average(patches, labels, averaged[0], cells)
                if averaged
                else _cell(patches, labels)
            )
    return cells


def _cell(patches: _Patches, labels: Mapping[str, str]) -> Cell:
    """The cell of some labels, merged from its patches."""
    papers = merge(*_before(patches, labels))  # without the changes of the scale
    values = merge(papers, *_of_scale(patches, labels))
    keys = _cell_keys(values)
    mean, deviation = _expected(patches, labels)
    compared = not keys.quoted and "." not in keys.metric
    cell = Cell(
        labels=labels,
        metric=keys.metric,
        expected=mean,
        expected_std=deviation,
        quoted=keys.quoted,
        other_data=compared and _task(values) != _task(papers),
        values=_sections(values),
        repeats=keys.repeats,
        steps=_needed_steps(patches, values, labels),
        clip=None if keys.clip is None else str(keys.clip),
        other_split=compared and _other_split(values, keys.paper_protocol),
    )
    return cell if cell.trained else dataclasses.replace(cell, repeats=(), steps={})


def _cell_keys(values: Patch) -> _CellKeys:
    """The keys of a cell, checked.

    Raises:
        ConfigError: a key has another form.
    """
    own = {key: values[key] for key in _CELL_KEYS if key in values}
    keys = from_plain(_CellKeys, own, "cell")
    for name in ("seeds", "folds", "splits"):
        drawn = getattr(keys, name)
        if isinstance(drawn, tuple) and (not drawn or len(set(drawn)) != len(drawn)):
            raise ConfigError(f"{name} is {[*drawn]}: give a list of different whole numbers")
    return keys


def _average(
    patches: _Patches, labels: Mapping[str, str], axis: str, cells: Sequence[Cell]
) -> Cell:
    """A cell with the mean of the others along an axis, which are among the cells."""
    mean, deviation = _expected(patches, labels)
    others = {name: label for name, label in labels.items() if name != axis}
    averaged = [cell for cell in cells if others.items() <= cell.labels.items()]
    data = any(cell.other_data for cell in averaged)
    return Cell(labels, "mean", mean, deviation, False, False, data, {}, (), {}, average_of=axis)


def _expected(patches: _Patches, labels: Mapping[str, str]) -> tuple[float | None, float | None]:
    """The paper's mean and standard deviation."""
    values = patches.expected
    for label in labels.values():
        values = values.get(label) if values else None
    mean, deviation = values if isinstance(values, list) else (values, None)
    return None if mean is None else float(mean), None if deviation is None else float(deviation)


def _task(values: Patch) -> tuple[Any, Any, Any]:
    dataset = values.get("dataset") or {}
    classes = (dataset.get("options") or {}).get("classes")
    return dataset.get("name"), classes, values.get("metric")


def _other_split(values: Patch, paper: str | None) -> bool:
    """Whether the paper's value was measured with another split than the cell's."""
    if paper is None:
        return False
    dataset = values.get("dataset") or {}
    protocol = dataset.get("protocol") or dataset_info(str(dataset.get("name"))).protocol
    return bool(protocol != paper)


def _needed_steps(patches: _Patches, cell: Patch, labels: Mapping[str, str]) -> dict[str, Step]:
    """Section of a cell's recipe -> the step that it needs."""
    needed = {}
    for section in LINKS:
        run = (cell.get(section) or {}).get("run")
        if isinstance(run, Mapping):
            name = str(run.get("step"))
            if name not in patches.steps:
                raise ConfigError(
                    f"{section}.run is {run}: known steps are {', '.join(patches.steps)}"
                )
            step = _step(patches, name, labels)
            if section != "distillation" and len(step.seeds) > 1:
                raise ConfigError(
                    f"{section} starts from one run, but step {name} has {len(step.seeds)} "
                    "seeds: give it one"
                )
            needed[section] = step
    return needed


def _step(patches: _Patches, name: str, labels: Mapping[str, str]) -> Step:
    own, scaled = patches.steps[name]
    values = merge(*_before(patches, labels), own, *_of_scale(patches, labels), scaled)
    keys = _cell_keys(values)
    seeds = _cell_keys(merge(own, scaled)).seeds or ()  # the cells have seeds of their own
    kept = {key: value for key, value in _sections(values).items() if key not in LINKS}
    return Step(name, kept, keys.folds[0] if keys.folds else None, seeds)


def _sections(values: Patch) -> Patch:
    """The sections of the recipe."""
    return {key: value for key, value in values.items() if key in _SECTIONS}


def _before(patches: _Patches, labels: Mapping[str, str]) -> Iterable[Patch]:
    """The patches before the patches of steps and of the scale."""
    special = [patch for where, patch in patches.exceptions if _matches(labels, where)]
    return [patches.base, *_of_labels(patches.axes, labels), *special]


def _of_scale(patches: _Patches, labels: Mapping[str, str]) -> Iterable[Patch]:
    return [patches.last, *_of_labels(patches.scaled, labels), patches.overlay]


def _of_labels(axes: _Axes, labels: Mapping[str, str]) -> list[Patch]:
    return [axes.get(axis, {}).get(label, {}) for axis, label in labels.items()]


def _matches(labels: Mapping[str, str], row: _Labels) -> bool:
    return all(labels[axis] in some for axis, some in row.items())
