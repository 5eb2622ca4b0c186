# SPDX-License-Identifier: Apache-2.0
"""Makes a wake word from a phrase: voices, training, threshold, export and emulation."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.audio.datasets.files import SUFFIXES, files_below
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.boards.builds.boards import emulated_board, load_board
from m3net_tf.boards.measure.chain import ChainSummary, run_chain, saved_summary
from m3net_tf.evaluation.live import StreamingResult, require_target
from m3net_tf.evaluation.scenes import SceneSettings
from m3net_tf.evaluation.scoring import TallyFigures
from m3net_tf.export import Bundle, export_run
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training import Recipe, Run, load_recipe, train
from m3net_tf.training.clips.added import FALSE_ALARM
from m3net_tf.training.recipe import recipe_with_added
from m3net_tf.wake.evaluation import scenes_of, tuned, without_noise
from m3net_tf.wake.found_windows import cut_false_accepts, cut_own_phrases
from m3net_tf.wake.project import (
    SOUNDS,
    VOICES,
    WakeSettings,
    keep_settings,
    project_settings,
    write_wake_project,
)
from m3net_tf.wake.sounds import (
    HARD,
    WakeSounds,
    hours_files,
    list_hard_windows,
    read_wake_sounds,
    recorded_words,
    write_wake_sounds,
)
from m3net_tf.wake.teachers import train_teachers, untaught
from m3net_tf.wake.voices.speaking import say_phrases

_RESULT = "wake.json"
_EMULATED_CLIPS = 60
_FIRST_SHARE = 0.4  # epochs of the first training, as a share of the final network's
_OWN_SHARE = 0.5  # own recordings in training, as a share of the spoken phrases


@dataclasses.dataclass(frozen=True)
class WakeWord:
    """What :func:`make_wake_word` has made.

    Attributes:
        run: the trained network with its export, from which ``m3net flash`` builds firmware.
        live: misses and false accepts of live detection on the test's voices and hours.
        quiet: misses of the same voices without noise.
        emulated: the export on the board, or on an emulated one with its core.
    """

    run: Run
    settings: WakeSettings
    sounds: WakeSounds
    live: StreamingResult
    quiet: TallyFigures
    emulated: ChainSummary

    def to_dict(self) -> dict[str, Any]:
        """Content of the project's ``wake.json``."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "sounds": dataclasses.asdict(self.sounds),
            "live": self.live,
            "quiet": self.quiet,
            "emulated": self.emulated,
        }


def make_wake_word(
    phrases: str | Sequence[str],
    project: str | Path,
    *,
    board: str | None = None,
    language: str | None = None,
    count: int | None = None,
    near_count: int | None = None,
    say: Mapping[str, str] | None = None,
    voices: Sequence[str | Path] = (),
    negatives: Sequence[str | Path] = (),
    words: str | Path | None = None,
    add: str | Path | None = None,
    target_false_accepts_per_hour: float | None = None,
    hours: float | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    log: Log = silent,
) -> WakeWord:
    """Make a network that detects a phrase, from the voices of speech synthesisers.

    A second call with the same project continues after the last finished step, with the project's
    settings where an argument is left out. Its ``recipe.yaml`` may be changed in between.

    Args:
        phrases: one phrase, or several, each of which becomes an event.
        project: folder of voices, sounds, recipe, runs and ``wake.json``.
        board: name of a folder in ``firmware/boards``; ``mps2_an386`` by default.
        language: language of the voices, as ``en`` (all its varieties, by default) or ``en-us``.
        count: spoken clips of each phrase; 1,500 by default.
        near_count: clips of other speech; 3,000 by default.
        say: respellings of phrases that are not pronounced as they are written, such as
            ``{"computer": "kom-PYOO-ter"}``.
        voices: voices in files, ``.flitevox`` (Flite) or ``.onnx`` (Piper, Kokoro).
        negatives: folders of sounds without the phrases, beside the recordings that
            ``m3net data fetch`` has put into the cache (``librispeech``, ``musan``).
        words: folder of recordings of other words, in a folder for each; without it Speech
            Commands for English, if ``m3net data fetch`` has put it into the cache.
        add: folder of own recordings of the phrase or, with several phrases, a folder of a folder
            for each; the network is trained on with them, in a run of its own.
        target_false_accepts_per_hour: what the threshold is tuned for, on the validation hours;
            0.5 by default.
        hours: length of the scenes with the phrases, beside the hours without them; 0.5 by default.
        seed: decides voices, sounds and scenes; 0 by default.
        jobs: teachers that are trained at once; more than one needs Ray. By default as many as
            there are processor cores, where Ray is installed.
        log: gets a line for each step.

    Raises:
        ConfigError: a setting is out of range, the project was started with other settings,
            espeak-ng is not installed, or a phrase cannot be spoken.
        DataError: a folder has no sounds, or a file cannot be read.
        M3NetError: training, export or emulation failed.
    """
    require_sources("firmware")
    project = Path(project)
    settings = project_settings(
        project,
        (phrases,) if isinstance(phrases, str) else tuple(phrases),
        {
            "board": board,
            "language": language,
            "count": count,
            "near_count": near_count,
            "say": dict(say or {}),
            "voices": tuple(str(Path(path).resolve()) for path in voices),
            "negatives": tuple(str(Path(path).resolve()) for path in negatives),
            "words": str(Path(words).resolve()) if words else None,
            "target_false_accepts_per_hour": target_false_accepts_per_hour,
            "hours": hours,
            "seed": seed,
        },
    )
    # What is wrong is said before the voices speak for minutes.
    load_board(settings.board)
    require_target(settings.target_false_accepts_per_hour)
    scenes = scenes_of(settings)
    if add is not None:
        sounds_below(Path(add))
    keep_settings(project, settings)
    sounds = _spoken(project, settings, log)
    recipe = load_recipe(write_wake_project(project, sounds, settings.board))
    _add_hard_windows(recipe, project, log)
    train_teachers(recipe, Run(project / "run"), project / SOUNDS, jobs=jobs, log=log)
    run = _trained(recipe, project / "run", project / SOUNDS, log)
    if add is not None:
        run = _trained_on(run, Path(add), project, sounds, log)
    live = tuned(run, project / SOUNDS, scenes, settings.target_false_accepts_per_hour, log)
    quiet = _quiet(project, run, live, scenes, log)
    made = WakeWord(run, settings, sounds, live, quiet, _emulated(run, settings.board, log))
    write_json(project / _RESULT, made.to_dict())
    return made


def _spoken(project: Path, settings: WakeSettings, log: Log) -> WakeSounds:
    """The sounds, from voices that speak them."""
    folder = project / SOUNDS
    if folder.is_dir():
        return read_wake_sounds(folder)
    negatives = [Path(path) for path in settings.negatives]
    for each in negatives:
        sounds_below(each)
    if not settings.recordings and not settings.negatives:
        log(
            "no real sound is without the phrase, so real false accepts are unknown: "
            "m3net data fetch librispeech brings 16 hours of speech"
        )
    words = recorded_words(Path(settings.words), settings.phrases) if settings.words else {}
    if words:
        log(f"{settings.words}: its {counted(len(words), 'word')} are classes without events")
    voices = project / VOICES
    spoken = say_phrases(
        settings.phrases,
        voices,
        language=settings.language,
        count=settings.count,
        near_count=settings.near_count,
        words=list(words),
        seed=settings.seed,
        say=settings.say,
        models=[Path(path) for path in settings.voices],
        log=log,
    )
    return write_wake_sounds(
        spoken,
        voices,
        negatives,
        folder,
        recordings=settings.recordings,
        words=words,
        seed=settings.seed,
        log=log,
    )


def _trained(recipe: Recipe, folder: Path, sounds: Path, log: Log) -> Run:
    """A trained and exported run."""
    train(recipe, folder, sounds, log)
    run = Run(folder)
    export_run(run, sounds, log=log)
    return run


def _add_hard_windows(recipe: Recipe, project: Path, log: Log) -> None:
    """Train a first network for a while, and add what it takes for a phrase to the sounds."""
    sounds = project / SOUNDS
    if not (sounds / HARD).is_dir():
        first = untaught(recipe, _FIRST_SHARE, recipe.training.seed)
        run = _trained(first, project / "first_run", sounds, log)
        bundle = Bundle.load(run.folder / "export")
        count = cut_false_accepts(bundle, hours_files(sounds, "train"), sounds / HARD)
        log(f"{count} windows of the hours are hard: the next trainings have each again")
    list_hard_windows(sounds)


def _trained_on(run: Run, add: Path, project: Path, sounds: WakeSounds, log: Log) -> Run:
    """The run that continues with own recordings, and with false alarms that the page captured."""
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
    return _trained(recipe, project / f"run_{add.resolve().name}", project / SOUNDS, log)


def _recordings(folder: Path, labels: Sequence[str]) -> dict[str, list[Path]]:
    """Own recordings by phrase: in a folder for each, or all of the only phrase."""
    places = {label: folder / label for label in labels}
    by_label = any((folder / label).is_dir() for label in (*labels, FALSE_ALARM))
    if len(labels) == 1 and not by_label:
        places = {labels[0]: folder}
    found = {label: files_below(place, SUFFIXES) for label, place in places.items()}
    found = {label: files for label, files in found.items() if files}
    if not found:
        raise ConfigError(f"{folder}: has no recordings of {', '.join(labels)}: add some")
    return found


def _quiet(
    project: Path, run: Run, live: StreamingResult, scenes: SceneSettings, log: Log
) -> TallyFigures:
    """Misses without noise, unless they were measured with this live detection."""
    path = project / _RESULT
    if path.exists():
        earlier = read_json(path)
        if earlier.get("live") == live and "quiet" in earlier:
            figures: TallyFigures = earlier["quiet"]
            return figures
    return without_noise(run, project / SOUNDS, scenes, log)


def _emulated(run: Run, board: str, log: Log) -> ChainSummary:
    """The run on the board or, if nothing emulates it, on one with its core."""
    emulated = emulated_board(board) or board
    return saved_summary(run, emulated) or run_chain(run, emulated, None, _EMULATED_CLIPS, log)
