# SPDX-License-Identifier: Apache-2.0
"""The command line: thin, one function a command. Errors that a user can mend exit with 2."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3net_tf import __version__
from m3net_tf.errors import M3NetError

app = typer.Typer(
    name="m3net",
    help="Sound recognition, from a paper to a microcontroller.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Data sets.")
model_app = typer.Typer(help="Networks.")
bench_app = typer.Typer(help="Measurements, as JSON.")
device_app = typer.Typer(help="A board that runs the firmware.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")

console = Console()

DataDir = Annotated[
    Path | None, typer.Option(envvar="DATA_DIR", help="Folder that holds the data set.")
]
RunFolder = Annotated[Path, typer.Argument(help="Run folder, such as runs/demo.")]
Board = Annotated[str, typer.Option(envvar="BOARD", help="Board, a folder of firmware/boards.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_BOARD = "mps2_an386"
INTERRUPTED = 130
# Click's UsageError; newer typers carry a copy of click of their own, so it is reached from here.
UsageError: Any = typer.BadParameter.__mro__[1]


def _say(line: str) -> None:
    print(line, flush=True)


def _tell(line: str) -> None:
    """Progress of what prints JSON."""
    print(line, file=sys.stderr, flush=True)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file of experiments/.")],
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/<recipe>.")] = None,
    data_dir: DataDir = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead of the recipe's; by its official protocol.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's epochs.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs that share each batch.")] = 1,
) -> None:
    """Train a network by a recipe; a stopped training goes on where it was."""
    import dataclasses

    from m3net_tf import training

    plan = training.load_recipe(recipe)
    given = {"seed": seed, "epochs": epochs}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    plan = dataclasses.replace(plan, training=dataclasses.replace(plan.training, **changes))
    if dataset and dataset != plan.dataset.name:
        plan = dataclasses.replace(plan, dataset=training.recipe.DatasetSection(dataset))
    folder = run or Path("runs") / recipe.stem
    metrics = training.train(plan, folder, data_dir, _say, devices)
    test = metrics["test"]
    if "accuracy" in test:
        reached = (
            f"accuracy {100 * test['accuracy']:.2f} % (95 %: "
            f"{100 * test['accuracy_95_low']:.1f} to {100 * test['accuracy_95_high']:.1f})"
        )
    else:
        reached = f"mAP {100 * test['mean_average_precision']:.2f} %"
    _say(
        f"{folder}: test {reached} on {test['clips']} clips of {metrics['dataset']['name']}, "
        f"{metrics['dataset']['protocol']}"
    )


@app.command()
def quantize(
    run: RunFolder,
    method: Annotated[
        str | None,
        typer.Option(
            help="ptq or qat, then any of +prune50, +cluster16, +least-error or +p99.99, "
            "+equalize, +bias; or int16x8. Default: ptq."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Try methods until the accuracy holds.")
    ] = False,
    bound: Annotated[
        float, typer.Option(help="With --repair: points of validation accuracy it may lose.")
    ] = 0.5,
    calibration_clips: Annotated[
        int | None, typer.Option(min=1, help="Instead of the recipe's number.")
    ] = None,
    ranking_clips: Annotated[
        int, typer.Option(min=0, help="Validation clips that rank the layers; 0: no ranking.")
    ] = 500,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each training for int8; instead of the recipe's.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Run that teaches in it; the run itself may be it.")
    ] = None,
    first_layer: Annotated[
        str | None, typer.Option(help="First layer that qat changes; default: all.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Quantise a run; report what each tensor, layer and class loses; export takes the result."""
    from m3net_tf.quantization.methods import FineTuning, Method
    from m3net_tf.quantization.pipeline import quantize_run
    from m3net_tf.quantization.report import summary_table
    from m3net_tf.training import Run

    if repair and (method or first_layer):
        raise typer.BadParameter("--repair finds both itself: leave --method, --first-layer out")
    report = quantize_run(
        Run(run),
        data_dir,
        None if repair else Method.parse(method or "ptq"),
        bound_points=bound if repair else None,
        calibration_clips=calibration_clips,
        ranking_clips=ranking_clips,
        fine_tuning=FineTuning(epochs, str(teacher) if teacher else None, first_layer),
        log=(lambda _: None) if as_json else _say,
    )
    if as_json:
        _say(json.dumps(report, indent=2, sort_keys=True))
    else:
        console.print(summary_table(report))
        _say(f"{run / 'quantized' / 'report.md'} has all figures; m3net export takes this network")
    if repair and not report["within_bound"]:
        raise M3NetError(
            f"{run}: no method keeps within {bound:g} points on validation; {report['method']} "
            f"loses least, {report['validation']['drop_points']:.2f}: raise --bound, or train on"
        )


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
    from m3net_tf.export import export_run
    from m3net_tf.firmware.layouts import LAYOUTS, write_layout
    from m3net_tf.reports.chain import certify_export
    from m3net_tf.training import Run

    for name in layout or ():
        if name not in LAYOUTS:
            raise typer.BadParameter(
                f"layout {name!r} is unknown: choose from {', '.join(LAYOUTS)}"
            )
    bundle = export_run(Run(run), data_dir, log=_say)
    certificate = certify_export(bundle, board, run / "firmware" / board, _say)
    for name in layout or ():
        _say(str(write_layout(bundle, name, run / "layouts")))
    manifest = bundle.manifest
    _say(
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
    image = build_firmware(bundle.folder, board, run / "firmware" / board, report=_say)
    _say(f"{image.elf}: flash {image.flash_bytes} bytes, RAM {image.ram_bytes} bytes")


@app.command()
def emulate(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(help="Held-out clips; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run held-out clips through every stage, the emulated board included, and compare."""
    from m3net_tf.reports.chain import chain_table, run_chain
    from m3net_tf.training import Run

    summary = run_chain(Run(run), board, data_dir, clips, (lambda _: None) if as_json else _say)
    if as_json:
        _say(json.dumps(summary, indent=2, sort_keys=True))
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

    training.train(training.load_recipe(recipe), run, data_dir, _say)
    finished = training.Run(run)
    export_run(finished, data_dir, log=_say)
    summary = saved_summary(finished, board) or run_chain(finished, board, data_dir, log=_say)
    console.print(chain_table(summary))
    if summary["drift"]:
        raise M3NetError(f"{run}: {'; '.join(summary['drift'])}; see export/certificate.md")


@app.command()
def evaluate(
    run: RunFolder,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Live detection in long recordings.")
    ] = False,
    hours: Annotated[float, typer.Option(help="Length of these recordings.")] = 1.0,
    target_false_accepts_per_hour: Annotated[
        float | None,
        typer.Option(help="Find the detector's settings on validation, and keep them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the recordings.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Accuracy on held-out clips; with --streaming false accepts an hour, misses and latency."""
    from m3net_tf.reports import evaluate as report
    from m3net_tf.streaming.scenes import SceneSettings
    from m3net_tf.training import Run

    if target_false_accepts_per_hour is not None and not streaming:
        raise typer.BadParameter("--target-false-accepts-per-hour needs --streaming")
    log = (lambda _: None) if as_json else _say
    if streaming:
        result = report.evaluate_streaming(
            Run(run),
            data_dir,
            split=split,
            target_false_accepts_per_hour=target_false_accepts_per_hour,
            scenes=SceneSettings(hours=hours, seed=seed),
            log=log,
        )
    else:
        result = report.evaluate_clips(Run(run), data_dir, split, log)
    if as_json:
        _say(json.dumps(result, indent=2, sort_keys=True))
    elif streaming:
        console.print(report.streaming_table(result))
    else:
        console.print(report.clips_table(result))


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
        _say(f"nothing is emulated here: {reason}")
        return
    result = run_matrix(
        folder, recipes=recipes, boards=boards or (), data_dir=data_dir, jobs=jobs, log=_say
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
        _say(f"{budgets.BUDGETS} has these figures now")
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

    result = run_fit(run, boards or (), (lambda _: None) if as_json else _say)
    if as_json:
        _say(json.dumps(result, indent=2, sort_keys=True))
    else:
        console.print(fit_table(result))


@app.command()
def flash(run: RunFolder, board: Board = DEFAULT_BOARD) -> None:
    """Build the firmware of an exported run and write it to a board."""
    from m3net_tf.export import Bundle
    from m3net_tf.firmware.build import build_firmware
    from m3net_tf.firmware.flash import flash_image

    bundle = Bundle.load(run / "export")
    image = build_firmware(bundle.folder, board, run / "firmware" / board, report=_say)
    flash_image(image)


TableName = Annotated[str, typer.Argument(help="<paper>/<table>, or the path of its YAML file.")]
TableBudget = Annotated[str, typer.Option(help="tiny, small or paper.")]
TableData = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER of a data set; FOLDER alone for all others (DATA_DIR)."),
]
TableOut = Annotated[Path, typer.Option(help="Where the table is written.")]
TableRuns = Annotated[Path, typer.Option(help="Where the runs of all tables are kept.")]
KeepResults = Annotated[
    bool,
    typer.Option(
        "--keep-results", help="Take what the written table says of runs that --runs lacks."
    ),
]
DEFAULT_RESULTS = Path("experiments/results")
DEFAULT_TABLE_RUNS = Path("runs/tables")


@app.command()
def table(
    name: TableName,
    budget: TableBudget = "small",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that train at once.")] = 1,
    data_dir: TableData = None,
    out: TableOut = DEFAULT_RESULTS,
    runs: TableRuns = DEFAULT_TABLE_RUNS,
    keep_results: KeepResults = False,
) -> None:
    """Run what is missing of a paper's table; write it beside the paper's values."""
    from m3net_tf.reports.tables import make_table, parse_data_folders

    report = make_table(
        name,
        budget,
        data_folders=parse_data_folders(data_dir or []),
        jobs=jobs,
        runs_folder=runs,
        out=out,
        keep_results=keep_results,
        command=f"m3net table {name} --budget {budget}",
        log=_say,
    )
    if report["failed"]:
        raise M3NetError(
            f"{report['failed']} of {report['runs']} runs of {name} failed: the table says why; "
            "the same command tries them again"
        )


@app.command()
def deployment(
    name: Annotated[str, typer.Argument(help="Finished grid, such as mcu/keywords.")],
    budget: TableBudget = "small",
    board: Board = DEFAULT_BOARD,
    method: Annotated[
        list[str] | None, typer.Option(help="Also quantised so, as qat; several times.")
    ] = None,
    data_dir: TableData = None,
    out: TableOut = DEFAULT_RESULTS,
    runs: TableRuns = DEFAULT_TABLE_RUNS,
    keep_results: KeepResults = False,
) -> None:
    """Table of what the runs of a grid reach and cost on a board; m3net table trains them."""
    from m3net_tf.reports.deployment import make_deployment
    from m3net_tf.reports.tables import parse_data_folders

    options = [f"--budget {budget} --board {board}", *(f"--method {one}" for one in method or ())]
    report = make_deployment(
        name,
        budget,
        board,
        data_folders=parse_data_folders(data_dir or []),
        methods=method or (),
        runs_folder=runs,
        out=out,
        keep_results=keep_results,
        command=f"m3net deployment {name} {' '.join(options)}",
        log=_say,
    )
    if report["failed"]:
        raise M3NetError(
            f"{report['failed']} runs of {name} failed: the table says why; the same command "
            "tries them again"
        )


@bench_app.command("run")
def bench_run(run: RunFolder, board: Board = DEFAULT_BOARD, data_dir: DataDir = None) -> None:
    """Cost of a run: instructions and memory on the emulated board, speed on this machine."""
    from m3net_tf.reports.bench import run_bench
    from m3net_tf.training import Run

    _say(json.dumps(run_bench(Run(run), board, data_dir), indent=2, sort_keys=True))


@bench_app.command("data")
def bench_data(
    name: Annotated[str, typer.Argument(help="Data set.")] = "synth",
    data_dir: DataDir = None,
    clips: Annotated[int, typer.Option(help="Clips to time.")] = 1000,
    epoch: Annotated[bool, typer.Option(help="Also time an epoch of M3Net mcu.")] = True,
) -> None:
    """Clips a second of the input pipeline, cold and warm, beside librosa and beside tf.io."""
    from m3net_tf.reports.bench_data import run_bench_data

    _say(
        json.dumps(
            run_bench_data(name, data_dir, clips=clips, epoch=epoch), indent=2, sort_keys=True
        )
    )


@bench_app.command("train")
def bench_train(
    model: Annotated[
        list[str] | None,
        typer.Option(help="NETWORK/PRESET or diffres_layer, several times; default: all."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Timed steps of each.")] = 10,
) -> None:
    """Training step of each network beside the same one written naively in stock Keras layers."""
    from m3net_tf.reports.bench_train import run_bench_train

    _say(json.dumps(run_bench_train(model or (), steps=steps, log=_tell), indent=2, sort_keys=True))


@bench_app.command("table")
def bench_table(
    name: TableName,
    budget: Annotated[str, typer.Option(help="small or paper.")] = "paper",
    steps: Annotated[int, typer.Option(help="Timed steps of each network.")] = 2,
    tflops: Annotated[
        float,
        typer.Option(help="Time nothing: reckon for a machine of so many TFLOP/s, sustained."),
    ] = 0.0,
) -> None:
    """Hours that a table's trainings take, here or at a rate; needs no data and trains nothing."""
    from m3net_tf.reports.bench_table import run_bench_table

    result = run_bench_table(name, budget, steps=steps, tflops=tflops, log=_tell)
    _say(json.dumps(result, indent=2, sort_keys=True))


@bench_app.command("conversion")
def bench_conversion(
    network: Annotated[
        list[str] | None, typer.Argument(help="NETWORK/PRESET, several; default: all.")
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Also count instructions on this emulated board.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Operators and cost of stock Keras layers by the plain converter, and of ours."""
    from m3net_tf.reports.conversion import conversion_table, run_bench_conversion

    result = run_bench_conversion(network or (), board, _tell)
    if as_json:
        _say(json.dumps(result, indent=2, sort_keys=True))
    else:
        for label, found in result["networks"].items():
            console.print(conversion_table(label, found))


@bench_app.command("classify")
def bench_classify(
    model: Annotated[Path, typer.Argument(help="Exported .tflite, or folder of export or run.")],
    starts: Annotated[int, typer.Option(min=1, help="Timed starts; the median counts.")] = 7,
) -> None:
    """Start-up of m3net classify in processes of its own, and what it imports."""
    from m3net_tf.reports.bench_classify import run_bench_classify

    _say(json.dumps(run_bench_classify(model, starts), indent=2, sort_keys=True))


@bench_app.command("quantize")
def bench_quantize(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    board: Board = DEFAULT_BOARD,
    data_dir: DataDir = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Also quantised so, as int16x8; several times.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="File of budgets to compare with.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make the figures that file's budgets.")
    ] = False,
) -> None:
    """Accuracy, bytes and instructions of quantised runs, compared with what they were."""
    from m3net_tf.reports import bench_quantize as report
    from m3net_tf.reports import budgets
    from m3net_tf.training import Run

    if update and against is None:
        raise typer.BadParameter("--update needs --against")
    result = report.run_bench_quantize(
        [Run(run) for run in runs], board, data_dir, method or (), _tell
    )
    _say(json.dumps(result, indent=2, sort_keys=True))
    if against is None:
        return
    if update:
        budgets.update(result, against, keep=True)
    elif failing := report.costlier(result, against):
        named = ", ".join(f"{cost} of {name}" for _, name, cost, *_ in failing)
        raise M3NetError(
            f"above {against} by more than {100 * budgets.ALLOWANCE:g} %: {named}; make them "
            "cheaper, or accept them by --update"
        )


@app.command()
def figure(
    name: Annotated[
        str | None, typer.Argument(help="Figure, such as diffres/fig4; without it: list all.")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="Finished run; several times.")] = None,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(help="Clips shown, not its own number.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the picture and its numbers.")
    ] = DEFAULT_RESULTS,
) -> None:
    """Draw a paper's figure from finished runs: a PNG, a CSV of its numbers, a JSON."""
    from m3net_tf.reports import figures

    if name is None:
        table = Table("figure", "runs", "shows")
        for key, kind in figures.FIGURES.items():
            table.add_row(key, kind.runs, kind.summary)
        console.print(table)
        return
    for path in figures.draw_figure(name, run or (), out, data_dir=data_dir, clips=clips, log=_say):
        _say(str(path))


PortName = Annotated[str, typer.Argument(help="Serial device, pty, tcp:HOST:PORT, or qemu:BOARD.")]
DeviceRun = Annotated[Path, typer.Option("--run", envvar="RUN", help="Run whose model it is.")]
Baud = Annotated[int, typer.Option(help="Speed of a serial device.")]
DEFAULT_RUN = Path("runs/demo")
DEFAULT_BAUD = 115_200


@app.command()
def monitor(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    play: Annotated[
        Path | None, typer.Option(help="Sound file that the board hears instead of a microphone.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write <RECORD>.csv and, from a microphone, <RECORD>.wav.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so much audio.")] = None,
    baud: Baud = DEFAULT_BAUD,
) -> None:
    """Show live what a board hears: scores, spectrogram, events. Ctrl-C ends it."""
    from m3net_tf.device.monitor import run_monitor

    run_monitor(port, run, console, play=play, record=record, seconds=seconds, baud=baud, log=_say)


@device_app.command("info")
def device_info(port: PortName, run: DeviceRun = DEFAULT_RUN, baud: Baud = DEFAULT_BAUD) -> None:
    """Board, model, memory and statistics, as JSON."""
    from m3net_tf.device.session import connect

    with connect(port, run, baud=baud) as device:
        info = device.info()
        facts = {
            "board": info.version,
            "model": info.model,
            "frontend": info.frontend,
            "labels": list(info.labels),
            "memory": device.request("memory").numbers(),
            "statistics": device.request("stat").numbers(),
        }
    _say(json.dumps(facts, indent=2, sort_keys=True))


@device_app.command("evaluate")
def device_evaluate(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(help="Held-out clips; default: all.")] = None,
    source: Annotated[
        str, typer.Option("--input", help="features, or pcm for the board's own front end.")
    ] = "features",
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Accuracy of the test set on the board; a stopped evaluation goes on where it was."""
    from m3net_tf.device.evaluate import evaluate_port, evaluation_table

    summary = evaluate_port(
        port,
        run,
        data_dir,
        clips,
        source,
        baud=baud,
        console=None if as_json else console,
    )
    if as_json:
        _say(json.dumps(summary, indent=2, sort_keys=True))
    else:
        console.print(evaluation_table(summary))


@device_app.command("profile")
def device_profile(port: PortName, run: DeviceRun = DEFAULT_RUN, baud: Baud = DEFAULT_BAUD) -> None:
    """What each operator costs on the board, beside its multiply-accumulates."""
    from m3net_tf.device.layers import profile, profile_table
    from m3net_tf.device.session import connect
    from m3net_tf.export import Bundle

    bundle = Bundle.load(run / "export")
    with connect(port, run, baud=baud, log=_say) as device:
        device.require_model(bundle.manifest["model"]["sha256"], str(run))
        console.print(profile_table(profile(device, *bundle.network.parts)))


@device_app.command("capture")
def device_capture(
    port: PortName,
    label: Annotated[str, typer.Option(help="Class of the clips.")],
    folder: Annotated[Path, typer.Option(help="Data set of the kind folder.")],
    count: Annotated[int, typer.Option(help="Number of clips.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 1.0,
    ask: Annotated[bool, typer.Option(help="Wait for Enter before each.")] = True,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
) -> None:
    """Record labelled clips with the board's microphone, for training with the folder data set."""
    from m3net_tf.device.capture import capture
    from m3net_tf.device.session import connect

    def wait(index: int) -> None:
        if ask:
            typer.prompt(f"clip {index}: Enter, then {label}", default="", show_default=False)

    with connect(port, run, baud=baud, log=_say) as device:
        capture(device, folder, label, count, seconds, _say, wait)


DataOptions = Annotated[
    list[str] | None, typer.Option("--option", help="The data set's own option, NAME=VALUE.")
]
SkipBroken = Annotated[bool, typer.Option(help="Leave out files that cannot be decoded.")]


def _print_table(table: Any) -> None:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(table.columns):
        words = " ".join((column, *(row[i] for row in table.rows))).split()
        shown.add_column(column, overflow="fold", min_width=max(map(len, words)))
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


@data_app.command("list")
def data_list() -> None:
    """Names of the data sets."""
    from m3net_tf.datasets import report

    _print_table(report.list_table())


@data_app.command("info")
def data_info(name: str, data_dir: DataDir = None) -> None:
    """What a data set is, how it is split and fetched; with its folder also what is there."""
    from m3net_tf.datasets import report

    for line in report.info_lines(name, data_dir):
        _say(line)


@data_app.command("fetch")
def data_fetch(
    name: str,
    data_dir: DataDir = None,
    url: Annotated[
        str | None, typer.Option(help="Mirror: an archive, or a folder of them ending in /.")
    ] = None,
    keep_archives: Annotated[bool, typer.Option(help="Keep the archives.")] = False,
) -> None:
    """Download, check and unpack a data set; a stopped download goes on where it was."""
    from m3net_tf.datasets.fetch import fetch

    folder = fetch(name, data_dir, url=url, keep_archives=keep_archives, log=_say)
    if folder.exists():
        _say(f"{folder}: now run m3net data check {name}")


@data_app.command("check")
def data_check(
    name: str,
    data_dir: DataDir = None,
    decode: Annotated[bool, typer.Option(help="Decode every file, not its header alone.")] = False,
    seed: Annotated[int, typer.Option(help="Of random splits.")] = 0,
    option: DataOptions = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Prove that no group is on both sides, print the leak, look for broken files."""
    from m3net_tf.datasets import report
    from m3net_tf.errors import DataError

    options = report.parse_options(option or [])
    found = report.check(
        name, data_dir, decode=decode, seed=seed, skip_broken=skip_broken, **options
    )
    _print_table(found.table())
    for line in found.lines():
        _say(line)
    if not found.passed:
        raise DataError(f"{name}: the check did not pass; mend what is listed above")


@data_app.command("stats")
def data_stats(
    name: str,
    data_dir: DataDir = None,
    protocol: Annotated[str | None, typer.Option(help="Instead of the default.")] = None,
    fold: Annotated[int | None, typer.Option(help="Test fold.")] = None,
    seed: Annotated[int, typer.Option(help="Of random splits.")] = 0,
    option: DataOptions = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Clips of each class and split; lengths, rates, channels and formats of the files."""
    from m3net_tf.datasets import report

    options = report.parse_options(option or [])
    table, lines = report.stats(
        name,
        data_dir,
        protocol=protocol,
        fold=fold,
        seed=seed,
        skip_broken=skip_broken,
        **options,
    )
    _print_table(table)
    for line in lines:
        _say(line)


@model_app.command("list")
def model_list() -> None:
    """Networks and their presets."""
    from m3net_tf.models import model_names, presets_of

    table = Table("network", "preset", "input", "parameters", "MACs", "")
    for name in model_names():
        for preset_name, preset in presets_of(name).items():
            table.add_row(
                name,
                preset_name,
                " x ".join(map(str, preset.input_shape)),
                f"{preset.parameters:,}",
                f"{preset.macs:,}",
                preset.summary,
            )
    console.print(table)


@model_app.command("info")
def model_info(
    name: str,
    preset: Annotated[str | None, typer.Option(help="Default: mcu, or the first there is.")] = None,
    classes: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Layers, parameters and multiply-accumulates of a network."""
    from m3net_tf.models import build_model, presets_of
    from m3net_tf.models.complexity import count_macs

    presets = presets_of(name)
    preset = preset or ("mcu" if "mcu" in presets else next(iter(presets)))
    model = build_model(name, preset, classes=classes)
    facts: dict[str, Any] = {
        "name": name,
        "preset": preset,
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "layers": [
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "output_shape": [list(model.input_shape), list(layer.output_shape)][
                    not isinstance(layer.output_shape, list)
                ][1:],
                "parameters": layer.count_params(),
            }
            for layer in model.layers
        ],
    }
    if as_json:
        _say(json.dumps(facts, indent=2))
        return
    table = Table("layer", "type", "output", "parameters", title=f"{name} {preset}")
    for layer in facts["layers"]:
        shape = " x ".join(map(str, layer["output_shape"]))
        table.add_row(layer["name"], layer["type"], shape, f"{layer['parameters']:,}")
    console.print(table)
    _say(f"{facts['parameters']:,} parameters, {facts['macs']:,} MACs")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def classify(context: typer.Context) -> None:
    """Say what sounds are, from files or the microphone; needs no TensorFlow."""
    from m3net_tf.runtime.command import run

    run(context.args)


@app.command()
def version() -> None:
    """Version of the package."""
    _say(__version__)


def main() -> None:
    """Entry point: one line and status 2 for what the user can mend."""
    try:
        status = app(standalone_mode=False)
    except M3NetError as error:
        _fail(str(error))
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "m3net"
        _fail(f"{error.format_message()} (see {path} --help)")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        print("stopped: the same command goes on from here", file=sys.stderr)
    sys.exit(status)


def _fail(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
