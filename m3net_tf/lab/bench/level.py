# SPDX-License-Identifier: Apache-2.0
"""Accuracy against the level of a microphone, without and with the automatic gain, in int8.

Each held-out clip is multiplied by a gain, rounded and clipped to 16 bits, as by a microphone that
is too quiet or too loud. For the automatic gain, the clips of a split are one stream in a drawn
order, after some that only settle it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import to_pcm16
from m3net_tf.audio.frontend import features_int8
from m3net_tf.audio.frontend.level import Gain, Microphone, decibels
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.runtime.classifier import Classifier
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import wilson_interval

Pcm = npt.NDArray[np.int16]

GAINS_DB = (-40, -30, -20, -10, 0, 10, 20, 30)
_SETTLING = 40  # clips before those that count
_SEED = 0


class LevelAccuracy(TypedDict):
    """Accuracy at a gain of the microphone.

    Attributes:
        accuracy: share of the clips that are recognised as they are, without the automatic gain.
        automatic: the same with the automatic gain; ``gain_db`` is its mean after each clip.
        verdicts: number of clips after which the level was found too quiet or clipped, without
            automatic gain.
    """

    accuracy: float
    accuracy_95: tuple[float, float]
    automatic: float
    automatic_95: tuple[float, float]
    gain_db: float
    verdicts: dict[str, int]


class LevelResult(Provenance):
    """Accuracy against gain, by decibels."""

    network: str
    dataset: str
    split: str
    clips: int
    levels: dict[str, LevelAccuracy]


def run_bench_level(
    network: Path, data_dir: Path | None = None, split: str = "test", log: Log = silent
) -> LevelResult:
    """Measure an exported run or a trained network on its data set.

    Raises:
        M3NetError: an error of a stage.
    """
    classifier = Classifier(network)
    dataset = Run(find_pretrained(network)).dataset(data_dir)
    clips = dataset.split(split)
    labels = dataset.label_ids(clips)
    sounds = np.stack([to_pcm16(dataset.load(clip)) for clip in clips])
    levels: dict[str, LevelAccuracy] = {}
    with track(log, "gains", len(GAINS_DB), "gains") as task:
        for gain_db in GAINS_DB:
            levels[str(gain_db)] = _at_level(classifier, with_gain(sounds, gain_db), labels)
            task.advance()
    return {
        "network": network.name,
        "dataset": dataset.info.name,
        "split": split,
        "clips": len(clips),
        "levels": levels,
        **provenance(),
    }


def with_gain(sounds: Pcm, gain_db: float) -> Pcm:
    """The samples that another gain of the microphone gives: rounded and clipped."""
    scaled = np.floor(sounds * 10 ** (gain_db / 20) + 0.5)
    return np.asarray(np.clip(scaled, -32768, 32767), np.int16)


def _at_level(classifier: Classifier, sounds: Pcm, labels: npt.NDArray[np.int32]) -> LevelAccuracy:
    order = np.random.default_rng(_SEED).permutation(len(sounds))
    frontend = classifier.metadata.frontend
    listening, amplifying = Microphone(frontend), Microphone(frontend, Gain(automatic=True))
    # A hop of the stream may begin in one clip and end in the next: whole hops only.
    samples = sounds.shape[1] // frontend.hop_samples * frontend.hop_samples
    amplified = sounds.copy()
    gains: list[int] = []
    verdicts: dict[str, int] = {}
    for i in order[:_SETTLING]:
        listening.push(sounds[i, :samples])
        amplifying.push(sounds[i, :samples])
    for i in order:
        listening.push(sounds[i, :samples])
        verdict = listening.verdict.value
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        amplified[i, :samples] = amplifying.push(sounds[i, :samples])
        gains.append(amplifying.gain)
    plain, better = (_hits(classifier, each, labels) for each in (sounds, amplified))
    return {
        "accuracy": plain / len(labels),
        "accuracy_95": wilson_interval(plain, len(labels)),
        "automatic": better / len(labels),
        "automatic_95": wilson_interval(better, len(labels)),
        "gain_db": decibels(sum(gains) // len(gains)),
        "verdicts": verdicts,
    }


def _hits(
    classifier: Classifier, sounds: Sequence[Pcm] | Pcm, labels: npt.NDArray[np.int32]
) -> int:
    frontend = classifier.metadata.frontend
    features = np.stack([features_int8(frontend, pcm / 32768.0) for pcm in sounds])
    return int((classifier.run(features[..., None]).argmax(1) == labels).sum())
