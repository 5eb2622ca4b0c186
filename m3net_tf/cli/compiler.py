# SPDX-License-Identifier: Apache-2.0
"""The command that compiles a network into C: ``m3net compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import AsJson, Hop, Optimise
from m3net_tf.cli.output import say, say_json
from m3net_tf.compiler.goals import DEFAULT_GOAL, GOALS
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ModelError


@app.command("compile")
def compile_command(
    model: Annotated[Path, typer.Argument(help="A full-int8 .tflite file, of any origin.")],
    out: Annotated[Path, typer.Option(help="Folder for the generated C and the engine's sources.")],
    name: Annotated[str, typer.Option(help="Prefix of all names in C, and name of the files.")] = (
        "model"
    ),
    solver: Annotated[
        bool,
        typer.Option("--solver", help="Plan the memory with OR-Tools, which proves the optimum."),
    ] = False,
    optimise: Optimise = DEFAULT_GOAL,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Take some frames at a time: NAME_push (docs/streaming.md)."),
    ] = False,
    axis: Annotated[
        int | None,
        typer.Option(help="Time axis of the input.  [default: that which leaves the least work]"),
    ] = None,
    hop: Hop = None,
    as_json: AsJson = False,
) -> None:
    """Compile a .tflite file to C that gives the same output bytes as TFLite Micro."""
    require_sources("firmware")
    from m3net_tf.compiler.folder import report_lines, write_network
    from m3net_tf.compiler.network import compile_network
    from m3net_tf.compiler.solver import solve
    from m3net_tf.compiler.streaming.network import stream_network

    if not stream and (axis is not None or hop is not None):
        raise typer.BadParameter("--axis and --hop need --stream")
    improve = solve if solver else None
    try:
        tflite = model.read_bytes()
        if stream:
            network = stream_network(tflite, axis, hop, improve, GOALS[optimise])
        else:
            network = compile_network(tflite, improve, GOALS[optimise])
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from None
    facts = write_network(network, out, name)
    if as_json:
        say_json({"folder": str(out), **facts})
        return
    for line in report_lines(f"{out}/{name}.c", facts):
        say(line)
