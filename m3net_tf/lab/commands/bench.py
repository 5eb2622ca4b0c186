# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net bench …``: measurements, as JSON."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from m3net_tf.cli.app import group
from m3net_tf.cli.options import (
    DEFAULT_BOARD,
    AlwaysJson,
    AsJson,
    Board,
    DataDir,
    Hop,
    Optimise,
    RunFolder,
    Updatable,
    WeightsInRam,
    complete_boards,
)
from m3net_tf.cli.output import (
    console,
    print_lines,
    print_result,
    progress_beside,
    say,
    say_exactly,
    say_json,
    say_progress,
)
from m3net_tf.compiler.engines import COMPILED, ENGINES
from m3net_tf.compiler.goals import DEFAULT_GOAL
from m3net_tf.lab.commands.options import TableName
from m3net_tf.system.artifacts import write_json

bench_app = group("Measure speed, size and cost; print JSON.")

EmulatedBoards = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        autocompletion=complete_boards,
        help="Emulated board; repeatable.  [default: mps2_an386]",
    ),
]
Cycles = Annotated[
    bool,
    typer.Option(
        "--cycles", help="Also model cycles (Cortex-M4, M33, M7); needs the extra cycles."
    ),
]


@bench_app.command("data")
def bench_data(
    name: Annotated[str, typer.Argument(help="Data set.")] = "synth",
    data_dir: DataDir = None,
    clips: Annotated[int, typer.Option(help="Clips to time.")] = 1000,
    as_json: AlwaysJson = True,
) -> None:
    """Time the input pipeline in clips per second, cold and warm, against librosa and tf.io."""
    from m3net_tf.lab.bench.data import run_bench_data

    say_json(run_bench_data(name, data_dir, clips=clips, log=progress_beside(True)))


@bench_app.command("table")
def bench_table(
    name: TableName,
    scale: Annotated[str, typer.Option(help="small or paper.")] = "paper",
    steps: Annotated[int, typer.Option(help="Timed steps of each network.")] = 2,
    tflops: Annotated[
        float,
        typer.Option(help="Estimate for this many sustained TFLOP/s instead of timing."),
    ] = 0.0,
    bandwidth: Annotated[float, typer.Option(help="Sustained GB/s of its memory.")] = math.inf,
    clips: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CLIPS of a smaller copy of a data set; several times."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep the hours among these results, for m3net lab list."),
    ] = None,
    as_json: AlwaysJson = True,
) -> None:
    """Estimate the training hours of a table, on this machine or at a rate; needs no data."""
    from m3net_tf.audio.datasets.tables import parse_options
    from m3net_tf.lab.bench.table import keep_hours, run_bench_table, total_line

    result = run_bench_table(
        name,
        scale,
        steps=steps,
        tflops=tflops,
        bandwidth=bandwidth,
        clips=parse_options(clips or ()),
        log=progress_beside(True),
    )
    say_json(result)
    say_progress(total_line(result))
    if out is not None:
        say_progress(f"written: {keep_hours(result, out)}")


@bench_app.command("engine")
def bench_engine(
    network: Annotated[
        list[str] | None,
        typer.Argument(
            help="NETWORK/PRESET or .tflite file, one or several; default: all presets."
        ),
    ] = None,
    board: EmulatedBoards = None,
    inputs: Annotated[
        int, typer.Option(min=2, help="Inputs whose output bytes are compared.")
    ] = 10,
    cycles: Cycles = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="With --cycles: also a table of each network's layers.")
    ] = False,
    optimise: Optimise = DEFAULT_GOAL,
    weights_in_ram: WeightsInRam = 0,
    updatable: Updatable = False,
    engine: Annotated[
        Literal["both", "compiled"],
        typer.Option(help="compiled: it alone, without TensorFlow Lite Micro."),
    ] = "both",
    out: Annotated[
        Path | None, typer.Option(help="File for the JSON, written as each engine ends.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the compiled engine with TensorFlow Lite Micro: instructions, arena, flash."""
    from m3net_tf.boards.measure.layers import modelled_table
    from m3net_tf.lab.bench.engine import EngineResult, engine_table, run_bench_engine

    def ended(result: EngineResult, name: str, label: str) -> None:
        if out:
            write_json(out, result)
        if as_json:
            return
        comparison = result["boards"][name][label]
        console.print(engine_table(f"{label} on {name}", comparison))
        costs = comparison["engines"][COMPILED].get("layers")
        if layers and costs and len(comparison["engines"]) == 1:
            console.print(modelled_table(label, costs))

    result = run_bench_engine(
        board or (DEFAULT_BOARD,),
        network or (),
        inputs,
        progress_beside(True),
        cycles=cycles,
        optimise=optimise,
        weights_in_ram=weights_in_ram,
        updatable=updatable,
        engines=ENGINES if engine == "both" else (COMPILED,),
        ended=ended,
    )
    if as_json:
        say_json(result)
        return
    for reasons in result["missing"].values():
        for name, reason in reasons.items():
            say(f"{name} is not measured: {reason}")


@bench_app.command("stream")
def bench_stream(
    network: Annotated[
        list[str] | None,
        typer.Argument(
            help="NETWORK/PRESET or .tflite file, one or several; default: four presets."
        ),
    ] = None,
    board: EmulatedBoards = None,
    hops: Annotated[int, typer.Option(min=1, help="Hops whose output bytes are compared.")] = 2000,
    axis: Annotated[
        int | None,
        typer.Option(help="Time axis of a file's input.  [default: the one with the least work]"),
    ] = None,
    hop: Hop = None,
    cycles: Cycles = False,
    as_json: AsJson = False,
) -> None:
    """Measure streamed networks: instructions of a hop and of the whole window, bytes compared."""
    from m3net_tf.lab.bench.stream import run_bench_stream, sequence_table, stream_table

    result = run_bench_stream(
        board or (DEFAULT_BOARD,),
        network or (),
        hops,
        progress_beside(True),
        axis=axis,
        hop=hop,
        cycles=cycles,
    )
    if as_json:
        say_json(result)
        return
    for name, costs in result["boards"].items():
        for label, stream in costs["streams"].items():
            console.print(stream_table(f"{label} on {name}", stream, costs["always_on"].get(label)))
        for label, sequence in costs["sequences"].items():
            console.print(sequence_table(f"{label} on {name}", sequence))


@bench_app.command("wake")
def bench_wake(
    run: RunFolder,
    recordings: Annotated[
        list[str],
        typer.Option(
            metavar="[WORD=]FOLDER",
            help="Recordings of a word, which is named where the network has several; repeatable.",
        ),
    ],
    negatives: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Recordings without the words; repeatable."),
    ],
    noise: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Sounds that are mixed in; repeatable."),
    ] = None,
    snr_db: Annotated[
        list[float] | None,
        typer.Option(
            help="Level of a word above the noise, measured beside the sound without noise; "
            "repeatable."
        ),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[WORD=]NAME",
            help="Another network for a word: microwakeword:NAME, openwakeword:NAME or its file; "
            "repeatable.",
        ),
    ] = None,
    target_false_accepts_per_hour: Annotated[
        float,
        typer.Option(
            min=0, help="False accepts per hour of the point that is chosen on these recordings."
        ),
    ] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder for the curve.")] = None,
    as_json: AlwaysJson = True,
) -> None:
    """Measure wake words on real recordings: misses, and false accepts an hour."""
    from m3net_tf.export import Bundle
    from m3net_tf.lab.bench.rivals import load_rival
    from m3net_tf.lab.bench.wake import run_bench_wake

    bundle = Bundle.load(run / "export")
    words = [each.label for each in bundle.detector.classes if each.event]
    said: dict[str, list[Path]] = {}
    for each in recordings:
        word, folder = _of_a_word("--recordings", each, words)
        said.setdefault(word, []).append(Path(folder))
    rivals = [_of_a_word("--rival", each, list(said)) for each in rival or ()]
    say_json(
        run_bench_wake(
            bundle,
            said,
            negatives,
            noise=noise or (),
            snr_db=snr_db or (),
            rivals=[load_rival(name, word) for word, name in rivals],
            target=target_false_accepts_per_hour,
            out=out,
            log=progress_beside(True),
        )
    )


def _of_a_word(option: str, value: str, words: list[str]) -> tuple[str, str]:
    """Divide WORD=VALUE; the word can be missing where there is only one."""
    word, sign, rest = value.partition("=")
    if sign and word in words:
        return word, rest
    if len(words) == 1:
        return words[0], value
    raise typer.BadParameter(f"{option} {value}: begin with one of {'=, '.join(words)}=")


@bench_app.command("enrol")
def bench_enrol(
    folder: Annotated[Path, typer.Argument(help="Folder of m3net export --enrol.")],
    recordings: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Recordings, <word>/<speaker>/*.wav.")
    ],
    negatives: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="Recordings without the words; repeatable."),
    ],
    count: Annotated[int, typer.Option(min=1, help="Recordings that are enrolled.")] = 5,
    as_json: AlwaysJson = True,
) -> None:
    """Measure enrolled words on real recordings: misses, and false accepts an hour."""
    from m3net_tf.export import Bundle
    from m3net_tf.lab.bench.enrolment import run_bench_enrolment

    say_json(
        run_bench_enrolment(
            Bundle.load(folder / "export"),
            recordings,
            negatives,
            count=count,
            log=progress_beside(True),
        )
    )


@bench_app.command("body")
def bench_body(
    bodies: Annotated[
        list[str],
        typer.Argument(
            metavar="BODY...",
            help="Trained network, run or .tflite; or a teacher, such as yamnet.",
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME[=FOLDER]", help="Data set with official folds; repeatable."),
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TENSOR", help="Output of a teacher, by the end of its name; repeatable."
        ),
    ] = None,
    shots: Annotated[
        str, typer.Option(help="Clips of each class, and all of them.")
    ] = "1,3,5,10,20,all",
    draws: Annotated[int, typer.Option(min=1, help="Draws of these clips.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    board: Board = DEFAULT_BOARD,
    from_nothing: Annotated[
        bool,
        typer.Option("--from-nothing", help="Also train networks from nothing; takes hours."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the JSON; the tables get .md beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure bodies for sounds: accuracy after a few clips of each class, and cost on a board."""
    from m3net_tf.lab.bench.body import Plan, body_report, run_bench_body
    from m3net_tf.system.artifacts import write_json, write_text

    folders = {name: folder for name, _, folder in (each.partition("=") for each in data)}
    result = run_bench_body(
        bodies,
        {name: Path(folder).expanduser() if folder else None for name, folder in folders.items()},
        outputs=output or (),
        plan=Plan([_shots(word.strip()) for word in shots.split(",")], draws, seed),
        board=board,
        from_nothing=from_nothing,
        log=progress_beside(True),
    )
    if out is not None:
        write_json(out, result)
        write_text(out.with_suffix(".md"), body_report(result))
    if as_json:
        say_json(result)
    else:
        say_exactly(body_report(result))


def _shots(word: str) -> int | None:
    """Clips of each class; None for all."""
    if word == "all":
        return None
    if not word.isdecimal() or int(word) == 0:
        raise typer.BadParameter(f"--shots {word!r}: give numbers from 1 on, or all")
    return int(word)


@bench_app.command("mlperf")
def bench_mlperf(
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="kws01, ic01, vww01 or ad01; default: all."),
    ] = None,
    board: Board = DEFAULT_BOARD,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="performance or accuracy, default: both; energy only builds the firmware."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="The benchmark's data, with a folder of each ID.  [default: made files]",
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(help="Serial device of a board, which is flashed first; default: emulate it."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Gets firmware and the runner's sessions.")
    ] = Path("runs/mlperf"),
    as_json: AsJson = False,
) -> None:
    """Measure MLPerf Tiny's networks by its own runner, on an emulated board or a real one."""
    from m3net_tf.lab.bench.mlperf import mlperf_table, run_bench_mlperf

    result = run_bench_mlperf(
        board, out, task or (), mode or (), data_dir, port, progress_beside(as_json)
    )
    print_result(result, as_json, mlperf_table)


@bench_app.command("normal")
def bench_normal(
    data_dir: Annotated[
        Path, typer.Option(envvar="DATA_DIR", help="Folder of US8K, two folds or more.")
    ],
    body: Annotated[Path, typer.Option(help="Trained network that ends in a dense layer.")],
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Any other sounds, half an hour or more; repeatable."),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Class that is normal; repeatable.  [default: air_conditioner, engine_idling]",
        ),
    ] = None,
    own: Annotated[
        bool,
        typer.Option("--own", help="Learn the first half of each recording, and test the second."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure normal sounds only on US8K's machines, with other sources mixed in as faults."""
    from m3net_tf.lab.bench.normal import MACHINES, normal_markdown, run_bench_normal

    result = run_bench_normal(
        data_dir,
        body,
        background or (),
        machines=machine or MACHINES,
        own=own,
        log=progress_beside(as_json),
    )
    print_lines(result, as_json, lambda _: normal_markdown(result).splitlines())


@bench_app.command("sounds")
def bench_sounds(
    data_dir: Annotated[Path, typer.Option(envvar="DATA_DIR", help="Folder of ESC-10.")],
    body: Annotated[Path, typer.Option(help="Trained network that ends in a dense layer.")],
    background: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Any other sounds, half an hour or more; repeatable."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Recordings of a class that are enrolled.")] = 5,
    draws: Annotated[int, typer.Option(min=1, help="Draws of these in each fold.")] = 10,
    as_json: AlwaysJson = True,
) -> None:
    """Measure sounds that are enrolled from a few recordings of ESC-10, fold by fold, in int8."""
    from m3net_tf.lab.bench.enrolled_sounds import run_bench_sounds

    say_json(
        run_bench_sounds(
            data_dir,
            body,
            background or (),
            count=count,
            draws=draws,
            log=progress_beside(True),
        )
    )


@bench_app.command("level")
def bench_level(
    network: Annotated[
        Path, typer.Argument(help="Run with an export, or a trained network's name.")
    ],
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    as_json: AlwaysJson = True,
) -> None:
    """Measure accuracy against the microphone's level, without and with automatic gain."""
    from m3net_tf.lab.bench.level import run_bench_level
    from m3net_tf.training.clips.checks import require_held_out

    require_held_out(split)
    say_json(run_bench_level(network, data_dir, split, progress_beside(True)))
