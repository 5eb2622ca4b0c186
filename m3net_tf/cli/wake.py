# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net wake``: from a phrase to firmware that wakes up at it."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import DEFAULT_BOARD, AsJson, Board
from m3net_tf.cli.output import progress_beside, say, say_json, say_next
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.extras import require_modules

if TYPE_CHECKING:
    from m3net_tf.boards.deployment.chain import ChainSummary
    from m3net_tf.evaluation.live import StreamingResult
    from m3net_tf.evaluation.scenes import SceneSettings
    from m3net_tf.system.progress import Log
    from m3net_tf.training import Recipe, Run
    from m3net_tf.training.wake_sounds import WakeSounds

_SETTINGS, _RESULT = "settings.json", "wake.json"
_EMULATED_CLIPS = 60
_FIRST_SHARE = 0.3  # epochs of the first training, as a share of the second one's
_LOOK_RUNS = 8  # as many as the longest window of the scores
_OWN_SHARE = 0.5  # own recordings in training, as a share of the spoken phrases


@app.command()
def wake(
    phrases: Annotated[list[str], typer.Argument(help="Wake word or phrase, one or several.")],
    board: Board = DEFAULT_BOARD,
    language: Annotated[str, typer.Option(help="Language of the voices, as en or en-us.")] = "en",
    voice_count: Annotated[
        int, typer.Option("--count", min=1, help="Clips of each phrase.")
    ] = 1500,
    near_count: Annotated[int, typer.Option(min=1, help="Clips of other speech.")] = 3000,
    say_as: Annotated[
        list[str] | None,
        typer.Option(
            "--say",
            metavar="[PHRASE=]RESPELLING",
            help="How a phrase is pronounced, as kom-PYOO-ter; repeatable.",
        ),
    ] = None,
    voices: Annotated[
        list[Path] | None,
        typer.Option("--voice", metavar="FILE", help="Voice in a file; repeatable."),
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Folder of sounds without the phrase; repeatable."),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Recordings of other words, in a folder for each word."
        ),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(help="Folder of own recordings; with several phrases one folder for each."),
    ] = None,
    target_false_accepts_per_hour: Annotated[
        float, typer.Option(min=0, help="On the validation hours.")
    ] = 0.5,
    hours: Annotated[
        float, typer.Option(help="Length of the scenes with the phrase, beside the other hours.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of voices, sounds and scenes.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the project; default: <first phrase>_wake.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a wake word from a phrase: voices, training, threshold, export and emulation.

    A second call continues after the last finished step. recipe.yaml may be changed in between.
    """
    require_sources("firmware")
    # What is wrong is said before the voices speak for minutes.
    require_modules("m3net wake", "train", "m3net_tf.system.keras", "librosa")
    from m3net_tf.audio.datasets.folder import sounds_below
    from m3net_tf.boards.builds.boards import load_board
    from m3net_tf.boards.deployment.real_time import measured_pace, pace_lines
    from m3net_tf.evaluation.scenes import SceneSettings
    from m3net_tf.system.artifacts import write_json

    load_board(board)
    scenes = SceneSettings(
        hours=hours, gap_s=(1.0, 3.0), snr_db=(0.0, 25.0), other_share=0.0, seed=seed
    )
    if add is not None:
        sounds_below(add)
    log = progress_beside(as_json)
    project = out or Path(f"{_slug(phrases[0])}_wake")
    settings = {
        "phrases": phrases,
        "language": language,
        "count": voice_count,
        "near_count": near_count,
        "say": _respellings(phrases, say_as or []),
        "voices": [str(path.resolve()) for path in voices or ()],
        "negatives": [str(path.resolve()) for path in negatives or ()],
        "words": words and str(words.resolve()),
        "seed": seed,
    }
    _require_settings(project, settings)
    sounds, recipe = _prepared(project, settings, board, log)
    _add_hard_windows(recipe, project, log)
    run = _trained(recipe, project / "run", project / "sounds", log)
    if add is not None:
        run = _trained_on(run, add, project, sounds, log)
    live = _tuned(run, project / "sounds", scenes, target_false_accepts_per_hour, log)
    chain = _emulated(run, board, log)
    result = {
        "settings": settings,
        "sounds": dataclasses.asdict(sounds),
        "live": live,
        "emulated": chain,
    }
    write_json(project / _RESULT, result)
    if as_json:
        say_json(result)
        return
    pace = pace_lines(board, measured_pace(run.folder, board))
    for line in (*_live_lines(live), *_memory_lines(chain), *pace):
        say(line)
    say_next("m3net", "flash", run.folder, "--board", board)


def _slug(phrase: str) -> str:
    return "_".join(phrase.lower().split())


def _respellings(phrases: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """The pronunciations of ``--say`` by phrase."""
    said: dict[str, str] = {}
    for text in given:
        phrase, equals, respelling = text.partition("=")
        if not equals:
            phrase, respelling = phrases[0], text
        if phrase not in phrases or not respelling:
            raise typer.BadParameter(
                f"--say {text!r}: give PHRASE=RESPELLING with one of {', '.join(phrases)}"
            )
        said[phrase] = respelling
    return said


def _require_settings(project: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of a project, and refuse others once something is spoken."""
    from m3net_tf.system.artifacts import read_json, write_json

    path = project / _SETTINGS
    spoken = any((project / name).exists() for name in ("voices", "sounds"))
    if not spoken or not path.exists():
        project.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
        return
    earlier = read_json(path)
    for name, value in settings.items():
        if earlier.get(name) != value:
            raise ConfigError(
                f"{project} was started with {name} {earlier.get(name)!r}, not {value!r}: choose "
                "another --out, or delete it"
            )


def _prepared(
    project: Path, settings: Mapping[str, Any], board: str, log: Log
) -> tuple[WakeSounds, Recipe]:
    """The sounds, from voices that speak them, and the recipe."""
    from m3net_tf.audio.datasets.folder import sounds_below
    from m3net_tf.audio.voices.speaking import say_phrases
    from m3net_tf.boards.deployment.wake_project import write_wake_project
    from m3net_tf.training import load_recipe
    from m3net_tf.training.wake_sounds import (
        read_wake_sounds,
        recorded_words,
        write_wake_sounds,
    )

    folder, voices = project / "sounds", project / "voices"
    if not folder.is_dir():
        negatives = [Path(path) for path in settings["negatives"]]
        for each in negatives:
            sounds_below(each)
        recorded = {}
        if settings["words"]:
            recorded = recorded_words(Path(settings["words"]), settings["phrases"])
        spoken = say_phrases(
            settings["phrases"],
            voices,
            language=settings["language"],
            count=settings["count"],
            near_count=settings["near_count"],
            words=list(recorded),
            seed=settings["seed"],
            say=settings["say"],
            models=[Path(path) for path in settings["voices"]],
            log=log,
        )
        write_wake_sounds(
            spoken, voices, negatives, folder, words=recorded, seed=settings["seed"], log=log
        )
    sounds = read_wake_sounds(folder)
    return sounds, load_recipe(write_wake_project(project, folder, sounds, board))


def _trained(recipe: Recipe, folder: Path, sounds: Path, log: Log) -> Run:
    """A trained and exported run."""
    from m3net_tf import training
    from m3net_tf.export import export_run

    training.train(recipe, folder, sounds, log)
    run = training.Run(folder)
    export_run(run, sounds, log=log)
    return run


def _add_hard_windows(recipe: Recipe, project: Path, log: Log) -> None:
    """Train a first network for a while, and add what it takes for a phrase to the sounds."""
    from m3net_tf.evaluation.found_windows import cut_false_accepts
    from m3net_tf.export import Bundle
    from m3net_tf.training.wake_sounds import HARD, hours_files, list_hard_windows

    sounds = project / "sounds"
    if not (sounds / HARD).is_dir():
        epochs = math.ceil(_FIRST_SHARE * recipe.training.epochs)
        training = dataclasses.replace(recipe.training, epochs=epochs)
        first = dataclasses.replace(recipe, training=training)
        run = _trained(first, project / "first_run", sounds, log)
        bundle = Bundle.load(run.folder / "export")
        count = cut_false_accepts(bundle, hours_files(sounds, "train"), sounds / HARD)
        log(f"{count} windows of the hours are hard: the second training has each again")
    list_hard_windows(sounds)


def _trained_on(run: Run, add: Path, project: Path, sounds: WakeSounds, log: Log) -> Run:
    """The run that continues with own recordings, and with false alarms that the page captured."""
    from m3net_tf.evaluation.found_windows import cut_own_phrases
    from m3net_tf.export import Bundle
    from m3net_tf.training.clips.added import FALSE_ALARM
    from m3net_tf.training.recipe import recipe_with_added

    own = project / f"own_{add.resolve().name}"
    bundle = Bundle.load(run.folder / "export")
    recordings = _recordings(add, [each.label for each in bundle.detector.classes if each.event])
    if not own.is_dir():
        log(f"{cut_own_phrases(bundle, recordings, own)} own recordings")
        if (add / FALSE_ALARM).is_dir():
            shutil.copytree(add / FALSE_ALARM, own / FALSE_ALARM)
    recipe = recipe_with_added(run.recipe(), run.folder, [own])
    count = sum(map(len, recordings.values()))
    times = max(1, round(_OWN_SHARE * sounds.phrases["train"] / count))
    section = dataclasses.replace(recipe.fine_tuning, add_times=times, hold_out=False)
    recipe = dataclasses.replace(recipe, fine_tuning=section)
    return _trained(recipe, project / f"run_{add.resolve().name}", project / "sounds", log)


def _recordings(folder: Path, labels: Sequence[str]) -> dict[str, list[Path]]:
    """Own recordings by phrase: in a folder for each, or all of the only phrase."""
    from m3net_tf.audio.datasets.files import SUFFIXES, files_below
    from m3net_tf.training.clips.added import FALSE_ALARM

    places = {label: folder / label for label in labels}
    by_label = any((folder / label).is_dir() for label in (*labels, FALSE_ALARM))
    if len(labels) == 1 and not by_label:
        places = {labels[0]: folder}
    found = {label: files_below(place, SUFFIXES) for label, place in places.items()}
    found = {label: files for label, files in found.items() if files}
    if not found:
        raise ConfigError(f"{folder}: has no recordings of {', '.join(labels)}: add some")
    return found


def _tuned(
    run: Run, folder: Path, scenes: SceneSettings, target: float, log: Log
) -> StreamingResult:
    """Live detection with settings for the target, unless that is done for this network."""
    from m3net_tf.evaluation.live import evaluate_streaming
    from m3net_tf.evaluation.rare_events import tune_rare_events
    from m3net_tf.export import Bundle
    from m3net_tf.runtime.detector_config import can_look_twice
    from m3net_tf.system.artifacts import read_json
    from m3net_tf.system.conversion import to_plain
    from m3net_tf.training.clips.added import read_added
    from m3net_tf.training.wake_sounds import hours_files

    path = run.folder / "streaming.json"
    look_runs = _LOOK_RUNS if can_look_twice(run.recipe().frontend) else 0
    if path.exists():
        result: StreamingResult = read_json(path, StreamingResult)
        model = Bundle.load(run.folder / "export").manifest.model.sha256
        same_scenes = result["scenes"] == to_plain(dataclasses.asdict(scenes))
        same_target = result["target_false_accepts_per_hour"] == target
        same_looks = result["detector"].get("look_runs", 0) == look_runs
        if result["model_sha256"] == model and same_scenes and same_target and same_looks:
            return result
    recorded = {clip.label for clip in read_added(run.folder)}
    return evaluate_streaming(
        run,
        folder,
        target_false_accepts_per_hour=target,
        scenes=scenes,
        hours_without={split: hours_files(folder, split) for split in ("validation", "test")},
        look_runs=look_runs,
        tuner=functools.partial(tune_rare_events, recorded=recorded),
        log=log,
    )


def _emulated(run: Run, board: str, log: Log) -> ChainSummary:
    """The run on the board or, if nothing emulates it, on one with its core."""
    from m3net_tf.boards.builds.boards import emulated_board
    from m3net_tf.boards.deployment.chain import run_chain, saved_summary

    emulated = emulated_board(board) or board
    return saved_summary(run, emulated) or run_chain(run, emulated, None, _EMULATED_CLIPS, log)


def _live_lines(live: StreamingResult) -> Iterator[str]:
    """Lines on misses and false accepts, and on what the hours can show."""
    from m3net_tf.evaluation.scoring import poisson_interval

    figures = live["all"]
    low, high = (100 * share for share in figures["miss_rate_95"])
    yield (
        f"synthetic voices of the test: {100 * figures['miss_rate']:.1f} % missed (95 %: "
        f"{low:.1f} to {high:.1f}) of {figures['true_events']}; real voices miss more "
        "(docs/wake_word.md)"
    )
    low, high = figures["false_accepts_per_hour_95"]
    accepts = "false accept" if figures["false_accepts"] == 1 else "false accepts"
    yield (
        f"{figures['false_accepts']} {accepts} in {live['hours']:.1f} h: "
        f"{figures['false_accepts_per_hour']:.2f} an hour (95 %: {low:.2f} to {high:.2f})"
    )
    tuned, target = live["tuned_on_validation"], live["target_false_accepts_per_hour"]
    if tuned is not None and target is not None:
        most = poisson_interval(0)[1] / tuned["hours"]
        if most > target:
            needed = (
                f", and {target:g} needs {most * tuned['hours'] / target:.0f} h" if target else ""
            )
            yield (
                f"the threshold is tuned on {tuned['hours']:.1f} h; so few hours without a false "
                f"accept cannot show less than {most:.1f} an hour{needed}: add some by --negatives"
            )


def _memory_lines(chain: ChainSummary) -> Iterator[str]:
    """Lines on memory, and on what the board was compared with."""
    if "emulation_missing" in chain:
        yield f"not emulated: {chain['emulation_missing']}"
        return
    yield (
        f"memory on {chain['board']}: network {chain['arena_bytes']:,} and front end "
        f"{chain['frontend_bytes'] or 0:,} bytes of RAM, firmware {chain['flash_bytes'] or 0:,} "
        "bytes of flash"
    )
    heard = "the same" if chain["bytes_equal"] else "OTHER"
    yield f"output bytes there, streamed and of whole windows: {heard} as on this computer"
