# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import (
    DEFAULT_BOARD,
    AsJson,
    Board,
    DataDir,
    EngineName,
    LabelsOfFile,
    Optimise,
    RecipeOfFile,
    Updatable,
    WeightsInRam,
    complete_runs,
    is_trained_network,
    run_folder,
)
from m3net_tf.cli.output import progress_beside, say, say_json, say_next
from m3net_tf.compiler.engines import DEFAULT_ENGINE, Engine
from m3net_tf.compiler.goals import DEFAULT_GOAL
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log

if TYPE_CHECKING:
    from m3net_tf.boards.measure.comparison import Certificate
    from m3net_tf.export import Bundle


@app.command("export")
def export_command(
    model: Annotated[
        Path,
        typer.Argument(
            autocompletion=complete_runs, help="Run folder, trained network, or .tflite file."
        ),
    ],
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that gets export/; default: the run, with --enrol RUN_enrol, or runs/NAME "
            "for a trained network."
        ),
    ] = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also a library: c, cmsis-pack, arduino, esp-idf, esphome, platformio or "
            "zephyr; repeatable.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For --layout: start of all names in C, for programs with several libraries.",
        ),
    ] = None,
    engine: EngineName = DEFAULT_ENGINE,
    recipe: RecipeOfFile = None,
    labels: LabelsOfFile = None,
    enrol: Annotated[
        int | None,
        typer.Option(
            min=1, max=16, help="Words or sounds that the board learns by m3net device enrol."
        ),
    ] = None,
    background: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="For --enrol: hours of any speech and sounds; repeatable."
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Live detection streams; default: if it pays."),
    ] = None,
    gain: Annotated[
        str | None,
        typer.Option(
            metavar="DB",
            help="Gain of the microphone in live detection, 0 to 36 dB; or auto: slowly, where it "
            "is much too quiet.  [default: the run's]",
        ),
    ] = None,
    optimise: Optimise = DEFAULT_GOAL,
    weights_in_ram: WeightsInRam = 0,
    updatable: Updatable = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a trained run to int8, write everything that firmware needs, and certify it.

    A trained network or a .tflite file keeps its bytes, and needs no data set and no TensorFlow.
    A run needs its data set unless it has an int8 network, from m3net quantize or an export.
    """
    require_sources("firmware")
    from m3net_tf.audio.frontend.level import Gain
    from m3net_tf.boards.builds.layouts import LAYOUTS, check_prefix, write_layout

    if unknown := [name for name in layout or () if name not in LAYOUTS]:
        raise typer.BadParameter(
            f"layout {unknown[0]!r} is unknown: choose from {', '.join(LAYOUTS)}"
        )
    if name:
        if not layout:
            raise ConfigError("--name is for --layout: give both")
        check_prefix(name, layout)
    if layout and updatable:
        raise ConfigError("--updatable is for m3net firmware: a library has no slots for models")
    amplified = Gain.parse(gain) if gain else None
    log = progress_beside(as_json)
    source, folder = _export_source(model, out, data_dir)
    if (recipe or labels) and not _is_file(source):
        raise ConfigError(f"{source} is not a file: --recipe and --labels are for a .tflite file")
    if background and not enrol:
        raise ConfigError("--background is for --enrol: give both")
    if enrol and not _is_file(source):
        if out in (None, source):
            folder = source.with_name(f"{source.name}_enrol")
        source = _export_run(source, source, data_dir, engine, log, None).folder / "model.tflite"
    with in_use(folder):
        if _is_file(source):
            from m3net_tf.export.from_file import export_file

            bundle = export_file(
                source,
                folder,
                log,
                engine,
                recipe=recipe,
                labels=labels,
                enrolment_slots=enrol,
                background=background or (),
                stream=stream,
            )
        else:
            bundle = _export_run(source, folder, data_dir, engine, log, stream)
        if amplified:
            bundle.set_detector(bundle.detector.with_gain(amplified), log)
        bundle.set_goal(optimise, weights_in_ram, log, updatable=updatable)
        certificate = _certified(bundle, board, folder, engine, log)
        layouts = [
            str(write_layout(bundle, each, folder / "layouts", name)) for each in layout or ()
        ]
    if as_json:
        say_json(_export_facts(bundle, certificate, layouts, folder, board))
        return
    _say_export(bundle, certificate, layouts, folder, board)
    say_next("m3net", *_next_words(source, folder, board))


def _certified(bundle: Bundle, board: str, folder: Path, engine: Engine, log: Log) -> Certificate:
    """The certificate of an export on a board or, if nothing emulates it, on one with its core."""
    from m3net_tf.boards.builds.boards import emulated_board
    from m3net_tf.boards.emulation.starting import firmware_folder
    from m3net_tf.boards.measure.certificate import certify_export

    emulated = emulated_board(board) or board
    return certify_export(bundle, emulated, firmware_folder(folder, emulated, engine), log)


def _next_words(source: Path, folder: Path, board: str) -> tuple[str | Path, ...]:
    """The command after an export; one of a file has no clips to emulate."""
    from m3net_tf.boards.builds.boards import emulated_board

    if _is_file(source):
        return "footprint", folder
    return "emulate" if emulated_board(board) == board else "flash", folder, "--board", board


def _say_export(
    bundle: Bundle, certificate: Certificate, layouts: list[str], folder: Path, board: str
) -> None:
    from m3net_tf.boards.measure.real_time import measured_pace, pace_lines
    from m3net_tf.compiler.folder import report_lines

    for name, network in bundle.compiled.items():
        for line in report_lines(bundle.folder / "compiled", name, network):
            say(line)
    for path in layouts:
        say(path)
    manifest = bundle.manifest
    say(
        f"{bundle.folder}: network {manifest.model.bytes} bytes, arena "
        f"{manifest.arena.bytes} bytes ({manifest.arena.source}), operators "
        f"{', '.join(manifest.operators)}; certificate: {certificate['scope']}"
    )
    if bundle.detector.gain.used:
        say(f"gain of the microphone: {bundle.detector.gain.words}; --gain 0 leaves it out")
    for line in pace_lines(board, measured_pace(folder, board)):
        say(line)


def _export_facts(
    bundle: Bundle, certificate: Certificate, layouts: list[str], folder: Path, board: str
) -> dict[str, object]:
    """What ``m3net export --json`` prints."""
    from m3net_tf.boards.measure.real_time import measured_pace

    pace = measured_pace(folder, board)
    values = bundle.manifest.to_dict()
    return {
        **{key: values[key] for key in ("arena", "engine", "labels", "model", "operators")},
        "folder": str(bundle.folder),
        "compiled": bundle.compiled,
        "certificate": certificate,
        "layouts": layouts,
        "pace": pace and asdict(pace),
    }


def _export_source(model: Path, out: Path | None, data_dir: Path | None) -> tuple[Path, Path]:
    """The ``.tflite`` or the run to export, and the folder that gets ``export/``."""
    if model.suffix == ".json":
        raise ConfigError(
            f"{model}: a wake word of microWakeWord has features of another front end, which no "
            f"export has: m3net compile {model}"
        )
    if is_trained_network(model) and data_dir is None:
        return FOLDER / model / "model.tflite", run_folder(model, out)
    if _is_file(model):
        from m3net_tf.tflite.model_file import read_model_file

        read_model_file(model)  # refuses other files before the folder is asked for
        if out is None:
            raise ConfigError(f"{model} is a file: name a folder for its export by --out")
        return model, out
    run = run_folder(model, out)
    return run, out or run


def _is_file(path: Path) -> bool:
    """Whether an argument is a file, or should be one."""
    return path.is_file() or path.suffix == ".tflite"


def _export_run(
    source: Path,
    folder: Path,
    data_dir: Path | None,
    engine: Engine,
    log: Log,
    stream: bool | None,
) -> Bundle:
    from m3net_tf.export.ready import has_int8_network, packed_network, require_clips
    from m3net_tf.training import Run

    run = Run(source)
    target = folder / "export"
    if data_dir is not None:
        run.check(data_dir)
    elif not has_int8_network(run, target):
        if tflite := packed_network(run):
            from m3net_tf.export.from_file import export_file

            path = run.detector_path
            return export_file(tflite, folder, log, engine, detector_path=path, stream=stream)
        require_clips(run)
    from m3net_tf.export import export_run  # loads TensorFlow

    return export_run(run, data_dir, target, log, engine, stream)
