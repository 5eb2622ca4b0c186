# SPDX-License-Identifier: Apache-2.0
"""Commands that run a network on a board or here: build, emulate, footprint, flash, compile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from m3net_tf.cli.app import app
from m3net_tf.cli.options import (
    DEFAULT_BOARD,
    AsJson,
    Board,
    DataDir,
    EngineName,
    EngineOfExport,
    Hop,
    Optimise,
    RunFolder,
    WeightsInRam,
    complete_boards,
)
from m3net_tf.cli.output import (
    make_console,
    print_lines,
    print_result,
    progress_beside,
    say,
    say_json,
    say_next,
)
from m3net_tf.compiler.engines import DEFAULT_ENGINE, ENGINES, Engine
from m3net_tf.compiler.goals import DEFAULT_GOAL, goal_of
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted

if TYPE_CHECKING:
    from m3net_tf.boards.builds.image import FirmwareImage
    from m3net_tf.boards.measure.chain import ChainSummary
    from m3net_tf.boards.measure.matrix import MatrixCell


MlperfMode = Annotated[
    str, typer.Option(help="Mode of MLPerf Tiny after a reset: performance or energy.")
]
MlperfModelId = Annotated[
    str | None, typer.Option(help="MLPerf Tiny's id of the model, such as ic01.  [default: kws01]")
]
Boards = Annotated[
    list[str] | None,
    typer.Option(
        "--board",
        metavar="NAME",
        autocompletion=complete_boards,
        help="Board; repeatable; default: all.",
    ),
]
Define = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Setting of the board's board.toml; repeatable."),
]


@app.command()
@writes_into("run")
def firmware(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    mlperf_mode: MlperfMode = "performance",
    mlperf_model_id: MlperfModelId = None,
    define: Define = None,
    engine: EngineOfExport = None,
    as_json: AsJson = False,
) -> None:
    """Build the firmware of an exported run for a board."""
    require_sources("firmware")
    from m3net_tf.boards.builds.image import image_facts, summary_lines

    log = progress_beside(as_json)
    image = _build(run, board, mlperf_mode, mlperf_model_id, define, engine, log)
    print_lines(image_facts(image), as_json, lambda _: summary_lines(image))


@app.command()
def emulate(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Held-out clips; default: all.")] = None,
    engine: EngineOfExport = None,
    as_json: AsJson = False,
) -> None:
    """Run held-out clips through every stage, including the emulated board, and compare."""
    require_sources("firmware")
    from m3net_tf.training import Run

    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.boards.measure.chain import run_chain  # loads TensorFlow

    log = progress_beside(as_json)
    summary = run_chain(finished, board, data_dir, clips, log=log, engine=engine)
    _say_summary(run, summary, as_json)


@app.command()
@writes_into("run", makes=True)
def demo(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe; default: experiments/mcu/m3net_synth.yaml.")
    ] = None,
    run: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    engine: EngineName = DEFAULT_ENGINE,
    as_json: AsJson = False,
) -> None:
    """Train, quantise, export and emulate, without repeating finished steps."""
    require_sources("firmware")
    from m3net_tf import training
    from m3net_tf.boards.measure.chain import run_chain, saved_summary
    from m3net_tf.export import export_run

    recipe = recipe or require_sources("experiments") / "mcu" / "m3net_synth.yaml"
    log = progress_beside(as_json)
    training.train(training.load_recipe(recipe), run, data_dir, log)
    finished = training.Run(run)
    export_run(finished, data_dir, log=log, engine=engine)
    summary = saved_summary(finished, board) or run_chain(finished, board, data_dir, log=log)
    _say_summary(run, summary, as_json)


@app.command()
def matrix(
    boards: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            metavar="NAME",
            autocompletion=complete_boards,
            help="Emulated board; repeatable; default: all.",
        ),
    ] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(help="Folder of the networks' recipes; default: experiments/matrix."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of runs and builds.")] = Path("runs/matrix"),
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", metavar="NAME", help="Engine; repeatable; default: all."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Boards to emulate at once.")] = 2,
    data_dir: DataDir = None,
    update_baselines: Annotated[
        bool, typer.Option("--update-baselines", help="Accept the figures as the new baselines.")
    ] = False,
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="Leave out what cannot be built or emulated here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Emulate every network on every board; compare output bytes, and costs with the baselines."""
    require_sources("firmware")
    from m3net_tf.boards.measure.matrix import matrix_table, run_matrix

    if unknown := [name for name in engines or () if name not in ENGINES]:
        raise typer.BadParameter(f"engine {unknown[0]!r} is not one of {', '.join(ENGINES)}")
    chosen = [name for name in ENGINES if not engines or name in engines]
    log = progress_beside(as_json)
    cells = run_matrix(
        folder,
        recipes=recipes,
        boards=boards or (),
        engines=chosen,
        if_possible=if_possible,
        data_dir=data_dir,
        jobs=jobs,
        log=log,
    )
    print_result(
        {"cells": [cell.to_dict() for cell in cells]}, as_json, lambda _: matrix_table(cells)
    )
    if different := [cell for cell in cells if not cell.bytes_equal]:
        named = ", ".join(f"{it.network} on {it.place.board} ({it.engine})" for it in different)
        raise M3NetError(f"other bytes than on the desktop: {named} ({folder}/matrix.json)")
    _check_costs(cells, make_console(stderr=as_json), update=update_baselines)


def _check_costs(cells: Sequence[MatrixCell], out: Console, *, update: bool) -> None:
    """Compare the costs with the accepted ones, or accept them."""
    from m3net_tf.boards.measure import baselines

    path = baselines.PATH
    measured = {cell.place: cell.cost for cell in cells}
    changes = baselines.compare(measured) if path.exists() or not update else []
    if changes:
        out.print(baselines.changes_table(changes))
    if update:
        baselines.update(measured)
        out.print(f"{path} has these figures now")
    elif failing := baselines.exceeded(changes):
        raise M3NetError(
            f"{counted(len(failing), 'cost')} above {path} by more than "
            f"{100 * baselines.ALLOWANCE:g} %: make them cheaper, or accept them by "
            "m3net matrix --update-baselines"
        )


@app.command()
def footprint(
    run: RunFolder,
    boards: Boards = None,
    engine: EngineOfExport = None,
    as_json: AsJson = False,
) -> None:
    """Show the memory and processor time that a run needs on each board, and whether it fits."""
    require_sources("firmware")
    from m3net_tf.boards.measure.footprint import footprint_table, measure_footprint

    result = measure_footprint(run, boards or (), progress_beside(True), engine)
    print_result(result.to_dict(), as_json, lambda _: footprint_table(result))


@app.command()
@writes_into("run")
def flash(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    engine: EngineOfExport = None,
    define: Define = None,
    mlperf_mode: MlperfMode = "performance",
    mlperf_model_id: MlperfModelId = None,
    as_json: AsJson = False,
) -> None:
    """Build the firmware of an exported run and write it to a board."""
    require_sources("firmware")
    from m3net_tf.boards.builds.flash import flash_image, flash_way
    from m3net_tf.boards.builds.image import image_facts

    flash_way(board)  # a missing tool is reported before the build
    log = progress_beside(as_json)
    image = _build(run, board, mlperf_mode, mlperf_model_id, define, engine, log)
    flash_image(image, log)
    if as_json:
        say_json(image_facts(image))


def _say_summary(run: Path, summary: ChainSummary, as_json: bool) -> None:
    """Print the comparison of the stages, the speed and the next command."""
    from m3net_tf.boards.measure.chain import chain_table, drift_file
    from m3net_tf.boards.measure.real_time import Pace, pace_lines
    from m3net_tf.system.conversion import from_plain

    print_result(summary, as_json, chain_table)
    if drift := summary["drift"]:
        raise M3NetError(f"{run}: {'; '.join(drift)}; see {drift_file(run, summary)}")
    if as_json:
        return
    for line in pace_lines(
        summary["board"], from_plain(Pace, summary["pace"], "pace") if "pace" in summary else None
    ):
        say(line)
    say_next("m3net", "report", run)


def _build(
    run: Path,
    board: str,
    mlperf_mode: str,
    mlperf_model_id: str | None,
    define: list[str] | None,
    engine: Engine | None,
    log: Log,
) -> FirmwareImage:
    """Build the firmware of an exported run with the options of the command line."""
    from m3net_tf.boards.builds.build import mlperf_settings
    from m3net_tf.boards.emulation.starting import build_run

    settings = [*mlperf_settings(mlperf_mode, mlperf_model_id), *(define or ())]
    return build_run(run, board, settings, log, engine)


@app.command("compile")
def compile_command(
    model: Annotated[
        Path,
        typer.Argument(
            help="A full-int8 .tflite file of any origin, C with its array, or the .json file of a "
            "wake word of microWakeWord."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the generated C and the engine's sources.")],
    name: Annotated[str, typer.Option(help="Prefix of all names in C, and name of the files.")] = (
        "model"
    ),
    solver: Annotated[
        bool,
        typer.Option("--solver", help="Plan the memory with OR-Tools, which proves the optimum."),
    ] = False,
    optimise: Optimise = DEFAULT_GOAL,
    weights_in_ram: WeightsInRam = 0,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Take some frames at a time: NAME_push (docs/design/streaming.md)."
        ),
    ] = False,
    axis: Annotated[
        int | None,
        typer.Option(help="Time axis of the input.  [default: the one with the least work]"),
    ] = None,
    hop: Hop = None,
    as_json: AsJson = False,
) -> None:
    """Compile a .tflite file to C that gives the same output bytes as TFLite Micro."""
    require_sources("firmware")
    from m3net_tf.compiler.folder import report_lines, write_network
    from m3net_tf.compiler.names import require_name
    from m3net_tf.compiler.network import compile_network
    from m3net_tf.compiler.solver import solve
    from m3net_tf.compiler.streaming.network import stream_network
    from m3net_tf.compiler.wake_words import SUFFIX, detection_header, read_wake_word
    from m3net_tf.system.artifacts import write_text
    from m3net_tf.tflite.model_file import read_model_file

    if not stream and (axis is not None or hop is not None):
        raise typer.BadParameter("--axis and --hop need --stream")
    improve = solve if solver else None
    goal = goal_of(optimise, weights_in_ram)
    require_name(name)
    word = read_wake_word(model) if model.suffix == SUFFIX else None
    if word and stream:
        raise ConfigError(f"{model} is of a network that streams by itself: leave out --stream")
    model = word.model if word else model
    tflite = read_model_file(model)
    try:
        if stream:
            network = stream_network(tflite, axis, hop, improve, goal)
        else:
            network = compile_network(tflite, improve, goal)
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from None
    detection = detection_header(word, network, name) if word else ""
    facts = write_network(network, out, name)
    if detection:
        write_text(out / f"{name}_detection.h", detection)
    made = {"folder": str(out), **facts}
    print_lines(made, as_json, lambda _: report_lines(out, name, facts))
