# SPDX-License-Identifier: Apache-2.0
"""Enrolled words on real recordings: misses of a speaker's other recordings, and false accepts."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.frontend.reference import features_int8
from m3net_tf.export import Bundle
from m3net_tf.export.enrolment import embedding_listener
from m3net_tf.runtime.detector import Tape, detect
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.enrolment import word_window
from m3net_tf.runtime.prototypes import Prototypes
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.scoring.metrics import wilson_interval

_AFTER_S = 1.0  # of silence behind each recording, in which its word may still be detected
_NOISE = 3  # largest sample of the background around it
Pcm = npt.NDArray[np.int16]
Int8 = npt.NDArray[np.int8]


class Shares(TypedDict):
    """Share of missed trials, and mean number of false accepts an hour of a word."""

    missed_share: float
    false_accepts_per_hour: float


class EnrolmentResult(Provenance, Shares):
    """Enrolled words on real recordings.

    Attributes:
        speakers: pairs of a word and a speaker.
        trials: recordings, each scored with others of its speaker enrolled.
        examples: mean number of enrolled recordings.
        hours: hours of other sounds, in which each trial's word is counted.
        missed: trials without a detection.
        missed_share_95: 95 % interval of their share (Wilson).
        by_word: the shares of each word.
    """

    model_sha256: str
    speakers: int
    trials: int
    examples: float
    hours: float
    threshold: float
    missed: int
    missed_share_95: tuple[float, float]
    by_word: dict[str, Shares]


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A recording: the output for the window that is enrolled, and the tape of live detection."""

    example: Int8
    tape: Tape


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A recording and other sounds, scored with others of its speaker enrolled."""

    word: str
    examples: int
    threshold: float
    missed: bool
    false_accepts: int


def run_bench_enrolment(
    bundle: Bundle,
    recordings: Path,
    negatives: Sequence[Path],
    *,
    count: int = 5,
    log: Log = silent,
) -> EnrolmentResult:
    """Measure an export for enrolment, streaming, with the thresholds that its words get.

    Each recording is scored with up to ``count`` others of the same speaker and word enrolled.

    Args:
        recordings: folder of ``<word>/<speaker>/<recording>``.

    Raises:
        DataError: no speaker has two recordings of a word, or a file cannot be read.
    """
    listener = embedding_listener(bundle.tflite, bundle.frontend, bundle.detector)
    heard = list(_recordings(bundle, listener, recordings, log))
    log("recordings without the words")
    files = [path for folder in negatives for path in sounds_below(folder)]
    others = listener(chunk for path in files for chunk in pcm_chunks(path, _rate_hz(bundle)))
    hours = len(others.levels) * bundle.frontend.hop_s / 3600
    words = bundle.prototypes()
    trials = []
    detector = dataclasses.replace(bundle.detector, gate_level=None)
    with track(log, "trials", sum(len(each) for _, each in heard), "recordings") as task:
        for word, of_speaker in heard:
            for place, own in enumerate(of_speaker):
                ring = [*of_speaker[place + 1 :], *of_speaker[:place]][:count]
                for each in ring:
                    words.add("word", each.example)
                config = words.detector(detector)
                detections, accepts = (_events(config, words, tape) for tape in (own.tape, others))
                threshold = config.classes[0].threshold
                trials.append(_Trial(word, len(ring), threshold, detections == 0, accepts))
                words.forget("word")
                task.advance()
    missed = sum(trial.missed for trial in trials)
    by_word = {word: [each for each in trials if each.word == word] for word, _ in heard}
    return {
        "model_sha256": bundle.manifest.model.sha256,
        "speakers": len(heard),
        "trials": len(trials),
        "examples": float(np.mean([trial.examples for trial in trials])),
        "hours": hours,
        "threshold": float(np.mean([trial.threshold for trial in trials])),
        "missed": missed,
        "missed_share_95": wilson_interval(missed, len(trials)),
        **_shares(trials, hours),
        "by_word": {word: _shares(of_word, hours) for word, of_word in by_word.items()},
        **provenance(),
    }


def _shares(trials: Sequence[_Trial], hours: float) -> Shares:
    accepts = float(np.mean([trial.false_accepts for trial in trials]))
    missed = float(np.mean([trial.missed for trial in trials]))
    return {"missed_share": missed, "false_accepts_per_hour": accepts / hours}


def _rate_hz(bundle: Bundle) -> int:
    return bundle.frontend.sample_rate_hz


def _recordings(
    bundle: Bundle, listener: Callable[[Iterable[Pcm]], Tape], folder: Path, log: Log
) -> Iterator[tuple[str, list[_Heard]]]:
    """Each word with the recordings of each speaker who has several."""
    samples = bundle.frontend.sample_count(bundle.manifest.frames)
    rng = np.random.default_rng(45)
    speakers = sorted(each for each in folder.glob("*/*") if each.is_dir())
    found = {each: sounds_below(each) for each in speakers}
    found = {each: files for each, files in found.items() if len(files) > 1}
    if not found:
        raise DataError(f"{folder}: has no two recordings in a folder <word>/<speaker>: add some")
    with track(log, "recordings", sum(map(len, found.values())), "clips") as task:
        for speaker, files in found.items():
            windows, tapes = [], []
            for path in files:
                pcm = to_pcm16(read_audio(path, sample_rate_hz=_rate_hz(bundle)))
                window = word_window(pcm, samples, _rate_hz(bundle))
                windows.append(features_int8(bundle.frontend, window / np.float32(32768)))
                around = np.pad(pcm, (samples, round(_AFTER_S * _rate_hz(bundle))))
                noise = rng.integers(-_NOISE, _NOISE + 1, len(around))
                mix = np.clip(around.astype(np.int64) + noise, -32768, 32767).astype(np.int16)
                tapes.append(listener([mix]))
                task.advance()
            examples = bundle.run_reference(np.stack(windows)[..., None])
            yield speaker.parent.name, [*map(_Heard, examples, tapes)]


def _events(config: DetectorConfig, words: Prototypes, tape: Tape) -> int:
    """How often live detection finds a word in a network's outputs."""
    return len(detect(config, Tape(tape.levels, words.scores(tape.scores))))
