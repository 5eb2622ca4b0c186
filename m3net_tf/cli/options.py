# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands have."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.boards import DEFAULT_BOARD as DEFAULT_BOARD
from m3net_tf.compiler.engines import Engine
from m3net_tf.compiler.goals import GoalName
from m3net_tf.networks.pretrained import FOLDER, RUN_FILES, pretrained_names
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import complete_folder


def is_trained_network(path: Path) -> bool:
    """Whether an argument is the name of a trained network, and not an existing path."""
    return not path.exists() and str(path) in pretrained_names()


def run_folder(path: Path, copy: Path | None = None) -> Path:
    """The folder; for the name of a trained network its copy, made if missing.

    Commands write into a run, which the package's own folder is not for.

    Args:
        copy: folder of the copy; default: the name below ``runs``.
    """
    if not is_trained_network(path):
        return path
    copy = copy or Path("runs") / path
    if not copy.exists():
        with complete_folder(copy) as scratch:
            for name in RUN_FILES:
                shutil.copyfile(FOLDER / path / name, scratch / name)
    return copy


def complete_boards(typed: str) -> list[str]:
    """The boards whose names start with what was typed before the Tab key."""
    from m3net_tf.boards.builds.boards import list_boards

    try:
        return [name for name in list_boards() if name.startswith(typed)]
    except ConfigError:  # there is no source checkout
        return []


def complete_runs(typed: str) -> list[str]:
    """The trained networks, and the folders in ``runs``, that start with what was typed."""
    runs = sorted(str(path.parent) for path in Path("runs").glob("*/recipe.yaml"))
    return [name for name in (*pretrained_names(), *runs) if name.startswith(typed)]


DataDir = Annotated[
    Path | None, typer.Option(envvar="DATA_DIR", help="Folder that contains the data set.")
]
RunFolder = Annotated[
    Path,
    typer.Argument(
        callback=lambda path: run_folder(path),  # Typer reads the number of its arguments
        autocompletion=complete_runs,
        help="Run folder, such as runs/demo, or a trained network, which is copied into runs/.",
    ),
]
Board = Annotated[
    str,
    typer.Option(
        envvar="BOARD",
        autocompletion=complete_boards,
        help="Board: name of a folder in firmware/boards.",
    ),
]
Hop = Annotated[
    int | None,
    typer.Option(min=1, help="Frames with each push.  [default: as few as the strides allow]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlwaysJson = Annotated[
    bool, typer.Option("--json", help="Print JSON; the command has no other form.")
]
Optimise = Annotated[
    GoalName,
    typer.Option(
        help="cycles; flash: the least code and weights; or ram: the least arena "
        "(docs/reference/compile.md)."
    ),
]
WeightsInRam = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="BYTES",
        help="RAM for the weights that a run reads most (docs/reference/compile.md).",
    ),
]
Updatable = Annotated[
    bool,
    typer.Option(
        "--updatable",
        help="Weights apart from the code, which m3net device update exchanges "
        "(docs/reference/on_the_board.md).",
    ),
]
EngineName = Annotated[
    Engine,
    typer.Option(
        "--engine",
        envvar="ENGINE",
        help="Run the network as compiled C, or by TensorFlow Lite Micro (docs/design/engine.md).",
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
RecipeOfFile = Annotated[
    str | None,
    typer.Option(help="Front end of a .tflite from elsewhere: a recipe, or a name like mcu."),
]
LabelsOfFile = Annotated[
    Path | None,
    typer.Option(help="Class names of a .tflite from elsewhere: a text file, one a line."),
]
Address = Annotated[
    str, typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:10001.  [default: none]")
]
