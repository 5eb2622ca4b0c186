# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net normal``: from normal sounds to an export that reports others."""

from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import DEFAULT_BOARD, AsJson, Board
from m3net_tf.cli.output import print_lines, progress_beside, say_next
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.extras import require_modules

DEFAULT_BODY = "sounds_s"


@app.command()
def normal(
    sounds: Annotated[
        Path,
        typer.Argument(help="Folder of normal sounds, or of a machine of MIMII or DCASE task 2."),
    ],
    body: Annotated[
        Path, typer.Option(help="Trained network, run or .tflite that ends in a dense layer.")
    ] = Path(DEFAULT_BODY),
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export; default: runs/<SOUNDS>.")
    ] = None,
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Any other sounds, half an hour or more; repeatable."),
    ] = None,
    false_alarms_per_day: Annotated[
        float, typer.Option(help="False alarms a day that the threshold allows.")
    ] = 1.0,
    only: Annotated[
        str, typer.Option(help="Take files with this text in their paths, such as id_00.")
    ] = "",
    group_pattern: Annotated[
        str,
        typer.Option(
            metavar="REGEX",
            help="Recording of a file: what the first parentheses match in its path.",
        ),
    ] = "",
    board: Board = DEFAULT_BOARD,
    as_json: AsJson = False,
) -> None:
    """Report what is not like normal sounds: prototypes, threshold and export, without training.

    Where the folder has anomalies for a test, AUC and pAUC are measured, too.
    """
    require_sources("firmware")
    require_modules("m3net normal", "train", "sklearn", "scipy")
    from m3net_tf.anomaly.making import NETWORK, make_normal, normal_lines

    folder = out or Path("runs") / sounds.resolve().name
    _, facts = make_normal(
        sounds,
        body,
        folder,
        background=background or (),
        false_alarms_per_day=false_alarms_per_day,
        only=only,
        group_pattern=group_pattern,
        log=progress_beside(as_json),
    )
    print_lines({"folder": str(folder), **facts}, as_json, lambda _: normal_lines(facts))
    if not as_json:
        say_next("m3net", "export", folder / NETWORK, "--out", folder, "--board", board)
