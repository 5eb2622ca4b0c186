# SPDX-License-Identifier: Apache-2.0
"""What the commands share: the application, its options, and how a command prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    name="m3net",
    help="Sound recognition, from a paper to a microcontroller.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets.")
model_app = typer.Typer(help="Networks.")
bench_app = typer.Typer(help="Measurements, as JSON.")
device_app = typer.Typer(help="A board that runs the firmware.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")

console = Console()

DataDir = Annotated[
    Path | None, typer.Option(envvar="DATA_DIR", help="Folder that holds the data set.")
]
RunFolder = Annotated[Path, typer.Argument(help="Run folder, such as runs/demo.")]
Board = Annotated[str, typer.Option(envvar="BOARD", help="Board, a folder of firmware/boards.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_BOARD = "mps2_an386"
# Click's UsageError; newer typers carry a copy of click of their own, so it is reached from here.
UsageError: Any = typer.BadParameter.__mro__[1]

TableName = Annotated[str, typer.Argument(help="<paper>/<table>, or the path of its YAML file.")]
TableBudget = Annotated[str, typer.Option(help="tiny, small or paper.")]
TableData = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER of a data set; FOLDER alone for all others (DATA_DIR)."),
]
TableOut = Annotated[Path, typer.Option(help="Where the table is written.")]
TableRuns = Annotated[Path, typer.Option(help="Where the runs of all tables are kept.")]
KeepResults = Annotated[
    bool,
    typer.Option(
        "--keep-results", help="Take what the written table says of runs that --runs lacks."
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


def print_table(table: Any) -> None:
    """Print a table of data sets, its columns as wide as their longest word."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(table.columns):
        words = " ".join((column, *(row[i] for row in table.rows))).split()
        shown.add_column(column, overflow="fold", min_width=max(map(len, words)))
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
