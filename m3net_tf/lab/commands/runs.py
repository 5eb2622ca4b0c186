# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net lab runs …``: the finished and unfinished runs in a folder of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from m3net_tf.cli.app import group
from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import console, progress_beside, say, say_json
from m3net_tf.lab import RUNS

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.lab.many.listing import ListedRun

runs_app = group("List and remove the runs in a folder of runs; m3net report compares runs.")

Root = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]
Network = Annotated[str | None, typer.Option(help="Only this network, as NAME or NAME/PRESET.")]
Dataset = Annotated[str | None, typer.Option("--data-set", help="Only this data set.")]
RecipeHash = Annotated[str | None, typer.Option(help="Only recipes whose hash starts with this.")]
State = Annotated[str | None, typer.Option(help="Only this state: finished or unfinished.")]


@runs_app.command("list")
def runs_list(
    runs: Root = RUNS,
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


@runs_app.command("prune")
def runs_prune(
    runs: Root = RUNS,
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


def _say_runs(runs: Sequence[ListedRun], as_json: bool) -> None:
    if as_json:
        say_json(runs)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("state", "recipe", "valid.", "test", "data set", "run"):
        right = title in ("valid.", "test")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for run in runs:
        scores = [
            "" if share is None else f"{100 * share:.2f}"
            for share in (run["validation"], run["test"])
        ]
        table.add_row(run["state"], run["recipe"][:8], *scores, run["dataset"], run["run"])
    console.print(table)
