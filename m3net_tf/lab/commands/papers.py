# SPDX-License-Identifier: Apache-2.0
"""Commands of the papers' tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from m3net_tf.cli.app import app, group
from m3net_tf.cli.options import DEFAULT_BOARD, Address, AsJson, Board
from m3net_tf.cli.output import console, print_lines, progress_beside, say, say_exactly, say_json
from m3net_tf.lab import RESULTS, RUNS
from m3net_tf.lab.commands.options import (
    Cache,
    Cpus,
    Gpus,
    Jobs,
    KeepResults,
    Memory,
    Overlay,
    Retries,
    TableData,
    TableName,
    TableOut,
    TableRuns,
    TableScale,
    parse_data_folders,
    pool_options,
    results_folder,
)
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.extras import require_modules

if TYPE_CHECKING:
    from m3net_tf.lab.studies.table_plan import TablePlan
    from m3net_tf.training.cluster.data import DataFolders


lab_app = group("List and measure results of papers, draw figures, search networks, make bodies.")


@app.command()
def table(
    name: TableName,
    scale: TableScale = "small",
    jobs: Jobs = 0,
    address: Address = "",
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    retries: Retries = 3,
    cache: Cache = None,
    data_dir: TableData = None,
    out: TableOut = None,
    runs: TableRuns = RUNS,
    keep_results: KeepResults = False,
    overlay: Overlay = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CELL", help="Train only cells with these labels, such as a row; repeatable."
        ),
    ] = None,
    no_training: Annotated[
        bool, typer.Option("--no-training", help="Write the table of the runs that are finished.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, recipes and missing data; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the missing runs of a paper's table, and write it beside the paper's values."""
    from m3net_tf.lab.studies.table_plan import plan_table
    from m3net_tf.lab.studies.tables import make_table

    folders = parse_data_folders(data_dir or [])
    plan = plan_table(
        name,
        scale,
        runs_folder=runs,
        out=results_folder(out, scale, runs),
        keep_results=keep_results,
        overlay=overlay,
        only=only or (),
    )
    if dry_run:
        _say_plan(plan, folders, as_json)
        return
    report = make_table(
        plan,
        folders,
        pool_options(jobs, address, cpus, gpus, memory, retries, cache),
        train=not no_training,
        command=f"m3net table {name} --scale {scale}"
        + (f" --overlay {overlay}" if overlay else ""),
        log=progress_beside(as_json),
    )
    if as_json:
        say_json(report)
    _require_success(report["failed"], name)


def _require_success(failed: int, name: str) -> None:
    if failed:
        raise M3NetError(
            f"{failed} of the runs of {name} failed: the table says why; the same command tries "
            "them again"
        )


def _say_plan(plan: TablePlan, folders: DataFolders, as_json: bool) -> None:
    from m3net_tf.lab.studies.table_plan import plan_facts, plan_lines

    print_lines(plan_facts(plan, folders), as_json, plan_lines)


@lab_app.command("list")
def list_results(out: TableOut = None, as_json: AsJson = False) -> None:
    """List the papers' tables and figures with their commands, and the state of their results."""
    from m3net_tf.lab.studies.paper_list import list_items, list_lines

    print_lines(list_items(out or RESULTS), as_json, list_lines)


@lab_app.command("recipe")
def cell_recipe(
    name: TableName,
    cell: Annotated[
        str, typer.Argument(help="Labels of the cell, or the name that --dry-run prints.")
    ],
    scale: TableScale = "small",
    runs: TableRuns = RUNS,
    as_json: AsJson = False,
) -> None:
    """Print the complete recipe of a table's cell as YAML."""
    from m3net_tf.lab.studies.cell_recipe import cell_recipe_text, find_cell
    from m3net_tf.lab.studies.grid_file import load_grid
    from m3net_tf.system.yaml_files import parse_yaml

    grid = load_grid(name, scale)
    text = cell_recipe_text(grid, find_cell(grid, cell), runs)
    if as_json:
        say_json(parse_yaml(text, "the recipe"))
    else:
        say_exactly(text)


@lab_app.command()
def latex(
    name: TableName,
    scale: TableScale = "small",
    overlay: Overlay = None,
    out: TableOut = None,
    as_json: AsJson = False,
) -> None:
    """Print a written table in LaTeX."""
    require_modules("m3net lab latex", "report", "jinja2")
    from m3net_tf.lab.studies.grid_file import load_grid
    from m3net_tf.lab.studies.table_plan import table_stem
    from m3net_tf.lab.studies.table_record import read_table
    from m3net_tf.lab.studies.table_views import table_latex

    grid = load_grid(name, scale, overlay)
    path = Path(f"{table_stem(grid, overlay, results_folder(out, scale, RUNS))}.json")
    text = table_latex(read_table(path), list(grid.axes))
    if as_json:
        say_json({"latex": text})
    else:
        say_exactly(text)


@lab_app.command()
def deployment(
    name: Annotated[str, typer.Argument(help="Finished grid, such as mcu/keywords.")],
    scale: TableScale = "small",
    board: Board = DEFAULT_BOARD,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Additional quantisation, such as qat; repeatable."),
    ] = None,
    data_dir: TableData = None,
    out: TableOut = None,
    runs: TableRuns = RUNS,
    as_json: AsJson = False,
) -> None:
    """Measure the int8 accuracy and board costs of a grid's runs, which m3net table trains."""
    from m3net_tf.lab.studies.deployment import make_deployment

    options = [f"--scale {scale} --board {board}", *(f"--method {key}" for key in method or ())]
    report = make_deployment(
        name,
        scale,
        board,
        data_folders=parse_data_folders(data_dir or []),
        methods=method or (),
        runs_folder=runs,
        out=results_folder(out, scale, runs),
        command=f"m3net lab deployment {name} {' '.join(options)}",
        log=progress_beside(as_json),
    )
    if as_json:
        say_json(report)
    _require_success(report["failed"], name)


@lab_app.command()
def figure(
    name: Annotated[
        str | None, typer.Argument(help="Figure, such as diffres/fig4; without it, list all.")
    ] = None,
    scale: TableScale = "small",
    data_dir: TableData = None,
    runs: TableRuns = RUNS,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the picture and its numbers; default: as m3net table's."),
    ] = None,
    keep_results: KeepResults = False,
    as_json: AsJson = False,
) -> None:
    """Draw a paper's figure as PNG, with its numbers as CSV and JSON; trains missing runs."""
    from m3net_tf.lab.figures import catalogue as figures

    if name is None:
        rows = [{"name": key, "summary": it.summary} for key, it in figures.FIGURES.items()]
        if as_json:
            say_json(rows)
            return
        table = Table("figure", "shows")
        for row in rows:
            table.add_row(*row.values())
        console.print(table)
        return
    paths = figures.draw_figure(
        name,
        results_folder(out, scale, runs),
        scale=scale,
        runs_folder=runs,
        data_folders=parse_data_folders(data_dir or []),
        keep_results=keep_results,
        command=f"m3net lab figure {name} --scale {scale}",
        log=progress_beside(as_json),
    )
    if as_json:
        say_json({"figure": name, "files": [str(path) for path in paths]})
        return
    for path in paths:
        say(str(path))
