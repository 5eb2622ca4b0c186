# SPDX-License-Identifier: Apache-2.0
"""Shared by the commands: the application, common options, and printing."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from typer.core import TyperGroup

from m3net_tf import __version__
from m3net_tf.engines import Engine
from m3net_tf.progress import Log

_PIPE_WIDTH = 10_000  # columns; no table is as wide, so none is cut or wrapped
_NUMBER = re.compile(r"[\d.,]*( %)?")


def show_help(context: typer.Context) -> None:
    """Print the help of a group that is called without a command."""
    if context.invoked_subcommand is None:
        say(context.get_help())


def show_version_or_help(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version or, without a command, the help."""
    if version:
        say(f"m3net {__version__}")
        raise typer.Exit
    show_help(context)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error.

    It prints text literally, because names of classes may look like markup. Outside a terminal a
    table is as wide as its contents, unless COLUMNS is set. NO_COLOR turns styles off.
    """
    stream = sys.stderr if stderr else sys.stdout
    fits_itself = not (stream and stream.isatty()) and "COLUMNS" not in os.environ
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        width=_PIPE_WIDTH if fits_itself else None,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


_SECTIONS = {
    "Train": ("train", "evaluate", "quantize", "report", "model"),
    "Deploy": ("demo", "export", "compile", "firmware", "emulate", "fit", "classify"),
    "Boards": ("flash", "monitor", "device", "matrix"),
    "Papers": ("table", "figure", "deployment"),
    "Data": ("data",),
}
_REST = "This installation"
_HELP_LIMIT = 200  # characters: whole sentences, wrapped


class _Sections(TyperGroup):
    """A group whose help lists the commands by subject."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one block per section, and the commands of no section last."""
        rest = [name for name in self.commands if name not in sum(_SECTIONS.values(), ())]
        for section, names in {**_SECTIONS, _REST: rest}.items():
            with formatter.section(section):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(_HELP_LIMIT)) for name in names]
                )


def _group(words: str) -> typer.Typer:
    return typer.Typer(help=words, callback=show_help, invoke_without_command=True)


app = typer.Typer(
    name="m3net",
    cls=_Sections,
    help="Sound recognition, from a paper to a microcontroller.",
    callback=show_version_or_help,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = _group("Data sets.")
model_app = _group("Networks.")
bench_app = _group("Measurements, as JSON.")
device_app = _group("A board that runs the firmware.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")

console = make_console()

DataDir = Annotated[
    Path | None, typer.Option(envvar="DATA_DIR", help="Folder that contains the data set.")
]
RunFolder = Annotated[Path, typer.Argument(help="Run folder, such as runs/demo.")]
Board = Annotated[str, typer.Option(envvar="BOARD", help="Board, a folder of firmware/boards.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_BOARD = "mps2_an386"
EngineName = Annotated[
    Engine,
    typer.Option(
        "--engine",
        envvar="ENGINE",
        help="Run the network as compiled C, or by TensorFlow Lite Micro (docs/engine.md).",
    ),
]
EngineOfExport = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        envvar="ENGINE",
        help="Engine of the firmware.  [default: the one that the export was made for]",
    ),
]

TableName = Annotated[str, typer.Argument(help="<paper>/<table>, or the path of its YAML file.")]
OptionalTableName = Annotated[
    str | None, typer.Argument(help="<paper>/<table>, or the path of its YAML file.")
]
TableScale = Annotated[str, typer.Option(help="tiny, small or paper.")]
TableData = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER of a data set; FOLDER alone for all others (DATA_DIR)."),
]
TableOut = Annotated[Path, typer.Option(help="Where the table is written.")]
TableRuns = Annotated[Path, typer.Option(help="Where the runs of all tables are kept.")]
KeepResults = Annotated[
    bool,
    typer.Option(
        "--keep-results", help="Keep the written table's results of runs that --runs lacks."
    ),
]
DEFAULT_RESULTS = Path("experiments/results")
DEFAULT_TABLE_RUNS = Path("runs/tables")


def say(line: str) -> None:
    """Print a line of the result or of progress."""
    print(line, flush=True)


def say_progress(line: str) -> None:
    """Print progress of a command whose result is JSON."""
    print(line, file=sys.stderr, flush=True)


def progress_beside(as_json: bool) -> Log:
    """Where progress goes: to standard output, or to standard error if the result is JSON."""
    return say_progress if as_json else say


def progress_console(as_json: bool) -> Console:
    """The console for live progress, on the same stream as :func:`progress_beside`."""
    return make_console(stderr=True) if as_json else console


def say_json(value: Any) -> None:
    """Print a result as JSON; equal values give equal text."""
    say(json.dumps(value, indent=2, sort_keys=True))


def print_result(value: Any, as_json: bool, draw: Callable[[Any], RenderableType]) -> None:
    """Print a result as JSON, or as the table that ``draw`` makes of it."""
    if as_json:
        say_json(value)
    else:
        console.print(draw(value))


def print_table(table: Any) -> None:
    """Print a table with ``columns`` and ``rows``; a column is as wide as its longest word."""
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
