# SPDX-License-Identifier: Apache-2.0
"""A paper's table and what it consists of: cells, their repeated runs, the trainings needed.

:mod:`m3net_tf.lab.studies.grid_file` reads one from YAML.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import Training, named_runs
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.recipe import Recipe

SCALES = ("tiny", "small", "paper")
Patch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Repeat:
    """What one run of a cell draws; runs of other cells with the same draws are its pairs.

    Attributes:
        fold: test fold, if the cell has folds.
        split: seed of the split, if the cell has several draws of it.
    """

    seed: int
    fold: int | None
    split: int | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        fold, split = (
            "" if number is None else f"-{title}{number}"
            for title, number in (("fold", self.fold), ("split", self.split))
        )
        return f"seed{self.seed}{fold}{split}"


@dataclasses.dataclass(frozen=True)
class Step:
    """A training that a cell needs beforehand, or several with different seeds.

    Attributes:
        values: the recipe as plain values, without seed and fold.
        fold: test fold, if its data set is not the cell's.
        seeds: its seeds; empty for the seed of the run that needs it.
    """

    name: str
    values: Patch
    fold: int | None
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        labels: axis -> label.
        metric: the printed figure: one of the test clips such as ``accuracy``, ``run.`` and a
            dotted path in ``metrics.json``, or ``model.`` and a measure of the untrained network;
            ``data`` where a figure shows clips without a network.
        expected: the paper's mean, if it has the cell.
        expected_std: the paper's standard deviation, if it gives one.
        quoted: the paper's value alone is printed.
        other_split: the paper's value was measured with another split, so that it says nothing
            about ours.
        other_data: the paper's value was measured on other data, other classes or by another
            metric; it says nothing about ours either.
        values: the recipe as plain values, without seed and fold.
        steps: section of the recipe -> the step that it needs.
        clip: the clip that a figure shows, or its label.
        average_of: axis along which the cell has the mean of the others; '' for other cells.
    """

    labels: Mapping[str, str]
    metric: str
    expected: float | None
    expected_std: float | None
    quoted: bool
    other_split: bool
    other_data: bool
    values: Patch
    repeats: tuple[Repeat, ...]
    steps: Mapping[str, Step]
    clip: str | None = None
    average_of: str = ""

    @property
    def slug(self) -> str:
        """The labels as a folder's name."""
        return slug(self.labels.values())

    @property
    def trained(self) -> bool:
        """Whether the cell needs trained networks."""
        untrained = self.metric == "data" or self.metric.startswith("model.")
        return not (self.quoted or untrained or self.average_of)

    @property
    def scored(self) -> bool:
        """Whether the metric says how well the test clips are recognised, in percent."""
        return "." not in self.metric


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table at one scale.

    Attributes:
        name: ``<paper>/<table>``, from the file's place.
        cells: all cells, rows first.
        reference: axis -> label of the cells that others are compared with.
    """

    path: Path
    name: str
    scale: str
    title: str
    paper: str
    table: str
    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    reference: Mapping[str, str]

    def recipe(self, cell: Cell) -> Recipe:
        """The recipe of a cell, with the first seed and fold of its runs.

        Raises:
            ConfigError: the recipe is wrong.
        """
        if cell.repeats:
            return self.training(cell, cell.repeats[0]).recipe
        return _recipe(
            cell.values, Repeat(0, None), f"{self.name} ({self.scale}), cell {cell.slug}"
        )

    def trainings(self) -> list[Training]:
        """The runs of all cells, without the runs that they need.

        Raises:
            ConfigError: a recipe is wrong.
        """
        return [self.training(cell, repeat) for cell in self.cells for repeat in cell.repeats]

    def training(self, cell: Cell, repeat: Repeat) -> Training:
        """One run of a cell, with the runs that it needs.

        Raises:
            ConfigError: the recipe is wrong.
        """
        needs, values = {}, cell.values
        for section, step in cell.steps.items():
            same_data = step.values["dataset"]["name"] == cell.values["dataset"]["name"]
            fold = repeat.fold if same_data else step.fold
            split = repeat.split if same_data else None
            seeds = step.seeds or (repeat.seed,)
            needs[section] = tuple(
                self._step_training(cell, step, Repeat(seed, fold, split)) for seed in seeds
            )
            runs = named_runs([f"recipe {need.key}" for need in needs[section]])
            values = {**values, section: {**values[section], **runs}}
        recipe = _recipe(values, repeat, f"{self.name} ({self.scale}), cell {cell.slug}")
        place = f"{self.name}/{self.scale}/{cell.slug}/{repeat.name}"
        return Training(recipe.fingerprint(), recipe, place, needs)

    def _step_training(self, cell: Cell, step: Step, drawn: Repeat) -> Training:
        where = f"{self.name} ({self.scale}), step {step.name} of cell {cell.slug}"
        recipe = _recipe(step.values, drawn, where)
        key = recipe.fingerprint()
        place = f"{self.name}/{self.scale}/{slug(['step', step.name])}-{key[:8]}/{drawn.name}"
        return Training(key, recipe, place, {})


def _recipe(values: Patch, repeat: Repeat, where: str) -> Recipe:
    training = {**(values.get("training") or {}), "seed": repeat.seed}
    drawn = {"fold": repeat.fold, "seed": repeat.split}
    dataset = {
        **(values.get("dataset") or {}),
        **{key: value for key, value in drawn.items() if value is not None},
    }
    try:
        return Recipe.from_dict({**values, "training": training, "dataset": dataset})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def slug(labels: Iterable[str]) -> str:
    """Labels as one name of a folder."""
    parts = (re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.") for label in labels)
    return "--".join(part or "x" for part in parts)
