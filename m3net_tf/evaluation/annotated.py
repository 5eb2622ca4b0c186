# SPDX-License-Identifier: Apache-2.0
"""Evaluates a run's live detection on annotated recordings."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.datasets import AudioDataset, data_folder
from m3net_tf.audio.datasets.annotated import Recording
from m3net_tf.audio.datasets.folder import annotated_folder
from m3net_tf.audio.frontend.level import Gain
from m3net_tf.evaluation.event_scores import Counts, Figures, Scores, event_based, segment_based
from m3net_tf.evaluation.live import exported_detector, fastest_engine
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector_config import DetectorConfig, save_detector
from m3net_tf.runtime.recognizer import listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.runtime.spans import sound_events
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.clips.checks import require_held_out
from m3net_tf.training.run import Run


class ScoreFigures(TypedDict):
    """Scores of all classes together, and of each."""

    all: Figures
    classes: dict[str, Figures]


class AnnotatedResult(Provenance):
    """Scores of detected events against annotations.

    Attributes:
        split: whose recordings they are; None for others.
        recordings: names of the recordings.
        left_out: annotated events of classes that trigger none.
    """

    run: str
    model_sha256: str
    dataset: str
    protocol: str
    statement: str
    split: str | None
    recordings: list[str]
    hours: float
    left_out: int
    detector: Mapping[str, Any]
    event_based: ScoreFigures
    segment_based: ScoreFigures


@writes_into("run")
def evaluate_annotated(
    run: Run,
    data_dir: Path | None = None,
    *,
    split: str = "test",
    others: Path | None = None,
    fit_edges: bool = False,
    gain: Gain | None = None,
    log: Log = silent,
) -> AnnotatedResult:
    """Score the events of a run's exported network in annotated recordings.

    Args:
        split: ``validation`` or ``test``: its recordings.
        others: a folder of annotated recordings to take instead.
        fit_edges: first find where sounds begin and end relative to the crossings of their scores,
            on the validation's recordings, or the training's if those validate. It is saved in
            ``detector.yaml`` and in the export.
        gain: gain of the microphone; None takes the export's.

    Raises:
        M3NetError: an error of a stage; the run has no annotated recordings of its own; or
            recordings of ``others`` trained it.
    """
    require_held_out(split)
    bundle, config = exported_detector(run, gain)
    dataset = run.dataset(data_dir)
    if fit_edges:
        chosen = _of_run(run, dataset, data_dir, "validation", or_training=True)
        log(f"fitting edges on {counted(len(chosen), 'recording')} of validation or training")
        config = dataclasses.replace(config, inset_s=0.0)
        config = dataclasses.replace(config, inset_s=_inset_s(bundle, config, chosen))
        save_detector(config, run.detector_path)
        bundle.set_detector(config)
    if others is None:
        recordings = _of_run(run, dataset, data_dir, split)
    else:
        recordings = annotated_folder(others).recordings
        _require_untrained(recordings, dataset)
    log(f"listening to {counted(len(recordings), 'recording')}")
    scores = {scorer: Scores(Counts(), {}) for scorer in (event_based, segment_based)}
    left_out = 0
    for recording in recordings:
        annotated = _of_classes(recording, config)
        left_out += len(recording.events) - len(annotated)
        detected = _detected(bundle, config, recording.path)
        for scorer in scores:
            scores[scorer] += scorer(annotated, detected)
    return {
        "run": run.folder.name,
        "model_sha256": bundle.manifest.model.sha256,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split if others is None else None,
        "recordings": [recording.name for recording in recordings],
        "hours": sum(recording.length_s for recording in recordings) / 3600,
        "left_out": left_out,
        "detector": config.to_dict(),
        "event_based": _figures(scores[event_based]),
        "segment_based": _figures(scores[segment_based]),
        **provenance(),
    }


def _of_run(
    run: Run, dataset: AudioDataset, data_dir: Path | None, split: str, or_training: bool = False
) -> tuple[Recording, ...]:
    """The recordings of a split of which no part trains, or the training's if there is none.

    Raises:
        ConfigError: the run was not trained on annotated recordings.
        DataError: all recordings of the split train, too.
    """
    if not run.recipe().dataset.options.get("annotations"):
        raise ConfigError(
            f"{run.folder}: was not trained on annotated recordings: name a folder of some by "
            "--recordings"
        )
    trained = {clip.path for clip in dataset.split("train")}
    paths = {clip.path for clip in dataset.split(split)} - trained
    if not paths and not or_training:
        raise DataError(
            f"{run.folder}: parts of the {split} recordings train: take --split test, or annotate "
            "four recordings or more"
        )
    found = annotated_folder(data_folder(dataset.info.name, run.data_folder(data_dir)))
    return tuple(of for of in found.recordings if of.path in (paths or trained))


def _require_untrained(recordings: Iterable[Recording], dataset: AudioDataset) -> None:
    trained = {clip.path.resolve() for clip in dataset.split("train") if clip.path}
    for recording in recordings:
        if recording.path.resolve() in trained:
            raise DataError(
                f"{recording.path}: trained this run: name other recordings, or omit --recordings "
                "to take the split's"
            )


def _of_classes(recording: Recording, config: DetectorConfig) -> list[SoundEvent]:
    """The annotated events of classes that trigger events."""
    labels = {settings.label for settings in config.classes if settings.event}
    return [event for event in recording.events if event.label in labels]


def _detected(bundle: Bundle, config: DetectorConfig, path: Path) -> list[SoundEvent]:
    frontend = bundle.frontend
    chunks = pcm_chunks(path, frontend.sample_rate_hz)
    tape = listen(frontend, fastest_engine(bundle, config), config, chunks)
    return sound_events(frontend, config, tape, config.labels)


def _inset_s(bundle: Bundle, config: DetectorConfig, recordings: Sequence[Recording]) -> float:
    """Median time by which annotated sounds are inside the detected ones, at both ends.

    Raises:
        DataError: no annotated sound is detected.
    """
    inside_s: list[float] = []
    for recording in recordings:
        detected = _detected(bundle, config, recording.path)
        for true in _of_classes(recording, config):
            same = (event for event in detected if event.label == true.label)
            common_s, found = max(
                ((_common_s(true, event), event) for event in same), default=(0, true)
            )
            if common_s > 0:
                inside_s += [true.start_s - found.start_s, found.end_s - true.end_s]
    if not inside_s:
        raise DataError(
            "no annotated sound of these recordings is detected, so their edges cannot be fitted: "
            "find thresholds by --streaming --target-false-accepts-per-hour 1, or train for longer"
        )
    return round(float(np.median(inside_s)), 3)


def _common_s(one: SoundEvent, other: SoundEvent) -> float:
    """Time that two sounds have in common; negative between sounds apart."""
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def _figures(scores: Scores) -> ScoreFigures:
    classes = {label: counts.to_dict() for label, counts in sorted(scores.classes.items())}
    return {"all": scores.all.to_dict(), "classes": classes}
