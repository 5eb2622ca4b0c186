# SPDX-License-Identifier: Apache-2.0
"""Commands that bring a run to a board: export, build, emulate, fit, flash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.common import (
    DEFAULT_BOARD,
    AsJson,
    Board,
    DataDir,
    RunFolder,
    app,
    console,
    say,
)
from m3net_tf.errors import M3NetError


@app.command("export")
def export_command(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(help="Also as cmsis-pack, arduino, platformio or zephyr; several times."),
    ] = None,
) -> None:
    """Quantise a trained run to int8, write what the firmware needs, and certify it."""
    from m3net_tf.training import Run

    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.export import export_run  # loads TensorFlow
    from m3net_tf.firmware.layouts import LAYOUTS, write_layout
    from m3net_tf.reports.chain import certify_export

    for name in layout or ():
        if name not in LAYOUTS:
            raise typer.BadParameter(
                f"layout {name!r} is unknown: choose from {', '.join(LAYOUTS)}"
            )
    bundle = export_run(finished, data_dir, log=say)
    certificate = certify_export(bundle, board, run / "firmware" / board, say)
    for name in layout or ():
        say(str(write_layout(bundle, name, run / "layouts")))
    manifest = bundle.manifest
    say(
        f"{bundle.folder}: network {manifest['model']['bytes']} bytes, arena "
        f"{manifest['arena']['bytes']} bytes ({manifest['arena']['source']}), operators "
        f"{', '.join(manifest['operators'])}; certificate: {certificate['scope']}"
    )


@app.command()
def firmware(run: RunFolder, board: Board = DEFAULT_BOARD) -> None:
    """Build the firmware of an exported run for a board."""
    from m3net_tf.export import Bundle
    from m3net_tf.firmware.build import build_firmware

    bundle = Bundle.load(run / "export")
    image = build_firmware(bundle.folder, board, run / "firmware" / board, report=say)
    say(f"{image.elf}: flash {image.flash_bytes} bytes, RAM {image.ram_bytes} bytes")


@app.command()
def emulate(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(help="Held-out clips; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run held-out clips through every stage, the emulated board included, and compare."""
    from m3net_tf.training import Run

    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.reports.chain import chain_table, run_chain  # load TensorFlow

    summary = run_chain(finished, board, data_dir, clips, (lambda _: None) if as_json else say)
    if as_json:
        say(json.dumps(summary, indent=2, sort_keys=True))
    else:
        console.print(chain_table(summary))
    if summary["drift"]:
        raise M3NetError(f"{run}: {'; '.join(summary['drift'])}; see export/certificate.md")


@app.command()
def demo(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the demonstration.")],
    run: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
) -> None:
    """Train, quantise, export and emulate; what is already done is not done again."""
    from m3net_tf import training
    from m3net_tf.export import export_run
    from m3net_tf.reports.chain import chain_table, run_chain, saved_summary

    training.train(training.load_recipe(recipe), run, data_dir, say)
    finished = training.Run(run)
    export_run(finished, data_dir, log=say)
    summary = saved_summary(finished, board) or run_chain(finished, board, data_dir, log=say)
    console.print(chain_table(summary))
    if summary["drift"]:
        raise M3NetError(f"{run}: {'; '.join(summary['drift'])}; see export/certificate.md")


@app.command()
def matrix(
    boards: Annotated[
        list[str] | None, typer.Option("--board", help="Emulated board; all by default.")
    ] = None,
    recipes: Annotated[Path, typer.Option(help="Folder of the networks' recipes.")] = Path(
        "experiments/matrix"
    ),
    folder: Annotated[Path, typer.Option(help="Where runs and builds are kept.")] = Path(
        "runs/matrix"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Boards at once.")] = 2,
    data_dir: DataDir = None,
    update_budgets: Annotated[
        bool, typer.Option("--update-budgets", help="Make the figures the boards' budgets.")
    ] = False,
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="No error where nothing can be emulated.")
    ] = False,
) -> None:
    """Emulate every network on every board; compare bytes, and costs with their budgets."""
    from m3net_tf.reports import budgets
    from m3net_tf.reports.matrix import matrix_table, run_matrix, why_no_matrix

    if if_possible and (reason := why_no_matrix(boards or ())):
        say(f"nothing is emulated here: {reason}")
        return
    result = run_matrix(
        folder, recipes=recipes, boards=boards or (), data_dir=data_dir, jobs=jobs, log=say
    )
    if not console.is_terminal:
        console.width = 140  # a log need not be cut at 80 columns
    console.print(matrix_table(result))
    if different := [cell for cell in result["cells"] if not cell["bytes_equal"]]:
        named = ", ".join(f"{cell['network']} on {cell['board']}" for cell in different)
        raise M3NetError(f"other bytes than on the desktop: {named} ({folder}/matrix.json)")
    changes = budgets.compare(result) if budgets.BUDGETS.exists() or not update_budgets else []
    if changes:
        console.print(budgets.changes_table(changes))
    if update_budgets:
        budgets.update(result)
        say(f"{budgets.BUDGETS} has these figures now")
    elif failing := budgets.exceeded(changes):
        raise M3NetError(
            f"{len(failing)} costs are above {budgets.BUDGETS} by more than "
            f"{100 * budgets.ALLOWANCE:g} %: make them cheaper, or accept them by "
            "m3net matrix --update-budgets"
        )


@app.command()
def fit(
    run: RunFolder,
    boards: Annotated[
        list[str] | None,
        typer.Option("--board", help="Board, several times; all by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What an exported run takes of each board: memory, share of the clock, real time or not."""
    from m3net_tf.reports.fit import fit_table, run_fit

    result = run_fit(run, boards or (), (lambda _: None) if as_json else say)
    if as_json:
        say(json.dumps(result, indent=2, sort_keys=True))
    else:
        console.print(fit_table(result))


@app.command()
def flash(run: RunFolder, board: Board = DEFAULT_BOARD) -> None:
    """Build the firmware of an exported run and write it to a board."""
    from m3net_tf.export import Bundle
    from m3net_tf.firmware.build import build_firmware
    from m3net_tf.firmware.flash import flash_image

    bundle = Bundle.load(run / "export")
    image = build_firmware(bundle.folder, board, run / "firmware" / board, report=say)
    flash_image(image)
