# SPDX-License-Identifier: Apache-2.0
"""Live detection of a wake word, in scenes with its phrase and in hours without."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from m3net_tf.audio.frontend.level import Gain
from m3net_tf.evaluation.live import StreamingResult, evaluate_streaming, record
from m3net_tf.evaluation.scenes import SceneSettings
from m3net_tf.evaluation.scoring import TallyFigures
from m3net_tf.evaluation.tuning import total
from m3net_tf.export import Bundle
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.conversion import to_plain
from m3net_tf.system.progress import Log, silent
from m3net_tf.training import Run
from m3net_tf.training.clips.added import read_added
from m3net_tf.wake.project import SOUNDS, WakeSettings, project_of, read_settings
from m3net_tf.wake.sounds import hours_files
from m3net_tf.wake.thresholds import tune_thresholds


def evaluate_wake_word(
    run: Run,
    *,
    split: str = "test",
    target_false_accepts_per_hour: float | None = None,
    hours: float | None = None,
    seed: int | None = None,
    gain: Gain | None = None,
    log: Log = silent,
) -> StreamingResult:
    """Measure a wake word's live detection as ``m3net wake`` does, on its project's sounds.

    Args:
        run: a run in a project's folder.
        split: split of the report, ``validation`` or ``test``.
        target_false_accepts_per_hour: tune the thresholds for it first; None measures the run's
            current settings.
        hours: length of the scenes; None takes the project's.
        seed: seed of the scenes; None takes the project's.
        gain: gain of the microphone; None takes the export's.

    Raises:
        ConfigError: the run is not in the folder of a wake word's project.
        M3NetError: an error of a stage.
    """
    project = project_of(run.folder)
    given: dict[str, Any] = {"hours": hours, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(read_settings(project), **given)
    target = target_false_accepts_per_hour
    return _measured(run, project / SOUNDS, scenes_of(settings), target, split, gain, log)


def scenes_of(settings: WakeSettings) -> SceneSettings:
    """The scenes in which the phrases are said, four of five in noise."""
    return SceneSettings(
        hours=settings.hours,
        gap_s=(1.0, 3.0),
        snr_db=(0.0, 25.0),
        other_share=0.0,
        seed=settings.seed,
    )


def tuned(
    run: Run, folder: Path, scenes: SceneSettings, target: float, log: Log = silent
) -> StreamingResult:
    """Live detection with settings for a target, unless that is done for this network.

    Args:
        folder: sounds of the project.
    """
    path = run.folder / "streaming.json"
    if path.exists():
        result: StreamingResult = read_json(path, StreamingResult)
        model = Bundle.load(run.folder / "export").manifest.model.sha256
        same_scenes = result["scenes"] == to_plain(dataclasses.asdict(scenes))
        same_target = result["target_false_accepts_per_hour"] == target
        if result["model_sha256"] == model and same_scenes and same_target:
            return result
    return _measured(run, folder, scenes, target, "test", None, log)


def without_noise(run: Run, folder: Path, scenes: SceneSettings, log: Log = silent) -> TallyFigures:
    """Misses of the test's voices in scenes without noise.

    Args:
        folder: sounds of the project.
    """
    bundle = Bundle.load(run.folder / "export")
    quiet = dataclasses.replace(scenes, quiet_share=1.0)
    recording = record(bundle, run.dataset(folder), "test", bundle.detector, quiet, log=log)
    return total(recording.score(bundle.detector)).to_dict(recording.hours)


def _measured(
    run: Run,
    folder: Path,
    scenes: SceneSettings,
    target: float | None,
    split: str,
    gain: Gain | None,
    log: Log,
) -> StreamingResult:
    recorded = {clip.label for clip in read_added(run.folder)}
    return evaluate_streaming(
        run,
        folder,
        split=split,
        target_false_accepts_per_hour=target,
        scenes=scenes,
        hours_without={name: hours_files(folder, name) for name in ("validation", "test")},
        gain=gain,
        tuner=functools.partial(tune_thresholds, recorded=recorded),
        log=log,
    )
