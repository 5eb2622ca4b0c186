# SPDX-License-Identifier: Apache-2.0
"""The command that searches networks for a board: ``m3net lab search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3net_tf.cli.options import DEFAULT_BOARD, Address, AsJson, Board, DataDir
from m3net_tf.cli.output import print_lines, print_table, progress_beside, say, say_json
from m3net_tf.lab.commands import options as shared
from m3net_tf.lab.commands.papers import lab_app
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, M3NetError
from m3net_tf.system.extras import require_modules
from m3net_tf.system.words import counted

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.lab.search.costs import CostLimits


@lab_app.command()
def search(
    recipe: Annotated[Path, typer.Argument(help="Recipe to start from, a YAML file.")],
    board: Board = DEFAULT_BOARD,
    max_instructions: Annotated[
        float | None, typer.Option(help="Most instructions per inference, such as 3e6.")
    ] = None,
    max_arena: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Largest tensor arena, such as 24kB.")
    ] = None,
    max_flash: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Largest firmware in flash, such as 200kB.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Candidates to train.")] = 40,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Start no trial after this time.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the proposals.")] = 0,
    space: Annotated[
        Path | None,
        typer.Option(help="Search space; default: experiments/search/<network>.yaml."),
    ] = None,
    teacher: Annotated[
        str, typer.Option(help="Run that may teach the candidates.  [default: none]")
    ] = "",
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the search; default: runs/search_<recipe>.")
    ] = None,
    jobs: shared.Jobs = 0,
    address: Address = "",
    cpus: shared.Cpus = None,
    gpus: shared.Gpus = None,
    memory: shared.Memory = None,
    retries: shared.Retries = 3,
    cache: shared.Cache = None,
    as_json: AsJson = False,
) -> None:
    """Search for the most accurate networks at each cost on a board; resumes after a stop."""
    folder = out or Path("runs") / f"search_{recipe.stem}"
    require_sources("firmware")
    require_modules("m3net lab search", "search", "optuna")
    from m3net_tf.lab.search.driver import Budget, Settings, run_search
    from m3net_tf.lab.search.result import front_table, write_result
    from m3net_tf.lab.search.space import find_space, load_space
    from m3net_tf.training.recipe import load_recipe

    base = load_recipe(recipe)
    candidates = load_space(find_space(space, base.model.name), base, _absolute(teacher))
    limits = _limits(max_instructions, max_arena, max_flash)
    finished = run_search(
        Settings(base, candidates, board, limits, seed),
        folder,
        Budget(trials, hours),
        data_dir,
        shared.pool_options(jobs, address, cpus, gpus, memory, retries, cache),
        progress_beside(as_json),
    )
    result = write_result(folder, finished)
    if as_json:
        say_json(result)
    else:
        print_table(front_table(result))
        say(f"{folder}/front.png, front.csv and front.json have all trials")
    if errors := [trial.error for trial in finished if trial.state == "failed"]:
        raise M3NetError(
            f"{counted(len(errors), 'trial')} failed ({errors[0]}): the same command tries "
            "them again"
        )


@lab_app.command()
def pick(
    folder: Annotated[Path, typer.Argument(help="Folder of a search, such as runs/search_mine.")],
    trial: Annotated[int, typer.Argument(min=0, help="Number of a finished trial.")],
    to: Annotated[
        Path | None, typer.Option(help="File of the recipe; default: pick_TRIAL.yaml in FOLDER.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the recipe of a trial of m3net lab search."""
    from m3net_tf.lab.search.result import write_pick

    path = write_pick(folder, trial, to)
    facts = {"trial": trial, "recipe": str(path)}
    print_lines(facts, as_json, lambda _: [f"{path}: m3net train {path}"])


def _absolute(run: str) -> str:
    """The folder of a run for workers elsewhere; the name of a trained network stays."""
    return str(Path(run).resolve()) if run and Path(run).exists() else run


def _limits(instructions: float | None, arena: str | None, flash: str | None) -> CostLimits:
    from m3net_tf.lab.search.costs import CostLimits
    from m3net_tf.training.cluster.resources import memory_bytes

    if instructions is not None and not 1 <= instructions < float("inf"):
        raise ConfigError(f"--max-instructions is {instructions}: give 1 or more")
    return CostLimits(
        None if instructions is None else int(instructions),
        None if arena is None else memory_bytes(arena, "--max-arena"),
        None if flash is None else memory_bytes(flash, "--max-flash"),
    )
