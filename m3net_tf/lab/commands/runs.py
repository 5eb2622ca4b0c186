# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net lab runs …``: the finished and unfinished runs in a folder of runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from m3net_tf.cli.app import group
from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import console, progress_beside, say, say_json
from m3net_tf.lab.commands.options import DEFAULT_RUNS

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.lab.many.listing import ListedRun

runs_app = group("List, compare and remove the runs in a folder of runs.")

Root = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]
Network = Annotated[str | None, typer.Option(help="Only this network, as NAME or NAME/PRESET.")]
Dataset = Annotated[str | None, typer.Option("--data-set", help="Only this data set.")]
RecipeHash = Annotated[str | None, typer.Option(help="Only recipes whose hash starts with this.")]
State = Annotated[str | None, typer.Option(help="Only this state: finished or unfinished.")]
RunName = Annotated[str, typer.Argument(help="Folder of the run, or the start of its hash.")]
RunNames = Annotated[list[str], typer.Argument(help="Folders of runs, or starts of hashes.")]


@runs_app.command("list")
def runs_list(
    runs: Root = DEFAULT_RUNS,
    network: Network = None,
    data_set: Dataset = None,
    recipe: RecipeHash = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """List runs with their state and accuracy."""
    from m3net_tf.lab.many.listing import Filters, list_runs

    filters = Filters(network, data_set, recipe, state)
    _say_runs(list_runs(runs, filters, progress_beside(as_json)), as_json)


@runs_app.command("show")
def runs_show(run: RunName, runs: Root = DEFAULT_RUNS, as_json: AsJson = False) -> None:
    """Show one run: its figures and, as JSON, its recipe and metrics, too."""
    from m3net_tf.lab.many.listing import run_details

    details = run_details(runs, run)
    if as_json:
        say_json(details)
        return
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for key in ("place", "state", "recipe", "network", "preset", "dataset", "seed", "fold"):
        if details[key] is not None:
            shown.add_row(key, str(details[key]))
    for split in ("validation", "test"):
        for key, value in details[split].items():
            shown.add_row(f"{split} {key.replace('_', ' ')}", _percent(value))
    for key, value in details["facts"].items():
        shown.add_row(key.replace("_", " "), str(value))
    console.print(shown)


@runs_app.command("compare")
def runs_compare(names: RunNames, runs: Root = DEFAULT_RUNS, as_json: AsJson = False) -> None:
    """Compare the figures of several runs, and the settings in which they differ."""
    from m3net_tf.lab.many.listing import compare_runs

    result = compare_runs(runs, names)
    if as_json:
        say_json(result)
        return
    for number, place in enumerate(result["runs"], start=1):
        say(f"{number}: {place}")
    shown = Table("", *map(str, range(1, len(names) + 1)), box=box.SIMPLE_HEAD, show_edge=False)
    for key, values in result["figures"].items():
        is_score = key.startswith(("validation ", "test "))
        shown.add_row(key, *(_percent(value) if is_score else _text(value) for value in values))
    for key, values in result["settings"].items():
        shown.add_row(key, *map(_text, values))
    for column in shown.columns:
        column.overflow = "fold"
    console.print(shown)


@runs_app.command("prune")
def runs_prune(
    runs: Root = DEFAULT_RUNS,
    network: Network = None,
    data_set: Dataset = None,
    recipe: RecipeHash = None,
    state: State = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only runs unchanged for this long.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; otherwise only list.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove folders of unfinished runs; finished ones only with --state finished."""
    from m3net_tf.lab.many.listing import Filters, prune

    filters = Filters(network, data_set, recipe, state, older_than)
    pruned = prune(runs, filters, really=yes, log=progress_beside(as_json))
    if not pruned and not as_json:
        say("no run matches")
        return
    _say_runs(pruned, as_json)
    if not as_json:
        say(f"removed {len(pruned)} runs" if yes else f"--yes removes these {len(pruned)} runs")


def _say_runs(runs: list[ListedRun], as_json: bool) -> None:
    from m3net_tf.lab.many.listing import score

    if as_json:
        say_json([dataclasses.asdict(run) for run in runs])
        return
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title, right in (
        *(("state", False), ("recipe", False), ("valid.", True), ("test", True)),
        *(("data set", False), ("run", False)),
    ):
        shown.add_column(title, justify="right" if right else "left", overflow="fold")
    for run in runs:
        scores = [_percent(score(run, split)) for split in ("validation", "test")]
        shown.add_row(run.state, run.recipe[:8], *scores, run.dataset, run.place)
    console.print(shown)


def _percent(value: Any) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
