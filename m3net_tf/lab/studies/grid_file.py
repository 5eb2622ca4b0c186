# SPDX-License-Identifier: Apache-2.0
"""Reading and checking a paper's table from a YAML file.

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
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import LINKS
from m3net_tf.lab.studies.grid import Patch, merge
from m3net_tf.system.checkout import find_sources, require_sources
from m3net_tf.system.conversion import convert, from_plain
from m3net_tf.system.errors import ConfigError, require_known_keys
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.recipe import Recipe

SECTIONS = tuple(field.name for field in dataclasses.fields(Recipe))
"""Keys of a patch that are sections of the recipe."""
CELL_KEYS = ("metric", "seeds", "folds", "splits", "quoted", "paper_protocol", "clip")
"""Keys of a patch that belong to the cell."""

Axes = Mapping[str, Mapping[str, Patch]]
"""Axis -> label -> patch."""
Labels = Mapping[str, Collection[str]]
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
class GridFile:
    """A table at one scale: checked, with its patches read from their files.

    Attributes:
        base: keys of a cell at the top level of the file, and the recipe that all cells start from.
        steps: name -> patch of the step, and the patch that the scale has for it.
        averages: axis -> label of its mean, for axes of which the scale keeps several labels.
        only: the labels that the scale keeps, for axes that it restricts.
        last: the scale's patch for all cells.
        scaled: the scale's patches for single labels.
        overlay: the user's patch for all cells and steps, merged last.
    """

    path: Path
    scale: str
    title: str
    paper: str
    table: str
    base: Patch
    axes: Axes
    exceptions: tuple[tuple[Labels, Patch], ...]
    steps: Mapping[str, tuple[Patch, Patch]]
    averages: Mapping[str, str]
    expected: Any
    reference: Mapping[str, str]
    skip: tuple[Labels, ...]
    only: Labels
    last: Patch
    scaled: Axes
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


def read_grid(path: Path, scale: str, overlay: Path | None = None) -> GridFile:
    """Read the file of a table at one scale, with the file of a patch over all its cells.

    Raises:
        ConfigError: the file is missing or wrong, or the table does not have the scale; the message
            names the key.
    """
    values = _read(path)
    own = {key: values.pop(key) for key in CELL_KEYS if key in values}
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
    printed = {axis: [*labels, *_label(averages, axis)] for axis, labels in axes.items()}
    _require_values(table.expected, printed)
    reference = {axis: str(label) for axis, label in table.reference.items()}
    _known(reference, axes, "reference")
    return GridFile(
        path=path,
        scale=scale,
        title=str(table.title),
        paper=str(table.paper),
        table=str(table.table or table.figure),
        base=merge(own, _patch(path, table.base)),
        axes=axes,
        exceptions=tuple(
            (_known(row.where, axes, "exceptions"), _patch(path, row.patch))
            for row in table.exceptions
        ),
        steps={
            name: (_patch(path, patch), _patch(path, plan.steps.get(name)))
            for name, patch in table.steps.items()
        },
        averages={
            axis: label for axis, label in averages.items() if len(only.get(axis, axes[axis])) > 1
        },
        expected=table.expected,
        reference=reference,
        skip=tuple(_known(row, axes, "skip") for row in table.skip),
        only=only,
        last=_patch(path, plan.patch),
        scaled=scaled,
        overlay=_patch(path, _read(overlay)) if overlay else {},
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
    require_known_keys(patch, (*SECTIONS, *CELL_KEYS), "of a patch")
    for section in ("dataset", *LINKS):
        convert(dict[str, Any] | None, patch.get(section), section)
    convert(dict[str, Any] | None, (patch.get("dataset") or {}).get("options"), "dataset.options")
    return merge(patch)


def _known(named: Mapping[str, Any], axes: Axes, where: str) -> dict[str, set[str]]:
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


def _label(averages: Mapping[str, str], axis: str) -> list[str]:
    return [averages[axis]] if axis in averages else []


def _require_values(expected: Any, axes: Mapping[str, list[str]]) -> None:
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
