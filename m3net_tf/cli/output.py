# SPDX-License-Identifier: Apache-2.0
"""How commands print: lines, JSON, tables, progress."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from m3net_tf.system.progress import Bars, Log, TerminalLog, draws_bars, fitted
from m3net_tf.system.terminal import printable

if TYPE_CHECKING:  # reading data sets takes packages that a light installation lacks
    from m3net_tf.audio.datasets.tables import Table as TextTable

Result = TypeVar("Result")
_PIPE_WIDTH = 10_000  # columns; no table is as wide, so none is cut or wrapped
_NUMBER = re.compile(r"[\d.,]*( %)?")


class _Console(Console):
    """A console whose only control characters are its own."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield Segment(text, segment.style, segment.control)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error.

    It prints text literally, because names of classes may look like markup. Outside a terminal a
    table is as wide as its contents, unless COLUMNS is set. NO_COLOR turns styles off.
    """
    stream = sys.stderr if stderr else sys.stdout
    fits_itself = not (stream and stream.isatty()) and "COLUMNS" not in os.environ
    return _Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        width=_PIPE_WIDTH if fits_itself else None,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        no_color=bool(os.environ.get("NO_COLOR")),
    )


console = make_console()


def say(line: str) -> None:
    """Print a line of the result or of progress."""
    print(fitted(printable(line), sys.stdout), flush=True)


def say_exactly(text: str, end: str = "\n") -> None:
    """Print text of a format that line breaks would damage."""
    print(text, end=end, flush=True)


def say_next(*words: object) -> None:
    """Print the command that comes next, as README's "Five tasks" have it."""
    say(f"next: {shlex.join(map(str, words))}")


def say_progress(line: str) -> None:
    """Print progress of a command whose result is JSON."""
    print(fitted(printable(line), sys.stderr), file=sys.stderr, flush=True)


def progress_beside(as_json: bool) -> Log:
    """Where progress goes: to standard output, or to standard error if the result is JSON.

    On a terminal it draws bars.
    """
    if draws_bars(sys.stderr if as_json else sys.stdout):
        return TerminalLog(Bars(make_console(stderr=as_json)))
    return say_progress if as_json else say


def say_json(value: Any) -> None:
    """Print a result as JSON; equal values give equal text."""
    say_exactly(json.dumps(value, indent=2, sort_keys=True))


def print_result(value: Result, as_json: bool, draw: Callable[[Result], RenderableType]) -> None:
    """Print a result as JSON, or as the table that ``draw`` makes of it."""
    if as_json:
        say_json(value)
    else:
        console.print(draw(value))


def print_lines(value: Result, as_json: bool, lines: Callable[[Result], Iterable[str]]) -> None:
    """Print a result as JSON, or as the lines that ``lines`` makes of it."""
    if as_json:
        say_json(value)
    else:
        for line in lines(value):
            say(line)


def print_table(table: TextTable) -> None:
    """Print a table; a column is at least as wide as its longest word."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(table.columns):
        cells = [row[i] for row in table.rows]
        words = " ".join((column, *cells)).split()
        shown.add_column(
            column,
            overflow="fold",
            min_width=max(map(len, words)),
            justify="right" if all(map(_NUMBER.fullmatch, cells)) else "left",
        )
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
