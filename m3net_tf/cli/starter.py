# SPDX-License-Identifier: Apache-2.0
"""The command that starts a project from a folder of sounds: ``m3net init``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import DEFAULT_BOARD, AsJson, Board
from m3net_tf.cli.output import print_table, progress_beside, say, say_json


@app.command()
def init(
    sounds: Annotated[Path, typer.Argument(help="Folder with one folder of sounds per class.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the project; default: <SOUNDS>_project.")
    ] = None,
    board: Board = DEFAULT_BOARD,
    group_pattern: Annotated[
        str,
        typer.Option(
            metavar="REGEX",
            help="Speaker or recording of a file: what the first parentheses match in its path.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Set up a project for a folder of your own sounds: a recipe, and the commands to train it."""
    from m3net_tf.audio.datasets import load_dataset
    from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines, sounds_table
    from m3net_tf.audio.datasets.tables import split_table
    from m3net_tf.boards.deployment.starter import (
        new_project,
        recipe_lines,
        speed_lines,
        starter_commands,
        starter_pace,
        starter_recipe,
        write_starter,
    )

    project = out or Path(f"{sounds.resolve().name}_project")
    new_project(project, board)  # before the sounds are read
    log = progress_beside(as_json)
    facts = inspect_folder(sounds, group_pattern, log)
    if not as_json:
        print_table(sounds_table(facts))
        for line in sounds_lines(facts):
            say(line)
    recipe = starter_recipe(facts, board, log)
    paths = write_starter(recipe, facts, project, board)
    if as_json:
        pace = dataclasses.asdict(starter_pace(recipe, board))
        files = list(map(str, paths))
        say_json({"sounds": facts.to_dict(), "recipe": recipe, "files": files, "pace": pace})
        return
    dataset = load_dataset("folder", facts.folder, log=log, **recipe["dataset"]["options"])
    print_table(split_table(dataset))
    for line in (*recipe_lines(recipe, facts, dataset), *speed_lines(recipe, board)):
        say(line)
    say(f"wrote {', '.join(map(str, paths))}")
    say(f"next: {next(iter(starter_commands(paths[0], board)))}")
