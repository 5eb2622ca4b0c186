# SPDX-License-Identifier: Apache-2.0
"""The live table of many runs on a terminal; a pipe gets the plain lines only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from m3net_tf.cli.output import console

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.lab.many.standing import Standing

_MOST_ROWS = 12
_PER_S = 2


@contextlib.contextmanager
def live_standing(standing: Standing, screen: Console = console) -> Iterator[None]:
    """Show the standing below the printed lines until the context ends, on a terminal.

    Args:
        standing: the standing, which another thread may change.
        screen: where it is shown.
    """
    if not screen.is_terminal:
        yield
        return

    def draw() -> RenderableType:
        return standing_view(standing, screen.width)

    with Live(get_renderable=draw, console=screen, refresh_per_second=_PER_S, transient=True):
        yield


def standing_view(standing: Standing, width: int) -> RenderableType:
    """The runs in work as a table, and one line of summary.

    Args:
        standing: the standing.
        width: columns of the terminal; a longer place loses its start.
    """
    from m3net_tf.lab.many.standing import duration

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("in work", "epoch", "validation", "since"):
        table.add_column(title, no_wrap=True)
    rows = standing.in_work()
    for row in rows[:_MOST_ROWS]:
        place = row.place
        if len(place) > (most := max(20, width - 36)):
            place = f"…{place[1 - most :]}"
        score = "" if row.score is None else f"{100 * row.score:.2f} %"
        table.add_row(place, f"{row.epoch}/{row.epochs}", score, duration(row.seconds))
    more = [Text(f"and {len(rows) - _MOST_ROWS} more")] if len(rows) > _MOST_ROWS else []
    best = [Text(f"best: {standing.best[1]}", no_wrap=True)] if standing.best else []
    return Group(table, *more, Text(standing.line(rows), no_wrap=True), *best)
