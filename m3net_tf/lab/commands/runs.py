# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net runs …``: the index of finished, failed and running trainings."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from m3net_tf.cli.app import runs_app
from m3net_tf.cli.options import DEFAULT_TABLE_RUNS, AsJson
from m3net_tf.cli.output import console, progress_beside, say, say_json

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.lab.many.store import Event

Root = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]
Network = Annotated[str | None, typer.Option(help="Only this network, as NAME or NAME/PRESET.")]
Dataset = Annotated[str | None, typer.Option("--data-set", help="Only this data set.")]
RecipeHash = Annotated[str | None, typer.Option(help="Only recipes whose hash starts with this.")]
State = Annotated[
    str | None,
    typer.Option(help="Only this state: started, finished, failed, lost, stopped or removed."),
]
RunName = Annotated[str, typer.Argument(help="Folder of the run, or the start of its hash.")]
RunNames = Annotated[list[str], typer.Argument(help="Folders of runs, or starts of hashes.")]


@runs_app.command("list")
def runs_list(
    runs: Root = DEFAULT_TABLE_RUNS,
    network: Network = None,
    data_set: Dataset = None,
    recipe: RecipeHash = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """List runs with their state and accuracy."""
    from m3net_tf.lab.many.catalogue import Filters, list_runs
    from m3net_tf.lab.many.catalogue import as_json as values_of

    events = list_runs(runs, Filters(network, data_set, recipe, state))
    if as_json:
        say_json([values_of(event) for event in events])
    else:
        console.print(_listing(events))


@runs_app.command("show")
def runs_show(run: RunName, runs: Root = DEFAULT_TABLE_RUNS, as_json: AsJson = False) -> None:
    """Show one run: its figures, and what happened to it."""
    from m3net_tf.lab.many.catalogue import run_details

    details = run_details(runs, run)
    if as_json:
        say_json(details)
        return
    shown = _grid()
    for key in ("place", "state", "recipe", "network", "preset", "dataset", "seed", "fold"):
        if details.get(key) is not None:
            shown.add_row(key, str(details[key]))
    for split in ("validation", "test"):
        for key, value in details.get(split, {}).items():
            shown.add_row(f"{split} {key.replace('_', ' ')}", _percent(value))
    for key in ("parameters", "macs", "training_s", "host", "git_commit", "error"):
        if key in details:
            shown.add_row(key.replace("_", " "), str(details[key]))
    for event in details["events"]:
        text = f"{_clock(event['time_s'])} by {event['driver']}"
        shown.add_row(event["state"], text + (f": {event['error']}" if "error" in event else ""))
    console.print(shown)


@runs_app.command("compare")
def runs_compare(names: RunNames, runs: Root = DEFAULT_TABLE_RUNS, as_json: AsJson = False) -> None:
    """Compare the figures of several runs, and the settings in which they differ."""
    from m3net_tf.lab.many.catalogue import compare_runs

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
    runs: Root = DEFAULT_TABLE_RUNS,
    network: Network = None,
    data_set: Dataset = None,
    recipe: RecipeHash = None,
    state: State = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only runs without events for this long.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; otherwise only list.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove run folders that failed or stopped; finished ones only with --state finished."""
    from m3net_tf.lab.many.catalogue import Filters, prune
    from m3net_tf.lab.many.catalogue import as_json as values_of

    filters = Filters(network, data_set, recipe, state, older_than)
    events = prune(runs, filters, really=yes, log=progress_beside(as_json))
    if as_json:
        say_json([values_of(event) for event in events])
        return
    if not events:
        say("no run matches")
        return
    console.print(_listing(events))
    say(f"removed {len(events)} runs" if yes else f"--yes removes these {len(events)} runs")


@runs_app.command("rebuild")
def runs_rebuild(runs: Root = DEFAULT_TABLE_RUNS, as_json: AsJson = False) -> None:
    """Complete the index from the run folders."""
    from m3net_tf.lab.many.catalogue import rebuild

    added = rebuild(runs, progress_beside(as_json))
    if as_json:
        say_json({"runs": str(runs), "events_added": added})
    else:
        say(f"{added} events added to the index of {runs}")


def _listing(events: list[Event]) -> Table:
    from m3net_tf.lab.many.catalogue import score

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title, right in (
        *(("state", False), ("recipe", False), ("valid.", True), ("test", True)),
        *(("data set", False), ("run", False)),
    ):
        shown.add_column(title, justify="right" if right else "left", overflow="fold")
    for event in events:
        scores = [_percent(score(event, split)) for split in ("validation", "test")]
        shown.add_row(event.state_now, event.recipe[:8], *scores, event.dataset, event.place)
    return shown


def _grid() -> Table:
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    return shown


def _percent(value: Any) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _clock(time_s: float) -> str:
    return datetime.datetime.fromtimestamp(time_s).isoformat(" ", "seconds")
