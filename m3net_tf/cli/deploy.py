# SPDX-License-Identifier: Apache-2.0
"""Commands that bring a run to a board: export, build, emulate, fit, flash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from m3net_tf.checkout import require_sources
from m3net_tf.cli.common import (
    DEFAULT_BOARD,
    AsJson,
    Board,
    DataDir,
    RunFolder,
    app,
    console,
    print_result,
    progress_beside,
    say,
    say_json,
    say_progress,
)
from m3net_tf.errors import M3NetError
from m3net_tf.locks import writes_into

if TYPE_CHECKING:
    from m3net_tf.firmware.image import FirmwareImage

MlperfMode = Annotated[
    str, typer.Option(help="Mode of MLPerf Tiny after a reset: performance or energy.")
]
MlperfModelId = Annotated[
    str | None, typer.Option(help="MLPerf Tiny's id of the model, such as ic01.  [default: kws01]")
]
Define = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A choice of the board's board.toml; several times."),
]

Engine = Annotated[
    Literal["tflm", "compiled"],
    typer.Option(
        envvar="ENGINE",
        help="Run the network by TensorFlow Lite Micro, or as compiled C (docs/engine.md).",
    ),
]


@app.command("export")
@writes_into("run")
def export_command(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(help="Also cmsis-pack, arduino, platformio or zephyr; several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Quantise a trained run to int8, write what the firmware needs, and certify it."""
    require_sources("firmware")
    from m3net_tf.firmware.layouts import LAYOUTS, write_layout
    from m3net_tf.training import Run

    for name in layout or ():
        if name not in LAYOUTS:
            raise typer.BadParameter(
                f"layout {name!r} is unknown: choose from {', '.join(LAYOUTS)}"
            )
    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.deployment.certification import certify_export
    from m3net_tf.export import export_run  # loads TensorFlow

    log = progress_beside(as_json)
    bundle = export_run(finished, data_dir, log=log)
    certificate = certify_export(bundle, board, run / "firmware" / board, log)
    layouts = [str(write_layout(bundle, name, run / "layouts")) for name in layout or ()]
    manifest = bundle.manifest
    if as_json:
        values = manifest.to_dict()
        facts = {key: values[key] for key in ("arena", "labels", "model", "operators")}
        folder = str(bundle.folder)
        say_json({"folder": folder, **facts, "certificate": certificate, "layouts": layouts})
        return
    for path in layouts:
        say(path)
    say(
        f"{bundle.folder}: network {manifest.model.bytes} bytes, arena "
        f"{manifest.arena.bytes} bytes ({manifest.arena.source}), operators "
        f"{', '.join(manifest.operators)}; certificate: {certificate['scope']}"
    )


@app.command()
@writes_into("run")
def firmware(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    mlperf_mode: MlperfMode = "performance",
    mlperf_model_id: MlperfModelId = None,
    define: Define = None,
    engine: Engine = "tflm",
) -> None:
    """Build the firmware of an exported run for a board."""
    require_sources("firmware")
    from m3net_tf.firmware.summary import summary_lines

    for line in summary_lines(_build(run, board, mlperf_mode, mlperf_model_id, define, engine)):
        say(line)


@app.command()
def emulate(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Held-out clips; default: all.")] = None,
    engine: Engine = "tflm",
    as_json: AsJson = False,
) -> None:
    """Run held-out clips through every stage, the emulated board included, and compare."""
    require_sources("firmware")
    from m3net_tf.training import Run

    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.deployment.chain import chain_table, run_chain  # load TensorFlow

    log = progress_beside(as_json)
    summary = run_chain(finished, board, data_dir, clips, log=log, engine=engine)
    print_result(summary, as_json, chain_table)
    _refuse_drift(run, summary["drift"], engine)


@app.command()
@writes_into("run", makes=True)
def demo(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the demonstration.")],
    run: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    engine: Engine = "tflm",
) -> None:
    """Train, quantise, export and emulate; skips finished steps."""
    require_sources("firmware")
    from m3net_tf import training
    from m3net_tf.deployment.chain import chain_table, run_chain, saved_summary
    from m3net_tf.export import export_run

    training.train(training.load_recipe(recipe), run, data_dir, say)
    finished = training.Run(run)
    export_run(finished, data_dir, log=say)
    summary = saved_summary(finished, board, engine) or run_chain(
        finished, board, data_dir, log=say, engine=engine
    )
    console.print(chain_table(summary))
    _refuse_drift(run, summary["drift"], engine)


@app.command()
def matrix(
    boards: Annotated[
        list[str] | None, typer.Option("--board", help="Emulated board; default: all.")
    ] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(help="Folder of the networks' recipes; default: experiments/matrix."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of runs and builds.")] = Path("runs/matrix"),
    jobs: Annotated[int, typer.Option(min=1, help="Boards at once.")] = 2,
    data_dir: DataDir = None,
    update_baselines: Annotated[
        bool, typer.Option("--update-baselines", help="Accept the figures as the boards' costs.")
    ] = False,
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="No error if nothing can be emulated.")
    ] = False,
) -> None:
    """Emulate every network on every board; compare bytes, and costs with the accepted ones."""
    require_sources("firmware")
    from m3net_tf.deployment import cost_baselines
    from m3net_tf.deployment.matrix import matrix_table, run_matrix, why_no_matrix

    if if_possible and (reason := why_no_matrix(boards or ())):
        say(f"nothing is emulated here: {reason}")
        return
    cells = run_matrix(
        folder, recipes=recipes, boards=boards or (), data_dir=data_dir, jobs=jobs, log=say
    )
    console.print(matrix_table(cells))
    if different := [cell for cell in cells if not cell.bytes_equal]:
        named = ", ".join(f"{cell.network} on {cell.cost.board}" for cell in different)
        raise M3NetError(f"other bytes than on the desktop: {named} ({folder}/matrix.json)")
    path = cost_baselines.PATH
    measured = {(cell.cost.board, cell.network): cell.cost for cell in cells}
    changes = cost_baselines.compare(measured) if path.exists() or not update_baselines else []
    if changes:
        console.print(cost_baselines.changes_table(changes))
    if update_baselines:
        cost_baselines.update(measured)
        say(f"{path} has these figures now")
    elif failing := cost_baselines.exceeded(changes):
        raise M3NetError(
            f"{len(failing)} costs are above {path} by more than "
            f"{100 * cost_baselines.ALLOWANCE:g} %: make them cheaper, or accept them by "
            "m3net matrix --update-baselines"
        )


@app.command()
def fit(
    run: RunFolder,
    boards: Annotated[
        list[str] | None,
        typer.Option("--board", help="Board, several times; default: all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Memory and processor time that an exported run needs on each board, and if they suffice."""
    require_sources("firmware")
    from m3net_tf.deployment.fit import run_fit
    from m3net_tf.deployment.fit_text import fit_report

    result = run_fit(run, boards or (), say_progress)
    if as_json:
        say_json(result.to_dict())
    else:
        console.print(fit_report(result))


@app.command()
@writes_into("run")
def flash(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    mlperf_mode: MlperfMode = "performance",
    mlperf_model_id: MlperfModelId = None,
    define: Define = None,
    engine: Engine = "tflm",
) -> None:
    """Build the firmware of an exported run and write it to a board."""
    require_sources("firmware")
    from m3net_tf.firmware.flash import flash_image, flash_way

    flash_way(board)  # a missing tool is reported before the build
    flash_image(_build(run, board, mlperf_mode, mlperf_model_id, define, engine), say)


def _refuse_drift(run: Path, drift: list[str], engine: str) -> None:
    if drift:
        file = "export/certificate.md" if engine == "tflm" else "summary_compiled.json"
        raise M3NetError(f"{run}: {'; '.join(drift)}; see {file}")


def _build(
    run: Path,
    board: str,
    mlperf_mode: str,
    mlperf_model_id: str | None,
    define: list[str] | None,
    engine: str,
) -> FirmwareImage:
    """Build the firmware of an exported run with the options of the command line."""
    from m3net_tf.emulation.starting import build_run
    from m3net_tf.firmware.mlperf import mlperf_settings

    settings = [*mlperf_settings(mlperf_mode, mlperf_model_id), *(define or ())]
    return build_run(run, board, settings, say, engine)
