# SPDX-License-Identifier: Apache-2.0
"""Accepted costs of each network on each board, in a file that is only changed on request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.checkout import find_sources
from m3net_tf.system.conversion import convert, from_plain
from m3net_tf.system.errors import ConfigError

PATH = find_sources("firmware") / "cost_baselines.json"
ALLOWANCE = 0.01
"""Share by which a figure may exceed its accepted cost: compilers differ by a few bytes."""


@dataclasses.dataclass(frozen=True)
class CostBaseline:
    """Accepted cost of a network on a board: figures that are the same on every computer."""

    instructions: int
    frontend_instructions: int
    arena_used_bytes: int
    stack_bytes: int
    flash_bytes: int
    model_bytes: int

    @classmethod
    def of(cls, cost: BoardCost) -> CostBaseline:
        """The figures of a measured cost."""
        return from_plain(cls, {name: value for name, value in cost.items() if name in COSTS}, "")


COSTS = tuple(field.name for field in dataclasses.fields(CostBaseline))
"""Figures of a cost that are compared with accepted ones."""


class Place(NamedTuple):
    """Where a cost is measured."""

    board: str
    engine: str
    network: str


Measured = Mapping[Place, BoardCost]
"""Measured costs."""


class Change(NamedTuple):
    """A figure that differs from the accepted one.

    Attributes:
        accepted: accepted figure; None if the file lacks the network.
        now: present figure; None if the network was not measured on a board and with an engine
            that were run.
    """

    place: Place
    cost: str
    accepted: int | None
    now: int | None

    @property
    def exceeds(self) -> bool:
        """Whether it fails: above the allowance, without an accepted figure, or not measured."""
        if self.accepted is None or self.now is None:
            return True
        return self.now > self.accepted * (1 + ALLOWANCE)


def compare(measured: Measured, path: Path = PATH) -> list[Change]:
    """Figures that differ from the accepted costs.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    accepted = read_baselines(path)
    now = {place: CostBaseline.of(cost) for place, cost in measured.items()}
    measured_with = {place[:2] for place in measured}
    places = {*measured, *(place for place in accepted if place[:2] in measured_with)}
    changes = [
        Change(place, cost, *(getattr(side.get(place), cost, None) for side in (accepted, now)))
        for place in sorted(places)
        for cost in COSTS
    ]
    return [change for change in changes if change.accepted != change.now]


def exceeded(changes: list[Change]) -> list[Change]:
    """Changes that fail; see :attr:`Change.exceeds`."""
    return [change for change in changes if change.exceeds]


def update(measured: Measured, path: Path = PATH) -> None:
    """Accept measured costs as the baselines of their boards and engines; others stay.

    Raises:
        ConfigError: the file exists and is invalid.
    """
    measured_with = {place[:2] for place in measured}
    former = read_baselines(path) if path.exists() else {}
    accepted = {place: cost for place, cost in former.items() if place[:2] not in measured_with}
    accepted |= {place: CostBaseline.of(cost) for place, cost in measured.items()}
    values: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for place, cost in accepted.items():
        networks = values.setdefault(place.board, {}).setdefault(place.engine, {})
        networks[place.network] = dataclasses.asdict(cost)
    write_json(path, values)


def changes_table(changes: list[Change]) -> Table:
    """Changes for the terminal, with the failing ones marked."""
    table = Table("board", "engine", "network", "cost", "accepted", "now", "change")
    for change in changes:
        share = ""
        if change.accepted and change.now is not None:
            share = f"{100 * (change.now - change.accepted) / change.accepted:+.2f} %"
        figures = [
            "none" if figure is None else f"{figure:,}" for figure in (change.accepted, change.now)
        ]
        table.add_row(
            *change.place, change.cost, *figures, share, style="red" if change.exceeds else None
        )
    return table


def read_baselines(path: Path = PATH) -> dict[Place, CostBaseline]:
    """Read a file of accepted costs: in JSON, by board, engine and network.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it with m3net matrix --update-baselines")
    kind = dict[str, dict[str, dict[str, CostBaseline]]]
    try:
        boards = convert(kind, read_json(path, Any), "baselines")
    except ConfigError as error:
        raise ConfigError(
            f"{path}: {error}; restore it, or delete it and make it with m3net matrix "
            "--update-baselines"
        ) from None
    return {
        Place(board, engine, network): cost
        for board, engines in boards.items()
        for engine, networks in engines.items()
        for network, cost in networks.items()
    }
