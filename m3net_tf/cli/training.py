# SPDX-License-Identifier: Apache-2.0
"""Commands that start a project, and train, quantise, evaluate and show a run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import (
    DEFAULT_BOARD,
    Address,
    AsJson,
    Board,
    DataDir,
    RunFolder,
    complete_runs,
)
from m3net_tf.cli.output import (
    console,
    print_result,
    print_table,
    progress_beside,
    say,
    say_json,
    say_next,
)
from m3net_tf.system.errors import ConfigError, M3NetError
from m3net_tf.system.extras import how_to_install, missing_of, named
from m3net_tf.system.words import counted

if TYPE_CHECKING:
    from m3net_tf.system.progress import Log
    from m3net_tf.training import Recipe
    from m3net_tf.training.cross_validation import CrossValidation
    from m3net_tf.training.run.metrics import RunMetrics


@app.command()
def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe, a YAML file of experiments/.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            autocompletion=complete_runs,
            help="Run folder; default runs/<recipe> or <FROM>_added.",
        ),
    ] = None,
    former: Annotated[
        Path | None,
        typer.Option(
            "--from",
            autocompletion=complete_runs,
            help="With --add: the run to continue; no RECIPE.",
        ),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="Folder of labelled clips to add to that run's; repeatable."
        ),
    ] = None,
    data_dir: DataDir = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Data set instead of the recipe's, with its official protocol."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Data set option, such as clip_s=2; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs instead of the recipe's.")] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs of each worker; all share each batch.")
    ] = 1,
    workers: Annotated[
        int, typer.Option(min=1, help="Worker processes, run by Ray, that share each batch.")
    ] = 1,
    address: Address = "",
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores of each worker.")] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="Restarts from the last epoch after a lost worker.")
    ] = 3,
    shards: Annotated[
        str, typer.Option(help="Folder or URL of m3net data shard, instead of --data-dir.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Train a network from a recipe, or continue a run with added clips; resumes after a stop."""
    if (recipe is None) == (former is None) or (former is None) != (not add):
        raise typer.BadParameter("give a recipe, or --from RUN with --add FOLDER")
    if shards and former:
        raise typer.BadParameter("shards have no clips of --add: omit --shards")
    if dataset and former:
        raise typer.BadParameter("--from continues a run with its data set: omit --dataset")
    from m3net_tf import training
    from m3net_tf.audio.shards import open_shards
    from m3net_tf.training.cluster.pools import PoolOptions
    from m3net_tf.training.cluster.resources import Resources

    plan, folder, data_dir = _planned(recipe, run, former, add or [], data_dir, dataset)
    plan = _with_options(plan, dataset, option or [], seed, epochs)
    source = open_shards(shards) if shards else data_dir
    pool = PoolOptions(workers, address, Resources(cpus), retries=retries)
    log = progress_beside(as_json)
    if pool.in_process:
        metrics = training.train(plan, folder, source, log, devices)
    else:
        from m3net_tf.training.cluster.members import train_on_workers

        metrics = train_on_workers(plan, folder, source, pool, devices=devices, log=log)
    validated = _cross_validated(plan, folder, data_dir, log)
    if as_json:
        say_json({"folder": str(folder), **metrics.values, **validated})
        return
    for line in _reached(folder, metrics, validated):
        say(line)
    say_next("m3net", "export" if _exportable(plan) else "report", folder)


def _with_options(
    plan: Recipe, dataset: str | None, option: list[str], seed: int | None, epochs: int | None
) -> Recipe:
    """A recipe with the typed data set, its options and values of the training."""
    from m3net_tf.audio.datasets.tables import parse_options
    from m3net_tf.training.recipe.sections import DatasetSection

    section = plan.dataset
    if dataset and dataset != section.name:
        section = DatasetSection(dataset)
    section = dataclasses.replace(section, options={**section.options, **parse_options(option)})
    training = dataclasses.replace(
        plan.training,
        seed=plan.training.seed if seed is None else seed,
        epochs=plan.training.epochs if epochs is None else epochs,
    )
    return dataclasses.replace(plan, training=training, dataset=section)


def _exportable(plan: Recipe) -> bool:
    """Whether the firmware has the recipe's front end; papers' often run on computers only."""
    from m3net_tf.audio.frontend.fixed import require_device_form

    with contextlib.suppress(ConfigError):
        if plan.frontend.kind != "waveform":
            require_device_form(plan.frontend)
        return True
    return False


def _cross_validated(
    plan: Recipe, folder: Path, data_dir: Path | None, log: Log
) -> dict[str, CrossValidation]:
    """The figures of the recipe's cross-validation; empty without one."""
    if not plan.training.cross_validation:
        return {}
    from m3net_tf.training import Run
    from m3net_tf.training.cross_validation import cross_validate

    run = Run(folder)
    return {"cross_validation": cross_validate(plan, run, run.data_folder(data_dir), log)}


def _reached(
    folder: Path, metrics: RunMetrics, validated: Mapping[str, CrossValidation]
) -> Iterator[str]:
    """Lines on the accuracy of a run, and on its changes if clips were added."""
    from m3net_tf.audio.datasets import protocol_statement

    yield (
        f"{folder}: test {_score(metrics.test)} on {counted(metrics.test['clips'], 'clip')} of "
        f"{metrics.dataset.name}, {protocol_statement(metrics.dataset.facts)}"
    )
    yield from map(_validated, validated.values())
    added = metrics.values.get("added")
    if not added:
        return
    yield f"before, with {added['run']}: test {_score(added['test_before'])}"
    yield f"added clips: {added['train']} in training, {added['held_out']} held out"
    if added["held_out"]:
        yield (
            f"on the held-out ones: before {_score(added['held_out_before'])}, now "
            f"{_score(added['held_out_after'])}"
        )
    else:
        yield "none is held out: in no class do they come from several recordings"


def _validated(figures: CrossValidation) -> str:
    folds = ", ".join(f"{100 * share:.0f}" for share in figures["fold_accuracy"])
    groups = f" of {counted(figures['groups'], 'group')}" * (figures["groups"] < figures["clips"])
    return (
        f"cross-validation: {_score(figures)} on all {counted(figures['clips'], 'clip')}{groups}, "
        f"{figures['statement']}; folds {folds} %"
    )


def _score(figures: Mapping[str, Any]) -> str:
    if "accuracy" not in figures:
        return f"mAP {100 * figures['mean_average_precision']:.2f} %"
    return (
        f"accuracy {100 * figures['accuracy']:.2f} % (95 %: "
        f"{100 * figures['accuracy_95_low']:.1f} to {100 * figures['accuracy_95_high']:.1f})"
    )


def _planned(
    recipe: Path | None,
    run: Path | None,
    former: Path | None,
    add: list[Path],
    data_dir: Path | None,
    dataset: str | None,
) -> tuple[Recipe, Path, Path | None]:
    """The recipe of a training, its run folder and the folder of its data set."""
    from m3net_tf import training
    from m3net_tf.training.clips.source import recorded_data_folder
    from m3net_tf.training.recipe import recipe_with_added

    if former is None:
        assert recipe is not None  # as train has checked
        plan = training.load_recipe(recipe)
        if data_dir is None and dataset in (None, plan.dataset.name):
            data_dir = recorded_data_folder(recipe.parent)
        return plan, run or Path("runs") / recipe.stem, data_dir
    finished = training.Run(former)
    plan = recipe_with_added(finished.recipe(), former, add)
    folder = run or former.with_name(f"{former.resolve().name}_added")
    return plan, folder, finished.data_folder(data_dir)


QuantizationMethod = Annotated[
    str | None,
    typer.Option(
        help="ptq or qat, then any of +prune50, +least-error or +p99.99, +equalize, "
        "+bias; or int16x8.  [default: ptq]"
    ),
]


@app.command()
def quantize(
    run: RunFolder,
    method: QuantizationMethod = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Try methods until one keeps the accuracy.")
    ] = False,
    bound: Annotated[
        float, typer.Option(help="With --repair: largest loss of validation accuracy, in points.")
    ] = 0.5,
    calibration_clips: Annotated[
        int | None, typer.Option(min=1, help="Calibration clips instead of the recipe's number.")
    ] = None,
    ranking_clips: Annotated[
        int, typer.Option(min=0, help="Validation clips that rank the layers; 0: no ranking.")
    ] = 500,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of each training for int8 instead of the recipe's."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Run that teaches in these trainings; may be the same run.")
    ] = None,
    first_layer: Annotated[
        str | None, typer.Option(help="First layer that qat changes; default: all.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Quantise a run and report what each tensor, layer and class loses; export uses the result."""
    from m3net_tf.training import Run

    if repair and (method or first_layer):
        raise typer.BadParameter("--repair chooses both itself: omit --method and --first-layer")
    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.quantization.methods import FineTuning, Method  # load TensorFlow
    from m3net_tf.quantization.pipeline import quantize_run
    from m3net_tf.quantization.report import summary_table

    report = quantize_run(
        finished,
        data_dir,
        None if repair else Method.parse(method or "ptq"),
        bound_points=bound if repair else None,
        calibration_clips=calibration_clips,
        ranking_clips=ranking_clips,
        fine_tuning=FineTuning(epochs, str(teacher) if teacher else None, first_layer),
        log=progress_beside(as_json),
    )
    if as_json:
        say_json(report)
    else:
        console.print(summary_table(report))
        say(f"{run / 'quantized' / 'report.md'} has all figures; m3net export takes this network")
    if repair and not report["within_bound"]:
        raise M3NetError(
            f"{run}: no method keeps within {bound:g} points on validation; {report['method']} "
            f"loses least, {report['validation']['drop_points']:.2f}: raise --bound, or train on"
        )


@app.command()
def evaluate(
    run: RunFolder,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Live detection in recordings mixed from clips.")
    ] = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="Detected events against annotations, of the split's data."),
    ] = False,
    recordings: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --events: other annotated recordings."),
    ] = None,
    fit_edges: Annotated[
        bool,
        typer.Option(
            "--fit-edges",
            help="With --events: first fit, on validation, where sounds begin and end; saved.",
        ),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(help="Length of these recordings.  [default: 1, or the wake word's]"),
    ] = None,
    target_false_accepts_per_hour: Annotated[
        float | None,
        typer.Option(help="Find the detector's settings on validation, and save them."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the recordings.  [default: 0, or the wake word's]", min=0),
    ] = None,
    gain: Annotated[
        str | None,
        typer.Option(
            metavar="DB",
            help="Gain of the microphone in recordings, as of m3net export.  [default: the "
            "export's]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy or mAP on held-out clips, or live detection in long recordings.

    --streaming mixes recordings from clips; --events takes annotated ones.
    A run of m3net wake is measured as that command measures it, with its sounds and its rule.
    """
    from m3net_tf.audio.frontend.level import Gain
    from m3net_tf.evaluation.scenes import SceneSettings
    from m3net_tf.training import Run
    from m3net_tf.training.clips.checks import require_held_out

    if target_false_accepts_per_hour is not None and not streaming:
        raise typer.BadParameter("--target-false-accepts-per-hour needs --streaming")
    if events and streaming:
        raise typer.BadParameter("--events and --streaming are two measurements: give one")
    if (recordings or fit_edges) and not events:
        raise typer.BadParameter("--recordings and --fit-edges need --events")
    if gain and not (streaming or events):
        raise typer.BadParameter("--gain needs --streaming or --events: clips have none")
    amplified = Gain.parse(gain) if gain else None
    require_held_out(split)
    scenes = None
    if streaming:
        scenes = SceneSettings(hours=1.0 if hours is None else hours, seed=seed or 0)
    finished = Run(run)
    finished.check(data_dir)
    from m3net_tf.evaluation import annotated, clips, live, rendering  # loads TensorFlow

    log = progress_beside(as_json)
    if events:
        scores = annotated.evaluate_annotated(
            finished,
            data_dir,
            split=split,
            others=recordings,
            fit_edges=fit_edges,
            gain=amplified,
            log=log,
        )
        print_result(scores, as_json, rendering.annotated_table)
        return
    if not streaming:
        accuracy = clips.evaluate_clips(finished, data_dir, split, log)
        print_result(accuracy, as_json, rendering.clips_table)
        return
    from m3net_tf.wake.evaluation import evaluate_wake_word
    from m3net_tf.wake.project import is_project_run

    if is_project_run(run):
        detection = evaluate_wake_word(
            finished,
            split=split,
            target_false_accepts_per_hour=target_false_accepts_per_hour,
            hours=hours,
            seed=seed,
            gain=amplified,
            log=log,
        )
    else:
        detection = live.evaluate_streaming(
            finished,
            data_dir,
            split=split,
            target_false_accepts_per_hour=target_false_accepts_per_hour,
            scenes=scenes,
            gain=amplified,
            log=log,
        )
    print_result(detection, as_json, rendering.streaming_table)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            autocompletion=complete_runs,
            help="Finished runs, such as runs/demo.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default: report.html in the first run.")
    ] = None,
    data_dir: DataDir = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First run the commands that measure what the page lacks; takes minutes.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write finished runs, one or several side by side, as one HTML page that opens offline."""
    from m3net_tf.pages.report.page import write_report

    facts = write_report(runs, out, data_dir, progress_beside(as_json), measure=measure)
    if as_json:
        say_json(facts)
        return
    if missing := facts["missing"]:
        say(f"without figures: {', '.join(missing)}; add --measure, or run")
        for command in dict.fromkeys(itertools.chain.from_iterable(missing.values())):
            say(f"  {command}")
    say(f"{facts['path']}: {facts['bytes'] / 1e6:.1f} MB")


def _complete_starts(typed: str) -> list[str]:
    """Where a training can start, of those that begin with what was typed."""
    from m3net_tf.boards.starter.proposals import STARTS

    return [name for name in STARTS if name.startswith(typed)]


@app.command()
def init(
    sounds: Annotated[
        Path,
        typer.Argument(help="Folder with one folder of sounds per class, or annotated recordings."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the project; default: <SOUNDS>_project.")
    ] = None,
    board: Board = DEFAULT_BOARD,
    group_pattern: Annotated[
        str,
        typer.Option(
            metavar="REGEX",
            help="Speaker or recording of a file: what the first parentheses match in its path.",
        ),
    ] = "",
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ",
            help="Rate of the front end; default: 16000, or 8000 if no file has more.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="BODY",
            autocompletion=_complete_starts,
            help="Trained body, sounds_s, sounds_m or sounds_l; or nothing. Default: the board's.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set up a project for a folder of your own sounds: a recipe, and the commands to train it."""
    from m3net_tf.audio.datasets import load_dataset
    from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines, sounds_table
    from m3net_tf.audio.datasets.tables import split_table
    from m3net_tf.boards.starter.project import (
        new_project,
        recipe_lines,
        speed_lines,
        starter_commands,
        starter_pace,
        starter_recipe,
        write_starter,
    )

    project = out or Path(f"{sounds.resolve().name}_project")
    new_project(project, board)  # before the sounds are read
    log = progress_beside(as_json)
    if missing := missing_of("train"):
        log(f"note: m3net train needs {named(missing)}: {how_to_install('train')}")
    facts = inspect_folder(sounds, group_pattern, log)
    if not as_json:
        print_table(sounds_table(facts))
        for line in sounds_lines(facts):
            say(line)
    recipe = starter_recipe(facts, board, log, sample_rate_hz=sample_rate, start=start)
    paths = write_starter(recipe, facts, project, board)
    if as_json:
        pace = dataclasses.asdict(starter_pace(recipe, board))
        files = list(map(str, paths))
        say_json({"sounds": facts.to_dict(), "recipe": recipe, "files": files, "pace": pace})
        return
    dataset = load_dataset("folder", facts.folder, log=log, **recipe["dataset"]["options"])
    print_table(split_table(dataset))
    for line in (*recipe_lines(recipe, facts, dataset, log), *speed_lines(recipe, board)):
        say(line)
    say(f"wrote {', '.join(map(str, paths))}")
    say(f"next: {next(iter(starter_commands(paths[0], board)))}")
