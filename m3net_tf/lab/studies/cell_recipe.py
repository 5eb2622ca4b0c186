# SPDX-License-Identifier: Apache-2.0
"""One cell of a table as one flat recipe, for a reader or for ``m3net train``."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from m3net_tf.lab.many.plan import with_runs
from m3net_tf.lab.studies.grid import Cell, Grid, slug
from m3net_tf.system.errors import ConfigError


def find_cells(grid: Grid, text: str) -> list[Cell]:
    """The cells with a slug, or with neighbouring labels; at least one.

    Args:
        text: the slug or labels; upper case and the characters between the words do not count.

    Raises:
        ConfigError: no cell matches; the message lists the cells.
    """
    cells = [cell for cell in grid.cells if cell.repeats]
    name = slug([text])
    matches = [cell for cell in cells if slug([cell.slug]) == name]
    matches = matches or [cell for cell in cells if name in _names(cell)]
    if not matches:
        raise _refusal(grid, text, "no cell is named", cells)
    return matches


def find_cell(grid: Grid, text: str) -> Cell:
    """As :func:`find_cells`; several cells are one if they have the same recipe.

    Raises:
        ConfigError: no cell or several different ones match; the message lists the cells.
    """
    matches = find_cells(grid, text)
    if len({grid.training(cell, cell.repeats[0]).key for cell in matches}) > 1:
        raise _refusal(grid, text, "several cells match", matches)
    return matches[0]


def _refusal(grid: Grid, text: str, reason: str, cells: Sequence[Cell]) -> ConfigError:
    choices = ", ".join(cell.slug for cell in cells) or "none"
    return ConfigError(f"{grid.path}: {reason} {text!r}: choose one of {choices}")


def _names(cell: Cell) -> set[str]:
    labels = list(cell.labels.values())
    places = range(len(labels) + 1)
    return {slug([" ".join(labels[i:j])]) for i in places for j in places[i + 1 :]}


def cell_recipe_text(grid: Grid, cell: Cell, runs_folder: Path) -> str:
    """YAML of the recipe of a cell's first run, with every key written out.

    A run that the recipe needs, such as a teacher, is named by the folder in which ``m3net table``
    trains it.
    """
    repeat = cell.repeats[0]
    training = grid.training(cell, repeat)
    recipe = training.recipe
    lines = [
        f"# {grid.name} at {grid.scale} scale, cell {cell.slug}, {repeat.name}",
        f"# recipe {training.key}",
    ]
    for section, needs in training.needs.items():
        recipe = with_runs(recipe, section, [str(runs_folder / need.place) for need in needs])
        lines += [f"# {section}.run: recipe {need.key}; m3net table trains it" for need in needs]
    return "\n".join([*lines, yaml.safe_dump(recipe.to_dict(), sort_keys=False).rstrip()])
