# SPDX-License-Identifier: Apache-2.0
"""A project's wake words for ESPHome's micro_wake_word.

They have a network of their own, which is trained on the features of micro_wake_word, and has the
form of its networks: it takes a few columns of features, and keeps the others in variables.
"""

import dataclasses
from pathlib import Path

from m3net_tf.audio.frontend.microfrontend import INPUT_SCALE, MICROFRONTEND
from m3net_tf.compiler.wake_words import WakeWord, write_wake_word
from m3net_tf.evaluation.live import LiveFigures, engine_of, live_figures, record_network
from m3net_tf.evaluation.tuning import Recording
from m3net_tf.quantization.ptq import choose_calibration, quantize_int8
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance, write_bytes, write_json
from m3net_tf.system.progress import Log, silent
from m3net_tf.tflite.stateful import stateful_network
from m3net_tf.training import Run, load_recipe, train
from m3net_tf.training.clips.features import compute_features
from m3net_tf.wake.evaluation import scenes_of
from m3net_tf.wake.project import SOUNDS, read_settings, write_micro_recipe
from m3net_tf.wake.sounds import hours_files, read_wake_sounds
from m3net_tf.wake.teachers import train_teachers
from m3net_tf.wake.thresholds import tune_thresholds

FOLDER = "micro_wake_word"
_RUN_COLUMNS = 8  # 80 ms, as between the runs of the other network


class MicroWakeWords(LiveFigures, Provenance):
    """Content of ``micro_wake_word.json``, which is in the folder of the run.

    Attributes:
        files: JSON file of each phrase.
        tuned_on_validation: figures of the validation's sounds.
    """

    files: dict[str, str]
    tuned_on_validation: LiveFigures


def make_micro_wake_words(
    project: Path, *, jobs: int | None = None, log: Log = silent
) -> MicroWakeWords:
    """Make the networks and JSON files of a project's phrases, in its ``micro_wake_word/``.

    A second call continues after the last finished step.

    Args:
        project: of :func:`.making.make_wake_word`, with its sounds.
        jobs: as there.

    Returns:
        Figures of live detection on the test's voices and hours.

    Raises:
        ConfigError: the package pymicro-features is not installed.
        M3NetError: an error of the training.
    """
    settings = read_settings(project)
    sounds = project / SOUNDS
    folder = project / FOLDER
    recipe = load_recipe(write_micro_recipe(folder, read_wake_sounds(sounds)))
    run = Run(folder / "run")
    train_teachers(recipe, run, sounds, jobs=jobs, log=log)
    train(recipe, run.folder, sounds, log)
    tflite = _int8_network(run, sounds)
    dataset = run.dataset(sounds)
    frames = run.load_model().input_shape[2]
    detector = dataclasses.replace(
        DetectorConfig.default(MICROFRONTEND, frames, dataset.info.labels),
        run_columns=_RUN_COLUMNS,
        several_labels=True,
    )
    network = engine_of(Int8Network(tflite), _RUN_COLUMNS)

    def recorded(split: str) -> Recording:
        hours = hours_files(sounds, split)
        scenes = scenes_of(settings)
        return record_network(MICROFRONTEND, network, dataset, split, detector, scenes, hours, log)

    validation = recorded("validation")
    target = settings.target_false_accepts_per_hour
    tuned = tune_thresholds(validation, detector, target, usual=False)
    files = {}
    for place, chosen in enumerate(tuned.classes):
        if not chosen.event:
            continue
        path = folder / f"{'_'.join(chosen.label.lower().split())}.json"
        word = WakeWord(
            phrase=chosen.label,
            model=path.with_suffix(".tflite"),
            cutoff=chosen.threshold,
            window=chosen.window_runs,
            step_ms=round(1000 * MICROFRONTEND.hop_s),
        )
        stateful = stateful_network(
            tflite, columns=_RUN_COLUMNS, output=place, input_scale=INPUT_SCALE
        )
        write_bytes(word.model, stateful)
        write_wake_word(word, path, settings.language)
        files[chosen.label] = str(path)
    made: MicroWakeWords = {
        "files": files,
        "tuned_on_validation": live_figures(validation, tuned),
        **live_figures(recorded("test"), tuned),
        **provenance(),
    }
    write_json(run.folder / f"{FOLDER}.json", made)
    return made


def _int8_network(run: Run, sounds: Path) -> bytes:
    """The int8 network of whole windows."""
    recipe = run.recipe()
    features = compute_features(run.dataset(sounds), "train", recipe.frontend)
    chosen = choose_calibration(
        features.labels, recipe.quantization.calibration_clips, recipe.quantization.seed
    )
    return quantize_int8(run.load_model(), features.clean[chosen])
