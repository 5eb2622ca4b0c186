# SPDX-License-Identifier: Apache-2.0
"""The runs in a folder: listed, shown, compared and removed. Nothing but their folders is read."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import fingerprint, linked_key
from m3net_tf.lab.many.standing import SCORES
from m3net_tf.system.errors import ConfigError, DataError, InUseError, M3NetError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run

STATES = ("finished", "unfinished")

_FACTS = ("training_s", "git_commit", "design_sha256", "epochs", "best_epoch")
_SHORTEST_HASH = 4
_MOST_NAMED = 6
_DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class ListedRun:
    """A run of a folder of runs.

    Attributes:
        place: its folder, relative to the folder of the runs.
        state: one of :data:`STATES`.
        recipe: hash of its recipe.
        network: name of its network.
        preset: preset of the network.
        dataset: name of its data set.
        seed: its seed.
        fold: its test fold, if the data set has folds.
        changed_s: newest change of a file in its folder, in seconds since 1970.
        validation: validation scores of a finished run, as shares, by name.
        test: test scores likewise.
        facts: other figures of a finished run, from ``metrics.json``.
    """

    place: str
    state: str
    recipe: str
    network: str
    preset: str
    dataset: str
    seed: int
    fold: int | None
    changed_s: float
    validation: dict[str, float] = dataclasses.field(default_factory=dict)
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


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

    def match(self, run: ListedRun) -> bool:
        """Whether a run is meant."""
        age_days = (time.time() - run.changed_s) / _DAY_S
        return (
            self.network in (None, run.network, f"{run.network}/{run.preset}")
            and self.dataset in (None, run.dataset)
            and run.recipe.startswith(self.recipe or "")
            and self.state in (None, run.state)
            and age_days >= (self.older_than_days or 0.0)
        )


def list_runs(root: Path, filters: Filters, log: Log = silent) -> list[ListedRun]:
    """The runs in a folder, by place.

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
        place = path.parent.relative_to(root).as_posix()
        try:
            runs.append(_read(path.parent, place))
        except (M3NetError, KeyError) as error:  # of an older version, or damaged
            log(f"{path.parent} is skipped: {error}")
    return [run for run in runs if filters.match(run)]


def run_details(root: Path, name: str) -> dict[str, Any]:
    """All that is known of a run: what the list has, its recipe and its metrics.

    Args:
        root: folder of the runs.
        name: its folder, or the first characters of its recipe's hash.

    Raises:
        M3NetError: there is no such run, several have the name, or its files are damaged.
    """
    listed = _named(list_runs(root, Filters()), root, name)
    run = Run(root / listed.place)
    details = {**dataclasses.asdict(listed), "settings": run.recipe().to_dict()}
    return {**details, "metrics": run.metrics().values} if run.finished else details


def compare_runs(root: Path, names: Sequence[str]) -> dict[str, Any]:
    """Figures of runs side by side, and the settings in which they differ.

    Args:
        root: folder of the runs.
        names: two runs or more, as for :func:`run_details`.

    Returns:
        ``runs`` (places), ``figures`` and ``settings``: key -> one value for each run.

    Raises:
        M3NetError: as :func:`run_details`, or fewer than two runs are named.
    """
    if len(names) < 2:
        raise ConfigError("one run has nothing to be compared with: name two or more")
    runs = [run_details(root, name) for name in names]
    figures = [_figures(run) for run in runs]
    settings = [_flat(run["settings"]) for run in runs]
    rows = {key: [row.get(key) for row in settings] for key in _keys(settings)}
    return {
        "runs": [run["place"] for run in runs],
        "figures": {key: [row.get(key) for row in figures] for key in _keys(figures)},
        "settings": {key: values for key, values in rows.items() if len({*map(repr, values)}) > 1},
    }


def prune(root: Path, filters: Filters, *, really: bool, log: Log = silent) -> list[ListedRun]:
    """Remove run folders.

    Args:
        root: folder of the runs.
        filters: which runs. Finished ones only if their state is named.
        really: if not, nothing is removed.
        log: receives a line for each run that cannot be read or that another process holds.

    Returns:
        The runs, which are gone if ``really``.

    Raises:
        ConfigError: no filter is given.
        DataError: as :func:`list_runs`.
    """
    if filters == Filters():
        raise ConfigError("prune needs a filter, such as --state unfinished or --recipe HASH")
    runs = [
        run
        for run in list_runs(root, filters, log)
        if run.state == "unfinished" or filters.state == "finished"
    ]
    if not really:
        return runs
    removed = []
    for run in runs:
        folder = root / run.place
        try:
            with in_use(folder):
                shutil.rmtree(folder)
            removed.append(run)
        except InUseError as error:
            log(str(error))
    return removed


def score(run: ListedRun, split: str) -> float | None:
    """Accuracy, or mean average precision, of a split as a share; None if it has none."""
    return next(iter((run.validation if split == "validation" else run.test).values()), None)


def _read(folder: Path, place: str) -> ListedRun:
    run = Run(folder)
    metrics = run.metrics() if run.finished else None
    recipe = Recipe.from_dict(metrics.values["recipe"]) if metrics else load_recipe(run.recipe_path)
    key = linked_key(recipe)
    listed = ListedRun(
        place=place,
        state="finished" if metrics else "unfinished",
        recipe=fingerprint(recipe) if key == "outdated" else key,
        network=recipe.model.name,
        preset=recipe.model.preset,
        dataset=recipe.dataset.name,
        seed=recipe.training.seed,
        fold=recipe.dataset.fold,
        changed_s=max(path.stat().st_mtime for path in folder.iterdir()),
    )
    if metrics is None:
        return listed
    known = {key: metrics.values[key] for key in _FACTS if key in metrics.values}
    return dataclasses.replace(
        listed,
        validation={key: metrics.validation[key] for key in SCORES if key in metrics.validation},
        test={key: metrics.test[key] for key in SCORES if key in metrics.test},
        facts={"parameters": metrics.parameters, "macs": metrics.macs, **known},
    )


def _named(runs: Iterable[ListedRun], root: Path, name: str) -> ListedRun:
    by_place = {run.place: run for run in runs}
    for place in (name.rstrip("/"), _relative(root, name)):
        if place in by_place:
            return by_place[place]
    matches = [
        run
        for run in by_place.values()
        if len(name) >= _SHORTEST_HASH and run.recipe.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise ConfigError(f"{root} has no run {name}: m3net lab runs list shows folders and hashes")
    places = [run.place for run in matches[:_MOST_NAMED]]
    more = "" if len(matches) <= _MOST_NAMED else f" and {len(matches) - _MOST_NAMED} more"
    raise ConfigError(f"several runs are named {name}: {', '.join(places)}{more}: name a folder")


def _relative(root: Path, name: str) -> str:
    path = Path(name).absolute()
    base = root.absolute()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else ""


def _figures(run: dict[str, Any]) -> dict[str, Any]:
    scores = {
        f"{split} {key.replace('_', ' ')}": value
        for split in ("validation", "test")
        for key, value in run[split].items()
    }
    facts = {key.replace("_", " "): value for key, value in run["facts"].items()}
    return {"state": run["state"], "recipe": run["recipe"][:12], **scores, **facts}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _keys(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
