# SPDX-License-Identifier: Apache-2.0
"""Reading and completing the index of a folder of runs, and removing runs.

The run folders are the artefacts. An index that is missing or incomplete is completed from them.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import fingerprint, linked_key
from m3net_tf.lab.many.store import STATES, Event, RunStore, event_of, facts_of, this_process
from m3net_tf.system.errors import ConfigError, DataError, InUseError, M3NetError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run

_SHORTEST_HASH = 4
_MOST_NAMED = 6
_DAY_S = 86_400


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which runs are meant; None means all.

    Attributes:
        network: name of the network, or NAME/PRESET.
        dataset: name of the data set.
        recipe: first characters of the recipe's hash.
        state: one of :data:`~m3net_tf.lab.many.store.STATES`.
        older_than_days: least age of the newest event.
    """

    network: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    state: str | None = None
    older_than_days: float | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in STATES:
            raise ConfigError(f"there is no state {self.state!r}: choose from {', '.join(STATES)}")

    def match(self, event: Event) -> bool:
        """Whether a run with this newest event is meant."""
        age_days = (time.time() - event.time_s) / _DAY_S
        return (
            self.network in (None, event.network, f"{event.network}/{event.preset}")
            and self.dataset in (None, event.dataset)
            and event.recipe.startswith(self.recipe or "")
            and self.state in (None, event.state_now)
            and age_days >= (self.older_than_days or 0.0)
        )


def list_runs(root: Path, filters: Filters) -> list[Event]:
    """The newest event of each run, by place; removed runs only if the filters ask for them.

    Args:
        root: folder of the runs.
        filters: which runs.

    Raises:
        DataError: there is no such folder, or the index is damaged.
    """
    events = [event for event in open_store(root).newest() if filters.match(event)]
    return [event for event in events if event.state != "removed" or filters.state == "removed"]


def run_details(root: Path, name: str) -> dict[str, Any]:
    """All that is known of a run: its newest event, its earlier ones, its recipe and metrics.

    Args:
        root: folder of the runs.
        name: its folder, or the first characters of its recipe's hash.

    Raises:
        M3NetError: there is no such run, several have the name, or its files are damaged.
    """
    store = open_store(root)
    event = _named(store.newest(), root, name)
    run = Run(root / event.place)
    details = {**as_json(event), "events": [as_json(past) for past in store.events(event.place)]}
    if run.recipe_path.exists():
        details["settings"] = run.recipe().to_dict()
    if run.finished:
        details["metrics"] = run.metrics().values
    return details


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
    details = [run_details(root, name) for name in names]
    figures = [_figures(entry) for entry in details]
    settings = [_flat(entry.get("settings", {})) for entry in details]
    rows = {key: [row.get(key) for row in settings] for key in _keys(settings)}
    return {
        "runs": [entry["place"] for entry in details],
        "figures": {key: [row.get(key) for row in figures] for key in _keys(figures)},
        "settings": {key: values for key, values in rows.items() if len({*map(repr, values)}) > 1},
    }


def rebuild(root: Path, log: Log = silent) -> int:
    """Append what the index lacks: finished and stopped runs, and those that are gone.

    Args:
        root: folder of the runs.
        log: receives a line for each folder that cannot be read.

    Returns:
        Number of appended events.

    Raises:
        DataError: there is no such folder, or the index is damaged.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist: name the folder of the runs by --runs")
    store = RunStore(root)
    store.create()
    newest = {event.place: event for event in store.newest()}
    events, places = [], set()
    for path in sorted(root.rglob("recipe.yaml")):
        place = path.parent.relative_to(root).as_posix()
        places.add(place)
        try:
            event = _event_of_folder(path.parent, place)
        except (M3NetError, KeyError) as error:  # of an older version, or damaged
            log(f"{path.parent} is skipped: {error}")
            continue
        known = newest.get(place)
        if known is None or known.state == "removed" or _is_news(event, known):
            events.append(event)
    events += [
        _removed(event)
        for place, event in newest.items()
        if place not in places and event.state in ("finished", "stopped")
    ]
    if events:
        store.add(*events)
    return len(events)


def prune(root: Path, filters: Filters, *, really: bool, log: Log = silent) -> list[Event]:
    """Remove run folders; events of a removed run stay in the index.

    Args:
        root: folder of the runs.
        filters: which runs. Finished ones only if their state is named.
        really: if not, nothing is removed.
        log: receives a line for each run that another process holds.

    Returns:
        The newest events of the runs, before their removal.

    Raises:
        ConfigError: no filter is given.
        DataError: as :func:`list_runs`.
    """
    if filters == Filters():
        raise ConfigError("prune needs a filter, such as --state failed or --recipe HASH")
    # The command of a lost run is about to try it again; that of a stopped one has ended.
    kept = {"started", "lost", "removed"} | ({"finished"} if filters.state != "finished" else set())
    events = [event for event in list_runs(root, filters) if event.state_now not in kept]
    if not really:
        return events
    removed = []
    for event in events:
        folder = root / event.place
        try:
            if folder.is_dir():
                with in_use(folder):
                    shutil.rmtree(folder)
        except InUseError as error:
            log(str(error))
            continue
        RunStore(root).add(_removed(event))
        removed.append(event)
    return removed


def as_json(event: Event) -> dict[str, Any]:
    """An event as plain values, its facts beside the other keys."""
    values = dataclasses.asdict(event)
    return {**values.pop("facts"), **values, "state": event.state_now}


def score(event: Event, split: str) -> float | None:
    """Accuracy, or mean average precision, of a split as a share; None if it has none."""
    return next(iter(event.facts.get(split, {}).values()), None)


def open_store(root: Path, log: Log = silent) -> RunStore:
    """The index of a folder of runs; a missing one is rebuilt from the folders."""
    store = RunStore(root)
    if not store.path.exists():
        rebuild(root, log)
    return store


def _named(events: Iterable[Event], root: Path, name: str) -> Event:
    by_place = {event.place: event for event in events}
    for place in (name, name.rstrip("/"), _relative(root, name)):
        if place in by_place:
            return by_place[place]
    matches = [
        event
        for event in by_place.values()
        if len(name) >= _SHORTEST_HASH and event.recipe.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise ConfigError(f"{root} has no run {name}: m3net runs list shows folders and hashes")
    places = [event.place for event in matches[:_MOST_NAMED]]
    more = "" if len(matches) <= _MOST_NAMED else f" and {len(matches) - _MOST_NAMED} more"
    raise ConfigError(f"several runs are named {name}: {', '.join(places)}{more}: name a folder")


def _relative(root: Path, name: str) -> str:
    path = Path(name).absolute()
    base = root.absolute()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else ""


def _event_of_folder(folder: Path, place: str) -> Event:
    run = Run(folder)
    if not run.finished:
        recipe = load_recipe(run.recipe_path)
        return event_of(recipe, _key(recipe), place, "stopped")
    metrics = run.metrics()
    recipe = Recipe.from_dict(metrics.values["recipe"])
    event = event_of(recipe, _key(recipe), place, "finished", **facts_of(metrics))
    return dataclasses.replace(event, time_s=run.metrics_path.stat().st_mtime)


def _is_news(event: Event, known: Event) -> bool:
    """Whether the folder has a result that the index lacks."""
    same = (event.state, event.recipe) == (known.state, known.recipe)
    return event.state == "finished" and not same


def _key(recipe: Recipe) -> str:
    """The key of :class:`~m3net_tf.lab.many.plan.Training`, if the runs that it needs are there."""
    key = linked_key(recipe)
    return fingerprint(recipe) if key == "outdated" else key


def _removed(event: Event) -> Event:
    return dataclasses.replace(
        event, state="removed", facts={}, time_s=time.time(), driver=this_process()
    )


def _figures(details: dict[str, Any]) -> dict[str, Any]:
    figures = {"state": details["state"], "recipe": details["recipe"][:12]}
    for split in ("validation", "test"):
        for key, value in details.get(split, {}).items():
            figures[f"{split} {key.replace('_', ' ')}"] = value
    for key in ("parameters", "macs", "epochs", "best_epoch", "training_s", "host", "error"):
        if key in details:
            figures[key.replace("_", " ")] = details[key]
    return figures


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _keys(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
