# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.engines import Engine

DataDir = Annotated[
    Path | None, typer.Option(envvar="DATA_DIR", help="Folder that contains the data set.")
]
RunFolder = Annotated[Path, typer.Argument(help="Run folder, such as runs/demo.")]
Board = Annotated[str, typer.Option(envvar="BOARD", help="Board, a folder of firmware/boards.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlwaysJson = Annotated[bool, typer.Option("--json", help="Print JSON, as it does without.")]
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
