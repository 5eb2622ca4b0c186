# SPDX-License-Identifier: Apache-2.0
"""The runs in a folder: listed and removed. Nothing but their folders is read."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from m3net_tf.lab.many.history import SCORES
from m3net_tf.lab.many.plan import fingerprint, linked_key
from m3net_tf.system.errors import ConfigError, DataError, InUseError, M3NetError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run

STATES = ("finished", "unfinished")
_DAY_S = 86_400


class ListedRun(TypedDict):
    """A run of a folder of runs.

    Attributes:
        run: its folder, relative to the folder of the runs.
        state: one of :data:`STATES`.
        recipe: hash of its recipe.
        network: name of its network.
        preset: preset of the network.
        dataset: name of the data set.
        seed: its seed.
        fold: its test fold, if the data set has folds.
        changed_s: newest change of a file in its folder, in seconds since 1970.
        validation: accuracy, or mean average precision, as a share; None if it is not finished.
        test: the same of the test clips.
    """

    run: str
    state: str
    recipe: str
    network: str
    preset: str
    dataset: str
    seed: int
    fold: int | None
    changed_s: float
    validation: float | None
    test: float | None


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which runs are meant; None means all.

    Attributes:
        network: name of the network, or NAME/PRESET.
        dataset: name of the data set.
        recipe: first characters of the recipe's hash.
        state: one of :data:`STATES`.
        older_than_days: least time since the newest change in the folder.
    """

    network: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    state: str | None = None
    older_than_days: float | None = None

    def __post_init__(self) -> None:
        if self.state not in (None, *STATES):
            raise ConfigError(f"there is no state {self.state!r}: choose from {', '.join(STATES)}")

    def select(self, runs: Sequence[ListedRun]) -> list[ListedRun]:
        """The runs that are meant."""
        return [run for run in runs if self._means(run)]

    def _means(self, run: ListedRun) -> bool:
        if self.network is not None:
            name, _, preset = self.network.partition("/")
            if run["network"] != name or (preset and run["preset"] != preset):
                return False
        newest_s = time.time() - (self.older_than_days or 0.0) * _DAY_S
        return (
            self.dataset in (None, run["dataset"])
            and run["recipe"].startswith(self.recipe or "")
            and self.state in (None, run["state"])
            and (self.older_than_days is None or run["changed_s"] <= newest_s)
        )


def list_runs(root: Path, filters: Filters, log: Log = silent) -> list[ListedRun]:
    """The runs in a folder, by their place.

    Args:
        root: folder of the runs.
        filters: which runs.
        log: receives a line for each run that cannot be read.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist: name the folder of the runs by --runs")
    runs = []
    for path in sorted(root.rglob("recipe.yaml")):
        try:
            runs.append(_listed(root, path.parent))
        except (M3NetError, KeyError) as error:  # of an older version, or damaged
            log(f"{path.parent} is skipped: {error}")
    return filters.select(runs)


def prune(root: Path, filters: Filters, *, really: bool, log: Log = silent) -> list[ListedRun]:
    """Remove run folders.

    Args:
        root: folder of the runs.
        filters: which runs. Finished ones only if their state is named.
        really: if not, nothing is removed.
        log: receives a line for each run that cannot be read or that another process holds.

    Returns:
        The runs, which are gone if ``really``, as :func:`list_runs`.

    Raises:
        ConfigError: no filter is given.
        DataError: as :func:`list_runs`.
    """
    if filters == Filters():
        raise ConfigError("prune needs a filter, such as --state unfinished or --recipe HASH")
    if filters.state is None:
        filters = dataclasses.replace(filters, state="unfinished")
    runs = list_runs(root, filters, log)
    return [run for run in runs if _removed(root / run["run"], log)] if really else runs


def _removed(folder: Path, log: Log) -> bool:
    try:
        with in_use(folder):
            shutil.rmtree(folder)
    except InUseError as error:
        log(str(error))
        return False
    return True


def _listed(root: Path, folder: Path) -> ListedRun:
    run = Run(folder)
    metrics = run.metrics() if run.finished else None
    recipe = Recipe.from_dict(metrics.values["recipe"]) if metrics else load_recipe(run.recipe_path)
    key = linked_key(recipe)
    return {
        "run": folder.relative_to(root).as_posix(),
        "state": "finished" if metrics else "unfinished",
        "recipe": fingerprint(recipe) if key == "outdated" else key,
        "network": recipe.model.name,
        "preset": recipe.model.preset,
        "dataset": recipe.dataset.name,
        "seed": recipe.training.seed,
        "fold": recipe.dataset.fold,
        "changed_s": max(path.stat().st_mtime for path in folder.iterdir()),
        "validation": _score(metrics.validation) if metrics else None,
        "test": _score(metrics.test) if metrics else None,
    }


def _score(scores: Mapping[str, float]) -> float | None:
    return next((scores[name] for name in SCORES if name in scores), None)
