# SPDX-License-Identifier: Apache-2.0
"""The command that makes bodies for everybody's sounds: ``m3net lab body``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import print_lines, progress_beside
from m3net_tf.lab.commands.papers import lab_app
from m3net_tf.system.checkout import require_sources


@lab_app.command()
def body(
    preset: Annotated[str, typer.Argument(help="Preset of mobilenet, such as sounds_m.")],
    sounds: Annotated[
        list[Path],
        typer.Option(
            metavar="FOLDER", help="Folder of unlabelled sound, in subfolders; repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    teacher: Annotated[
        str, typer.Option(help="YAMNet's .tflite, or yamnet after m3net data fetch yamnet.")
    ] = "yamnet",
    patches: Annotated[
        int, typer.Option(min=1, help="Mixtures of 0.975 s that the network learns from.")
    ] = 65_536,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps, rounded up to whole passes over the mixtures.")
    ] = 30_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sounds, mixtures and order.")] = 0,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each operation, as training.threads.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Make a small network that knows YAMNet's sounds; resumes after a stop."""
    require_sources("firmware")
    from m3net_tf.lab.bodies.making import Settings, make_body

    metrics = make_body(
        Settings(preset, teacher, patches, steps, seed, threads),
        sounds,
        out,
        progress_beside(as_json),
    )
    facts = {
        "folder": str(out),
        "parameters": metrics.parameters,
        "macs": metrics.macs,
        "agreement": dict(metrics.test),
        "int8": dict(metrics.values["int8"]),
    }
    print_lines(facts, as_json, lambda _: [f"{out}: m3net model pack {out} FOLDER"])
