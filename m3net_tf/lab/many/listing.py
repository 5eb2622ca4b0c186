# SPDX-License-Identifier: Apache-2.0
"""The runs in a folder: listed and removed. Nothing but their folders is read."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import pandas as pd

from m3net_tf.lab.many.history import SCORES
from m3net_tf.lab.many.plan import fingerprint, linked_key
from m3net_tf.system.errors import ConfigError, DataError, InUseError, M3NetError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run

STATES = ("finished", "unfinished")
COLUMNS = (
    *("run", "state", "recipe", "network", "preset", "dataset", "seed", "fold", "changed_s"),
    *("validation", "test"),
)
_DAY_S = 86_400


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

    def select(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs that are meant."""
        if self.network is not None:
            name, _, preset = self.network.partition("/")
            runs = runs[(runs["network"] == name) & (runs["preset"].isin([preset]) | (not preset))]
        if self.dataset is not None:
            runs = runs[runs["dataset"] == self.dataset]
        if self.recipe is not None:
            runs = runs[runs["recipe"].str.startswith(self.recipe)]
        if self.state is not None:
            runs = runs[runs["state"] == self.state]
        if self.older_than_days is not None:
            runs = runs[runs["changed_s"] <= time.time() - self.older_than_days * _DAY_S]
        return runs


def list_runs(root: Path, filters: Filters, log: Log = silent) -> pd.DataFrame:
    """The runs in a folder, by their place.

    Args:
        root: folder of the runs.
        filters: which runs.
        log: receives a line for each run that cannot be read.

    Returns:
        A row per run: its folder relative to ``root``; one of :data:`STATES`; hash of its recipe;
        network, preset, data set, seed and test fold; newest change of a file in its folder, in
        seconds since 1970; accuracy, or mean average precision, on both splits as a share.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist: name the folder of the runs by --runs")
    rows = []
    for path in sorted(root.rglob("recipe.yaml")):
        place = path.parent.relative_to(root).as_posix()
        try:
            rows.append({"run": place, **_facts(path.parent)})
        except (M3NetError, KeyError) as error:  # of an older version, or damaged
            log(f"{path.parent} is skipped: {error}")
    return filters.select(pd.DataFrame(rows, columns=list(COLUMNS)).astype({"recipe": str}))


def prune(root: Path, filters: Filters, *, really: bool, log: Log = silent) -> pd.DataFrame:
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
    return runs[[_removed(root / place, log) for place in runs["run"]]] if really else runs


def _removed(folder: Path, log: Log) -> bool:
    try:
        with in_use(folder):
            shutil.rmtree(folder)
    except InUseError as error:
        log(str(error))
        return False
    return True


def _facts(folder: Path) -> dict[str, object]:
    run = Run(folder)
    metrics = run.metrics() if run.finished else None
    recipe = Recipe.from_dict(metrics.values["recipe"]) if metrics else load_recipe(run.recipe_path)
    key = linked_key(recipe)
    splits = {"validation": metrics.validation, "test": metrics.test} if metrics else {}
    return {
        "state": "finished" if metrics else "unfinished",
        "recipe": fingerprint(recipe) if key == "outdated" else key,
        "network": recipe.model.name,
        "preset": recipe.model.preset,
        "dataset": recipe.dataset.name,
        "seed": recipe.training.seed,
        "fold": recipe.dataset.fold,
        "changed_s": max(path.stat().st_mtime for path in folder.iterdir()),
        **{
            split: next((scores[name] for name in SCORES if name in scores), None)
            for split, scores in splits.items()
        },
    }
