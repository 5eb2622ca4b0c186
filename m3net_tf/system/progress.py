# SPDX-License-Identifier: Apache-2.0
"""Progress of long-running work: lines of text, and counted work with the time left.

Every long-running function takes a :data:`Log`. It calls it with a line for each event, and counts
steps with :func:`track`. The log decides how that is shown: :class:`TerminalLog` draws bars, and
any other function receives an occasional line.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, ClassVar, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 5.0
"""Shortest time between two lines on the same work."""
BYTES = "bytes"
"""Unit that is shown as MB, with a rate."""
_COMMANDS = ("cd ", "m3net ", "make ")
_MINUTE_S, _HOUR_S = 60, 3600
_TELLING_SHARE = 0.01  # of the steps: from then on their pace tells how long the others take
_TELLING_S = 60.0
_SUBJECT_COLUMNS = 24  # at 80 columns the bar has 12 or more

Log = Callable[[str], None]


def silent(line: str) -> None:
    """Ignore a progress line."""


class Task:
    """Counted work, such as ``training``; its total is None if it is unknown.

    The unit is what is counted, such as ``clips`` or :data:`BYTES`.
    """

    def __init__(
        self, show: Callable[[Task], None], subject: str, total: int | None, unit: str, done: int
    ) -> None:
        self.subject, self.total, self.unit, self.done = subject, total, unit, done
        self._show, self._first, self._began_s = show, done, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Add finished steps."""
        self.reach(self.done + steps)

    def reach(self, done: int) -> None:
        """Set the number of finished steps."""
        self.done = done
        self._show(self)

    @property
    def count(self) -> str:
        """Finished and all steps, such as ``910/8000 clips`` or ``1.2/27.0 MB, 3.1 MB/s``."""
        if self.unit != BYTES:
            total = "" if self.total is None else f"/{self.total}"
            return f"{self.done}{total} {self.unit}"
        total = "" if self.total is None else f"/{self.total / 1e6:.1f}"
        return f"{self.done / 1e6:.1f}{total} MB, {self._rate / 1e6:.1f} MB/s"

    @property
    def seconds_left(self) -> float:
        """Time left at the mean rate so far; infinite if it is unknown.

        The first steps may take much longer than the others, as where TensorFlow compiles a step.
        A small share of the work says nothing, unless it took long.
        """
        if self.total is None or not self._rate:
            return math.inf
        is_little = self.done - self._first < _TELLING_SHARE * self.total
        if is_little and time.monotonic() - self._began_s < _TELLING_S:
            return math.inf
        return (self.total - self.done) / self._rate

    @property
    def _rate(self) -> float:
        """Steps per second of this process."""
        return (self.done - self._first) / max(time.monotonic() - self._began_s, 1e-3)


@contextlib.contextmanager
def track(log: Log, subject: str, total: int | None, unit: str, *, done: int = 0) -> Iterator[Task]:
    """Show counted work: as a bar if ``log`` draws bars, else as a line every few seconds.

    ``done`` are the steps that an earlier process finished.
    """
    display = log.bars if isinstance(log, TerminalLog) else _Lines(log)
    task = Task(display.update, subject, total, unit, done)
    display.start(task)
    try:
        yield task
    finally:
        display.stop(task)


def with_lines_to(lines: Log, log: Log) -> Log:
    """A log whose lines go to ``lines``; its bars are drawn where ``log`` draws them, if it does.

    Lines on counted work are dropped if bars are drawn.
    """
    return TerminalLog(log.bars, lines) if isinstance(log, TerminalLog) else lines


def fitted(line: str, stream: IO[str] | None) -> str:
    """A line of prose as a terminal shows it: broken between words, the rest indented.

    COLUMNS sets the width, also of a file or a pipe, whose lines stay whole without it. A line that
    is a command stays whole everywhere, so that it can be copied.
    """
    if stream is None or line.startswith(_COMMANDS):
        return line
    if not stream.isatty() and not os.environ.get("COLUMNS"):
        return line
    columns = shutil.get_terminal_size().columns
    if len(line) <= columns:
        return line
    return textwrap.fill(
        line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def draws_bars(stream: TextIO) -> bool:
    """Whether bars can be drawn on a stream: a terminal that moves its cursor, not a CI's log."""
    interactive = not os.environ.get("CI") and os.environ.get("TERM") not in ("dumb", "unknown")
    return interactive and stream is not None and stream.isatty()


def duration(seconds: float) -> str:
    """A duration in two units at most, such as ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"


class _Lines:
    """Shows a task as lines, which are rare enough for a file.

    Tasks of one log that follow each other share a clock: a chain of short tasks is not silent.
    """

    _latest: ClassVar[_Lines | None] = None

    def __init__(self, log: Log) -> None:
        self._log = log
        self._shown_s = 0.0
        self._ended_s = math.inf

    def start(self, task: Task) -> None:
        now_s = time.monotonic()
        latest = _Lines._latest
        _Lines._latest = self
        if (
            latest is not None
            and latest._log == self._log
            and now_s - latest._ended_s < LINE_EVERY_S
        ):
            self._shown_s = latest._shown_s
        else:
            self._shown_s = now_s

    def update(self, task: Task) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < LINE_EVERY_S:
            return
        self._shown_s = now_s
        left = task.seconds_left
        end = "" if math.isinf(left) else f", {duration(left)} left"
        self._log(f"{task.subject}: {task.count}{end}")

    def stop(self, task: Task) -> None:
        self._ended_s = time.monotonic()


class Bars:
    """The bars of a terminal, one for each task that runs; threads may share them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._guard = threading.Lock()
        self._progress: Progress | None = None
        self._rows: dict[Task, TaskID] = {}

    def start(self, task: Task) -> None:
        """Draw a bar below the others."""
        with self._guard:
            if self._progress is None:
                self._progress = _new_progress(self.console)
                self._progress.start()
            self._rows[task] = self._progress.add_task(
                task.subject, total=task.total, completed=task.done, count=task.count
            )

    def update(self, task: Task) -> None:
        """Draw the task's state."""
        with self._guard:
            if self._progress is not None:
                self._progress.update(self._rows[task], completed=task.done, count=task.count)

    def stop(self, task: Task) -> None:
        """Remove the task's bar."""
        with self._guard:
            if self._progress is None:
                return
            self._progress.remove_task(self._rows.pop(task))
            if not self._rows:
                self._progress.stop()
                self._progress = None


class TerminalLog:
    """A log that draws bars on a terminal. Lines are above them, or go to ``lines``."""

    def __init__(self, bars: Bars, lines: Log | None = None) -> None:
        self.bars, self._lines = bars, lines

    def __call__(self, line: str) -> None:
        """Print a line."""
        if self._lines is not None:
            self._lines(line)
        else:
            shown = fitted(line, self.bars.console.file)
            self.bars.console.print(shown, markup=False, highlight=False, soft_wrap=True)


def _new_progress(console: Console) -> Progress:
    """Bars that disappear at the end: subject, bar, count, time left."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=_SUBJECT_COLUMNS),
        ),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        expand=True,
        transient=True,
    )
