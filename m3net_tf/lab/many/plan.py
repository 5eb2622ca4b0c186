# SPDX-License-Identifier: Apache-2.0
"""Trainings: their hashes, their order, and which of them are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run, built_otherwise, design_of, linked_run
from m3net_tf.training.run.metrics import RunMetrics

LINKS = ("fine_tuning", "distillation")
"""Sections of a recipe that may name a run which must be finished first."""


@dataclasses.dataclass(frozen=True)
class Training:
    """One run that a table needs.

    Attributes:
        key: hash of all that determines the result; trainings of one key run once.
        recipe: what to do; ``run`` of the sections in ``needs`` is filled in before the training.
        place: its folder, relative to the folder of all tables' runs.
        needs: section of the recipe -> trainings that must be finished first.
    """

    key: str
    recipe: Recipe
    place: str
    needs: Mapping[str, tuple[Training, ...]]

    @property
    def needed(self) -> list[Training]:
        """The trainings of all sections in ``needs``."""
        return [need for needs in self.needs.values() for need in needs]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a training.

    Attributes:
        metrics: its results; None if it failed.
        error: why it failed, in one line; '' if it did not.
    """

    folder: Path
    metrics: RunMetrics | None = None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs, and which of them are finished.

    Attributes:
        root: folder of all tables' runs.
        runs: each training once, after all that it needs.
        finished: outcomes of the finished ones, by the trainings' keys.
    """

    root: Path
    runs: tuple[Training, ...]
    finished: Mapping[str, Outcome]

    @property
    def waiting(self) -> list[Training]:
        """The trainings that must be run, in order."""
        return [training for training in self.runs if training.key not in self.finished]


def plan_trainings(trainings: Iterable[Training], root: Path, known: Collection[str] = ()) -> Plan:
    """Find the finished trainings.

    Args:
        trainings: the trainings of the cells, without the trainings that they need.
        root: folder of all tables' runs. A finished run of an equal recipe anywhere in it is used,
            unless a preset of its model has changed.
        known: keys of trainings with kept results; they are only run if another one needs them.
    """
    trainings = [*trainings]
    finished = finished_runs(root, {training.key for training in in_order(trainings)})
    runs = in_order(
        training for training in trainings if training.key in finished or training.key not in known
    )
    keys = {training.key for training in runs}
    return Plan(root, tuple(runs), {key: finished[key] for key in finished if key in keys})


def in_order(trainings: Iterable[Training]) -> list[Training]:
    """Each training once, after all that it needs."""
    ordered: dict[str, Training] = {}

    def add(training: Training) -> None:
        for need in training.needed:
            add(need)
        ordered.setdefault(training.key, training)

    for training in trainings:
        add(training)
    return list(ordered.values())


def finished_runs(root: Path, keys: Collection[str]) -> dict[str, Outcome]:
    """The finished runs in a folder of runs: key of the :class:`Training` -> outcome.

    Args:
        keys: the trainings that are looked for.

    Raises:
        ModelError: the ``metrics.json`` of a run of theirs lacks a key.
    """
    finished: dict[str, Outcome] = {}
    for path in sorted(root.rglob("metrics.json")):
        if not Run(path.parent).finished:
            continue
        try:  # the recipe from the JSON: reading thousands of YAML files would take minutes
            values = read_json(path)
            recipe = Recipe.from_dict(values["recipe"])
        except (ConfigError, DataError, KeyError):  # written by an older version
            continue
        key = linked_key(recipe)
        if key in keys and key not in finished and not built_otherwise(values, recipe):
            finished[key] = Outcome(path.parent, RunMetrics.from_dict(values, path))
    return finished


def linked_key(recipe: Recipe) -> str:
    """Key of the :class:`Training` of a recipe that names the runs it needs; or ``outdated``."""
    for section in LINKS:
        keys = []
        for name in getattr(recipe, section).runs:
            try:
                run = linked_run(name)
            except ModelError:  # the folder has been deleted
                run = Run(Path(name))
            if run.outdated:  # it was trained with another network
                return "outdated"
            keys.append(f"recipe {_held_key(run.folder)}")
        if keys:
            recipe = with_runs(recipe, section, keys)
    return recipe.fingerprint()


def _held_key(folder: Path) -> str:
    """Key of the :class:`Training` of the run in a folder; '' if there is none."""
    path = Run(folder).recipe_path
    if not path.exists():
        return ""
    try:
        recipe = load_recipe(path)
    except (ConfigError, DataError):  # written by an older version
        return "unreadable"
    return linked_key(recipe)


def run_folder(training: Training, root: Path) -> Path:
    """Folder in which a run continues or starts; a run of another recipe there is kept."""
    place = root / training.place
    for suffix in ("", f"-{training.key[:8]}"):
        folder = Path(f"{place}{suffix}")
        if _held_key(folder) in ("", training.key) and not Run(folder).outdated:
            return folder
    return Path(f"{place}-{training.key[:8]}-{design_of(training.recipe)[:8]}")


def with_runs(recipe: Recipe, section: str, runs: Sequence[str]) -> Recipe:
    """The recipe with other runs in ``fine_tuning``, which has one, or ``distillation``."""
    link = dataclasses.replace(getattr(recipe, section), **named_runs(runs))
    return dataclasses.replace(recipe, **{section: link})


def named_runs(runs: Sequence[str]) -> dict[str, str | tuple[str, ...]]:
    """The keys of a section that name runs."""
    first, *others = runs
    return {"run": first, "ensemble": tuple(others)} if others else {"run": first}
