# SPDX-License-Identifier: Apache-2.0
"""Makes an export that reports what is not like normal recordings, and measures it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.anomaly.learning import NormalNetwork, Recording, learn_normal, sound_of
from m3net_tf.anomaly.threshold import NormalThreshold, find_threshold, settings_at
from m3net_tf.audio.datasets import AudioDataset, load_dataset
from m3net_tf.audio.datasets.normal_only import ANOMALY, NORMAL
from m3net_tf.audio.datasets.windows import length_s
from m3net_tf.compiler.engines import DEFAULT_ENGINE, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.enrolment import embedding_network
from m3net_tf.export.from_file import export_file
from m3net_tf.runtime.classifier import find_model
from m3net_tf.runtime.metadata import attach_metadata, read_metadata
from m3net_tf.runtime.prototypes import UNUSUAL
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance, write_bytes, write_json
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent, track

NETWORK, RESULT = "normal.tflite", "normal.json"
_LOW_SHARE = 0.1  # of false alarms, up to which DCASE's task 2 measures pAUC


class AnomalyTest(TypedDict):
    """How well anomalies are told from normal clips, by the mean score of a clip.

    Attributes:
        auc: area under the ROC curve.
        pauc: the same up to a share of 0.1 of false alarms, standardised (McClish) so that chance
            is 0.5, as in DCASE's task 2.
    """

    auc: float
    pauc: float
    normal: int
    anomalies: int


class NormalFacts(Provenance):
    """What :func:`make_normal` writes into ``normal.json``.

    Attributes:
        recordings: normal recordings that were learnt.
        held_out_recordings: normal recordings that set the threshold.
        test: figures of the test clips; None without any.
    """

    body: str
    model_sha256: str
    prototypes: int
    recordings: int
    held_out_recordings: int
    threshold: NormalThreshold
    test: AnomalyTest | None


@writes_into("folder", makes=True)
def make_normal(
    sounds: Path,
    body: Path,
    folder: Path,
    *,
    background: Sequence[Path] = (),
    false_alarms_per_day: float = 1.0,
    only: str = "",
    group_pattern: str = "",
    seed: int = 0,
    engine: Engine = DEFAULT_ENGINE,
    log: Log = silent,
) -> tuple[Bundle, NormalFacts]:
    """Make an export that reports what is not like normal sounds; needs no TensorFlow.

    Args:
        sounds: folder of the data set ``normal_only``.
        body: trained network that ends in a dense layer and softmax: its name, run or ``.tflite``.
        folder: gets ``normal.tflite``, ``normal.json`` and ``export``.
        background: folders of any other sounds, by which the body's outputs are whitened.
        only: option of the data set.
        group_pattern: option of the data set.
        seed: seed of the data set's split.

    Raises:
        DataError: a file is missing or broken, or there are too few recordings.
        ModelError: the body has another form.
        ConfigError: the number of false alarms is not positive.
    """
    if false_alarms_per_day <= 0:
        raise ConfigError(f"{false_alarms_per_day:g} false alarms a day: give a number above 0")
    tflite, described = read_metadata(find_model(body))
    metadata = described.without_gain()  # a sound's level is part of what is normal
    rate_hz = metadata.frontend.sample_rate_hz
    chosen: dict[str, Any] = {"only": only, "group_pattern": group_pattern}
    dataset = load_dataset("normal_only", sounds, seed=seed, sample_rate_hz=rate_hz, **chosen)
    learnt = recordings_of(dataset, "train")
    held_out = recordings_of(dataset, "validation")
    if metadata.warp:
        raise ModelError(f"{body} warps its frames (DiffRes): choose another trained network")
    try:
        embedding = embedding_network(tflite, metadata, background, log)
    except ModelError as error:
        raise ModelError(f"{body}: {error}") from None
    network = learn_normal(embedding, metadata, learnt, log)
    hours = sum(map(length_s, dataset.split("validation"))) / 3600
    threshold = normal_threshold(network, held_out, hours, false_alarms_per_day, log)
    write_bytes(folder / NETWORK, with_threshold(network, threshold["threshold"]))
    bundle = export_file(folder / NETWORK, folder, log, engine)
    facts: NormalFacts = {
        "body": str(body),
        "model_sha256": bundle.manifest.model.sha256,
        "prototypes": len(network.normal.prototypes),
        "recordings": len(learnt),
        "held_out_recordings": len(held_out),
        "threshold": threshold,
        "test": tested_clips(network, dataset, log),
        **provenance(),
    }
    write_json(folder / RESULT, facts)
    return bundle, facts


def recordings_of(dataset: AudioDataset, split: str) -> list[Recording]:
    """The files of each group of a split."""
    groups: dict[str, list[Path]] = {}
    for clip in dataset.split(split):
        assert clip.path is not None
        groups.setdefault(clip.group, []).append(clip.path)
    return [*groups.values()]


def normal_threshold(
    network: NormalNetwork,
    recordings: Sequence[Recording],
    hours: float,
    per_day: float,
    log: Log,
) -> NormalThreshold:
    """The threshold of recordings that were not learnt."""
    listener = network.listener()
    tapes = []
    with track(log, "held-out sounds", len(recordings), "recordings") as task:
        for recording in recordings:
            tapes.append(listener(sound_of(recording, network.metadata)))
            task.advance()
    return find_threshold(network.detector, tapes, hours, per_day)


def with_threshold(network: NormalNetwork, threshold: float) -> bytes:
    """The network's file with its metadata."""
    settings = settings_at(network.detector.classes[0], threshold)
    detector = dataclasses.replace(network.detector, classes=(settings,))
    manifest = {**network.metadata.manifest, "detector": detector.to_dict()}
    return attach_metadata(network.tflite, manifest)


def tested_clips(network: NormalNetwork, dataset: AudioDataset, log: Log) -> AnomalyTest | None:
    """Figures of a data set's test clips; None if they are of one class."""
    clips = dataset.split("test")
    if {clip.label for clip in clips} != {NORMAL, ANOMALY}:
        return None
    rate_hz = network.frontend.sample_rate_hz
    score = network.clip_scorer()
    scores = []
    with track(log, "test clips", len(clips), "clips") as task:
        for clip in clips:
            assert clip.path is not None
            scores.append(score(pcm_chunks(clip.path, rate_hz)))
            task.advance()
    anomalous = np.array([clip.label == ANOMALY for clip in clips])
    return anomaly_test(np.array(scores), anomalous)


def anomaly_test(scores: npt.NDArray[np.float64], anomalous: npt.NDArray[np.bool_]) -> AnomalyTest:
    """Figures of the scores of clips, both of shape (clips,)."""
    from sklearn.metrics import roc_auc_score

    return {
        "auc": float(roc_auc_score(anomalous, scores)),
        "pauc": float(roc_auc_score(anomalous, scores, max_fpr=_LOW_SHARE)),
        "normal": int((~anomalous).sum()),
        "anomalies": int(anomalous.sum()),
    }


def normal_lines(facts: NormalFacts) -> list[str]:
    """Sentences on what :func:`make_normal` made."""
    threshold = facts["threshold"]
    low, high = threshold["per_day_95"]
    lines = [
        f"{UNUSUAL}: {facts['prototypes']} prototypes of {facts['recordings']} recordings",
        f"threshold {threshold['threshold']:.3f}: {threshold['false_alarms']} false alarms in "
        f"{threshold['hours']:.2f} hours of {facts['held_out_recordings']} held-out recordings, "
        f"{threshold['per_day']:.1f} a day (95 %: {low:.1f} to {high:.1f})",
    ]
    if high > threshold["asked_per_day"]:
        lines.append(
            "so little sound cannot show fewer: m3net device calibrate raises the threshold where "
            "the board hangs"
        )
    if test := facts["test"]:
        lines.append(
            f"test: AUC {test['auc']:.3f}, pAUC {test['pauc']:.3f} on {test['normal']} normal "
            f"clips and {test['anomalies']} anomalies"
        )
    return lines
