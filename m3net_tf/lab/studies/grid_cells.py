# SPDX-License-Identifier: Apache-2.0
"""Cells and steps of a grid from their merged values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.many.plan import LINKS
from m3net_tf.lab.studies.grid import Cell, Patch, Repeat, Step
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.cluster.resources import Resources
from m3net_tf.training.recipe import Recipe

SECTIONS = tuple(field.name for field in dataclasses.fields(Recipe))
"""Keys of a patch that are sections of the recipe."""


def make_cell(
    labels: Mapping[str, str],
    values: Patch,
    papers: Patch,
    steps: Mapping[str, Step],
    expected: Any,
) -> Cell:
    """A cell from its merged values.

    Args:
        labels: axis -> label.
        values: sections of the recipe and keys of the cell.
        papers: the same without the changes of the scale, as the paper has them.
        steps: section of the recipe -> the step that it needs.
        expected: the paper's value, or its mean and standard deviation; None if it has none.

    Raises:
        ConfigError: a key of the cell is wrong.
    """
    seeds, folds = whole_numbers(values, "seeds"), whole_numbers(values, "folds")
    drawn: list[int | None] = [*folds] if folds else [None]
    mean, deviation = _mean_and_deviation(expected)
    cell = Cell(
        labels=labels,
        metric=str(values.get("metric", "accuracy")),
        expected=mean,
        expected_std=deviation,
        quoted=bool(values.get("quoted", False)),
        other_split=False,
        other_data=False,
        values={key: value for key, value in values.items() if key in SECTIONS},
        repeats=tuple(Repeat(seed, fold) for fold in drawn for seed in seeds or [0]),
        steps=steps,
        clip=None if values.get("clip") is None else str(values["clip"]),
        resources=_resources(values),
    )
    if cell.scored and not cell.quoted:
        other_data = _task(values) != _task(papers)
        cell = dataclasses.replace(cell, other_split=_other_split(values), other_data=other_data)
    return cell if cell.trained else dataclasses.replace(cell, repeats=(), steps={})


def average_cell(
    labels: Mapping[str, str], axis: str, expected: Any, cells: Sequence[Cell]
) -> Cell:
    """A cell with the mean of the others along an axis, which are among the cells."""
    mean, deviation = _mean_and_deviation(expected)
    others = {name: label for name, label in labels.items() if name != axis}
    averaged = [cell for cell in cells if others.items() <= cell.labels.items()]
    data = any(cell.other_data for cell in averaged)
    return Cell(labels, "mean", mean, deviation, False, False, data, {}, (), {}, average_of=axis)


def _mean_and_deviation(expected: Any) -> tuple[float | None, float | None]:
    mean, deviation = expected if isinstance(expected, list) else (expected, None)
    return None if mean is None else float(mean), None if deviation is None else float(deviation)


def _other_split(values: Patch) -> bool:
    """Whether the paper's value was measured with another split than the cell's."""
    paper, dataset = values.get("paper_protocol"), values.get("dataset") or {}
    if paper is None:
        return False
    return bool((dataset.get("protocol") or dataset_info(str(dataset["name"])).protocol) != paper)


def _task(values: Patch) -> tuple[Any, Any, Any]:
    dataset = values.get("dataset") or {}
    classes = (dataset.get("options") or {}).get("classes")
    return dataset.get("name"), classes, values.get("metric")


def make_step(name: str, values: Patch, seeds: Sequence[int] | None) -> Step:
    """A step from its merged values; see :func:`make_cell`."""
    folds = whole_numbers(values, "folds")
    kept = {key: value for key, value in values.items() if key in SECTIONS and key not in LINKS}
    return Step(name, kept, folds[0] if folds else None, tuple(seeds or ()), _resources(values))


def _resources(values: Patch) -> Resources:
    named = values.get("resources") or {}
    if not isinstance(named, Mapping):
        raise ConfigError(f"resources is {named!r}: give keys and values")
    return Resources.parse(named, "in resources")


def whole_numbers(values: Patch, key: str) -> list[int] | None:
    """Seeds or folds; None if there are none.

    Raises:
        ConfigError: they are not different whole numbers.
    """
    drawn: list[int] | None = values.get(key)
    if drawn is None:
        return None
    whole = isinstance(drawn, list) and all(type(number) is int for number in drawn)
    if not whole or not drawn or len(set(drawn)) != len(drawn):
        raise ConfigError(f"{key} is {drawn!r}: give a list of different whole numbers")
    return drawn
