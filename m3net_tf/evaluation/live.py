# SPDX-License-Identifier: Apache-2.0
"""Evaluates a run's live detection on long recordings with known events."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import Gain
from m3net_tf.evaluation.curve import curve_csv, plot_curve
from m3net_tf.evaluation.scenes import SceneSettings, TrueEvent, make_scenes
from m3net_tf.evaluation.scoring import TallyFigures
from m3net_tf.evaluation.tuning import Recording, operating_points, total, tune
from m3net_tf.export import Bundle
from m3net_tf.export.from_run import detector_of_run
from m3net_tf.runtime.desktop import load_adaptive, load_streamed
from m3net_tf.runtime.detector_config import DetectorConfig, save_detector
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.recognizer import Model, Pcm, listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance, write_json, write_text
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.checks import HELD_OUT, require_held_out
from m3net_tf.training.run import Run

Tuner = Callable[[Recording, DetectorConfig, float], DetectorConfig]


class LiveFigures(TypedDict):
    """Figures of live detection on recordings.

    Attributes:
        other_sounds: number of their sounds of classes without events.
        spared_runs: share of the network's runs that the gate skips.
    """

    hours: float
    other_sounds: int
    spared_runs: float
    all: TallyFigures
    classes: dict[str, TallyFigures]


class StreamingResult(LiveFigures, Provenance):
    """Content of ``streaming.json``.

    Attributes:
        target_false_accepts_per_hour: target of the tuning; None without a tuning.
        tuned_on_validation: figures on the validation split; None without a tuning.
    """

    run: str
    model_sha256: str
    dataset: str
    protocol: str
    statement: str
    split: str
    clip_list_sha256: dict[str, str]
    scenes: Mapping[str, object]
    target_false_accepts_per_hour: float | None
    detector: Mapping[str, Any]
    tuned_on_validation: LiveFigures | None


@writes_into("run")
def evaluate_streaming(
    run: Run,
    data_dir: Path | None = None,
    *,
    split: str = "test",
    target_false_accepts_per_hour: float | None = None,
    scenes: SceneSettings | None = None,
    hours_without: Mapping[str, Sequence[Path]] | None = None,
    gain: Gain | None = None,
    tuner: Tuner = tune,
    log: Log = silent,
) -> StreamingResult:
    """Measure live detection; with a target, first tune its settings on the validation split.

    Writes tuned settings to ``detector.yaml`` in the run's folder and to its export, from which
    firmware is built, and the results to ``streaming.json`` and ``streaming_curve.{csv,png}``.

    Args:
        split: split of the report, ``validation`` or ``test``.
        target_false_accepts_per_hour: None measures the run's current settings.
        hours_without: for each split, sound files without any event that follow the scenes.
        gain: gain of the microphone; None takes the export's.

    Raises:
        M3NetError: an error of a stage.
    """
    require_held_out(split)
    target = target_false_accepts_per_hour
    if target is not None:
        require_target(target)
    scenes = scenes or SceneSettings()
    without = hours_without or {}
    bundle, config = exported_detector(run, gain)
    dataset = run.dataset(data_dir)
    tuned_on = recording = None
    if target is not None:
        recording = record(
            bundle, dataset, "validation", config, scenes, without.get("validation", ()), log
        )
        log("searching thresholds, windows and suppression")
        config = tuner(recording, config, target)
        for settings in config.classes:
            if settings.event and settings.threshold == 1:
                log(f"class {settings.label} is off: no setting meets the target")
        tuned_on = live_figures(recording, config)
    if recording is None or split != "validation":
        recording = record(bundle, dataset, split, config, scenes, without.get(split, ()), log)
    result: StreamingResult = {
        "run": run.folder.name,
        "model_sha256": bundle.manifest.model.sha256,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split,
        "clip_list_sha256": {name: dataset.clip_list_hash()[name] for name in HELD_OUT},
        "scenes": dataclasses.asdict(scenes),
        "target_false_accepts_per_hour": target,
        "detector": config.to_dict(),
        "tuned_on_validation": tuned_on,
        **live_figures(recording, config),
        **provenance(),
    }
    write_json(run.folder / "streaming.json", result)
    points = operating_points(recording, config)
    write_text(run.folder / "streaming_curve.csv", curve_csv(points, recording.hours))
    chosen = total(recording.score(config))
    plot_curve(points, chosen, recording.hours, run.folder / "streaming_curve.png")
    if tuned_on is not None:
        save_detector(config, run.detector_path)
        bundle.set_detector(config)
    return result


def exported_detector(run: Run, gain: Gain | None = None) -> tuple[Bundle, DetectorConfig]:
    """A run's export, and the run's settings of live detection.

    Args:
        gain: gain of the microphone; None takes the export's, which ``m3net export --gain`` may
            have changed.

    Raises:
        M3NetError: the run is not exported, or as :func:`.from_run.detector_of_run`.
    """
    bundle = Bundle.load(run.folder / "export")
    stream = True if bundle.manifest.push_columns else None
    frames = bundle.manifest.frames
    config = detector_of_run(run, bundle.network, frames, bundle.labels, stream)
    return bundle, config.with_gain(gain or bundle.detector.gain)


def require_target(false_accepts_per_hour: float) -> None:
    """Refuse a target of the tuning that is out of range.

    Raises:
        ConfigError: it is negative or infinite.
    """
    if not 0 <= false_accepts_per_hour < float("inf"):
        raise ConfigError(
            f"the target of {false_accepts_per_hour} false accepts per hour is out of range: give "
            "0 or more"
        )


def record(
    bundle: Bundle,
    dataset: AudioDataset,
    split: str,
    config: DetectorConfig,
    scenes: SceneSettings,
    without: Sequence[Path] = (),
    log: Log = silent,
) -> Recording:
    """Mix scenes of a split, and run the int8 network over them and over sounds without events.

    Raises:
        ConfigError: the front end has another rate than the data set, or needs a whole clip.
        DataError: the split has no clip of a class with events.
    """
    engine = fastest_engine(bundle, config)
    return record_network(bundle.frontend, engine, dataset, split, config, scenes, without, log)


def record_network(
    frontend: FrontendConfig,
    engine: Model,
    dataset: AudioDataset,
    split: str,
    config: DetectorConfig,
    scenes: SceneSettings,
    without: Sequence[Path] = (),
    log: Log = silent,
) -> Recording:
    """:func:`record` of a network that is not exported."""
    if frontend.sample_rate_hz != dataset.info.sample_rate_hz:
        raise ConfigError(
            f"frontend.sample_rate_hz is {frontend.sample_rate_hz}, but {dataset.info.name} "
            f"has {dataset.info.sample_rate_hz} Hz: live detection needs equal rates"
        )
    log(f"mixing {scenes.total_hours:.3g} h of {split} scenes and running the network over them")
    truth: list[TrueEvent] = []
    events = frozenset(settings.label for settings in config.classes if settings.event)

    def chunks() -> Iterator[Pcm]:
        for scene in make_scenes(dataset, split, events, scenes):
            truth.extend(scene.events)
            yield scene.pcm
        for path in without:
            yield from pcm_chunks(path, frontend.sample_rate_hz)

    ungated = dataclasses.replace(config, gate_level=None)
    tape = listen(frontend, engine, ungated, chunks())
    tolerance_s = config.window_columns * frontend.hop_s
    hours = len(tape.levels) * frontend.hop_s / 3600 if without else scenes.total_hours
    return Recording(frontend, tape, tuple(truth), hours, tolerance_s)


def fastest_engine(bundle: Bundle, config: DetectorConfig) -> Model:
    """The network hop by hop if it streams at the detector's pace; the bytes are the same."""
    streams = bundle.manifest.push_columns == config.run_columns
    return engine_of(bundle.network, config.run_columns if streams else None)


def engine_of(network: Int8Network, hop: int | None) -> Model:
    """A network hop by hop if a hop is given and a C compiler is there, else by whole windows."""
    if hop is not None:
        with contextlib.suppress(ConfigError, FirmwareError):  # no checkout or no C compiler
            return load_streamed(network.tflite, hop)
    return load_adaptive(network)


def live_figures(recording: Recording, config: DetectorConfig) -> LiveFigures:
    """What a detector does on a recording."""
    tallies = recording.score(config)
    events = {settings.label for settings in config.classes if settings.event}
    has_event = [config.labels[event.label] in events for event in recording.truth]
    return {
        "hours": recording.hours,
        "other_sounds": len(has_event) - sum(has_event),
        "spared_runs": recording.spared_runs(config),
        "all": total(tallies).to_dict(recording.hours),
        "classes": {label: tally.to_dict(recording.hours) for label, tally in tallies.items()},
    }
