# SPDX-License-Identifier: Apache-2.0
"""The index of a folder of runs: an SQLite file to which events of runs are appended.

A row is never changed or deleted. The state of a run is that of its newest event. The artefacts
are the run folders; :mod:`m3net_tf.lab.many.catalogue` rebuilds the index from them.

Several processes may write, also on several computers if their file system has POSIX locks (NFS 4
has). SQLite's rollback journal is used, because its write-ahead log needs memory that the
processes share, so it works on one computer only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import fingerprint
from m3net_tf.lab.many.standing import SCORES
from m3net_tf.system.errors import DataError
from m3net_tf.system.processes import is_running
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run_metrics import RunMetrics

STORE_NAME = "runs.sqlite"
STATES = ("started", "finished", "failed", "lost", "stopped", "removed")
"""``lost``: its process or computer was lost, so that it is tried again."""

_VERSION = 1
_BUSY_S = 60.0
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_s REAL NOT NULL,
    driver TEXT NOT NULL,
    place TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN {STATES}),
    recipe TEXT NOT NULL,
    network TEXT NOT NULL,
    preset TEXT NOT NULL,
    dataset TEXT NOT NULL,
    seed INTEGER NOT NULL,
    fold INTEGER,
    facts TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_place ON events (place, id);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
PRAGMA user_version = {_VERSION};
COMMIT;
"""


def this_process() -> str:
    """The name of this process in events."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    Attributes:
        place: its folder, relative to the folder of the runs.
        state: one of :data:`STATES`.
        recipe: hash of its recipe.
        network: name of its network.
        preset: preset of the network.
        dataset: name of its data set.
        seed: its seed.
        fold: its test fold, if the data set has folds.
        facts: anything else that can be JSON: ``error``, ``attempt``, ``host``, ``test`` and so on.
        driver: the process that wrote the event, as ``HOST:PID``.
        time_s: seconds since 1970.
    """

    place: str
    state: str
    recipe: str
    network: str
    preset: str
    dataset: str
    seed: int
    fold: int | None
    facts: Mapping[str, Any]
    driver: str = dataclasses.field(default_factory=this_process)
    time_s: float = dataclasses.field(default_factory=time.time)

    @property
    def state_now(self) -> str:
        """The state; ``stopped`` for a started run whose driver on this computer has ended."""
        host, _, pid = self.driver.rpartition(":")
        if self.state not in ("started", "lost") or host != socket.gethostname():
            return self.state
        return self.state if is_running(int(pid)) else "stopped"


def event_of(recipe: Recipe, key: str, place: str, state: str, **facts: Any) -> Event:
    """An event of a run.

    Args:
        recipe: its recipe.
        key: hash of the recipe; '' computes it.
        place: its folder, relative to the folder of the runs.
        state: one of :data:`STATES`.
        facts: anything else, which must be JSON.
    """
    return Event(
        place,
        state,
        key or fingerprint(recipe),
        recipe.model.name,
        recipe.model.preset,
        recipe.dataset.name,
        recipe.training.seed,
        recipe.dataset.fold,
        facts,
    )


def facts_of(metrics: RunMetrics) -> dict[str, Any]:
    """Facts of a finished run for its event."""
    values = metrics.values
    facts: dict[str, Any] = {"parameters": metrics.parameters, "macs": metrics.macs}
    for key in ("training_s", "git_commit", "design_sha256", "epochs", "best_epoch", "versions"):
        if key in values:
            facts[key] = values[key]
    for split, figures in (("validation", metrics.validation), ("test", metrics.test)):
        facts[split] = {key: figures[key] for key in SCORES if key in figures}
    return facts


class RunStore:
    """The index of a folder of runs.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / STORE_NAME

    def create(self) -> None:
        """Create the file if it is missing.

        Raises:
            DataError: it is damaged, of a later version, or cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise DataError(f"{self.path} is of a later version of m3net_tf: update m3net_tf")
            if version < _VERSION:
                database.executescript(_SCHEMA)

    def add(self, *events: Event) -> None:
        """Append events, all or none.

        Raises:
            DataError: the file is damaged or cannot be written.
        """
        names = [field.name for field in dataclasses.fields(Event)]
        rows = [
            [
                json.dumps(event.facts, sort_keys=True) if name == "facts" else getattr(event, name)
                for name in names
            ]
            for event in events
        ]
        marks = ", ".join("?" * len(names))
        with self._opened() as database, database:
            database.executemany(f"INSERT INTO events ({', '.join(names)}) VALUES ({marks})", rows)

    def newest(self) -> list[Event]:
        """The newest event of each run, by place; removed runs too.

        Raises:
            DataError: the file is damaged or cannot be read.
        """
        return self._select("id IN (SELECT MAX(id) FROM events GROUP BY place) ORDER BY place", ())

    def events(self, place: str) -> list[Event]:
        """All events of a run, the oldest first.

        Raises:
            DataError: the file is damaged or cannot be read.
        """
        return self._select("place = ? ORDER BY id", (place,))

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Event]:
        names = [field.name for field in dataclasses.fields(Event)]
        with self._opened() as database:
            rows = database.execute(f"SELECT {', '.join(names)} FROM events WHERE {where}", values)
            entries = [dict(zip(names, row, strict=True)) for row in rows]
            return [Event(**{**row, "facts": json.loads(row["facts"])}) for row in entries]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as database:
                yield database
        except sqlite3.OperationalError as error:
            advice = "check its permissions, its disk, and that its file system has locks"
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                advice = "free some space on its disk"
            raise DataError(f"{self.path} cannot be used ({error}): {advice}") from None
        except (sqlite3.DatabaseError, ValueError) as error:
            raise DataError(
                f"{self.path} is damaged ({error}): delete it; m3net runs rebuild makes it again"
            ) from None
