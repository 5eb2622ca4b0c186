# SPDX-License-Identifier: Apache-2.0
"""Enrolled words on real recordings: misses of a speaker's other recordings, and false accepts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.frontend.reference import features_int8
from m3net_tf.boards.device.enrolment import word_window
from m3net_tf.evaluation.tuning import with_threshold
from m3net_tf.export import Bundle
from m3net_tf.export.enrolment import embedding_listener
from m3net_tf.runtime.detector import Tape, detect
from m3net_tf.runtime.prototypes import Prototypes
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.metrics import wilson_interval

_AFTER_S = 1.0  # of silence behind each recording, in which its word may still be detected
_NOISE = 3  # largest sample of the background around it
Pcm = npt.NDArray[np.int16]
Int8 = npt.NDArray[np.int8]


class EnrolmentResult(Provenance):
    """Enrolled words on real recordings.

    Attributes:
        model_sha256: hash of the network.
        speakers: pairs of a word and a speaker.
        trials: recordings, each heard with others of its speaker enrolled.
        examples: mean number of enrolled recordings.
        hours: of other sounds, in which each trial's word is counted.
        threshold: of all words: the lowest with which a word has no more false accepts an hour
            than the target, on average.
        missed: trials without a detection.
        missed_share: their share, and its 95 % interval (Wilson).
        false_accepts_per_hour: of a word, on average.
        by_word: share of missed trials of each word.
    """

    model_sha256: str
    speakers: int
    trials: int
    examples: float
    hours: float
    target_false_accepts_per_hour: float
    threshold: float
    missed: int
    missed_share: float
    missed_share_95: tuple[float, float]
    false_accepts_per_hour: float
    by_word: dict[str, float]


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A recording: the output for the window that is enrolled, and the tape of live detection."""

    example: Int8
    tape: Tape


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A recording and other sounds with others of its speaker enrolled."""

    word: str
    examples: int
    heard: Tape
    others: Tape


def run_bench_enrolment(
    bundle: Bundle,
    recordings: Path,
    negatives: Sequence[Path],
    *,
    count: int = 5,
    target: float = 1.0,
    log: Log = silent,
) -> EnrolmentResult:
    """Measure an export for enrolment, streaming, with one threshold for all words.

    Each recording is heard with up to ``count`` others of the same speaker and word enrolled.

    Args:
        bundle: the export.
        recordings: folder of ``<word>/<speaker>/<recording>``.
        negatives: folders without the words.
        count: recordings that are enrolled.
        target: false accepts of a word an hour.
        log: receives progress.

    Raises:
        DataError: no speaker has two recordings of a word, or a file cannot be read.
    """
    listener = embedding_listener(bundle.tflite, bundle.frontend, bundle.detector)
    heard = list(_recordings(bundle, listener, recordings, log))
    log("recordings without the words")
    files = [path for folder in negatives for path in sounds_below(folder)]
    others = listener(chunk for path in files for chunk in pcm_chunks(path, _rate_hz(bundle)))
    hours = len(others.levels) * bundle.frontend.hop_s / 3600
    trials: list[_Trial] = []
    for word, of_speaker in heard:
        for place in range(len(of_speaker)):
            ring = [*of_speaker[place + 1 :], *of_speaker[:place]][:count]
            words = Prototypes(1, bundle.manifest.model.output_quantization[1])
            for each in ring:
                words.add("word", each.example)
            own = _scored(of_speaker[place].tape, words)
            trials.append(_Trial(word, len(ring), own, _scored(others, words)))
    settings = dataclasses.replace(bundle.detector.classes[0], label="word")
    config = dataclasses.replace(bundle.detector, classes=(settings,), gate_level=None)

    def events(level: int, tapes: Sequence[Tape]) -> list[int]:
        """Detections at a threshold, in steps of the scores."""
        at_level = with_threshold(config, level / 256)
        return [len(detect(at_level, tape)) for tape in tapes]

    allowed = target * hours * len(trials)
    low, high = 1, 256
    with track(log, "thresholds", 8, "steps") as task:
        while low < high:
            middle = (low + high) // 2
            if sum(events(middle, [trial.others for trial in trials])) <= allowed:
                high = middle
            else:
                low = middle + 1
            task.advance()
    missed = np.equal(events(low, [trial.heard for trial in trials]), 0)
    accepts = sum(events(low, [trial.others for trial in trials]))
    spoken = np.array([trial.word for trial in trials])
    return {
        "model_sha256": bundle.manifest.model.sha256,
        "speakers": len(heard),
        "trials": len(trials),
        "examples": float(np.mean([trial.examples for trial in trials])),
        "hours": hours,
        "target_false_accepts_per_hour": target,
        "threshold": low / 256,
        "missed": int(missed.sum()),
        "missed_share": float(missed.mean()),
        "missed_share_95": wilson_interval(int(missed.sum()), len(trials)),
        "false_accepts_per_hour": accepts / hours / len(trials),
        "by_word": {word: float(missed[spoken == word].mean()) for word in sorted({*spoken})},
        **provenance(),
    }


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


def _scored(tape: Tape, words: Prototypes) -> Tape:
    return Tape(tape.levels, words.scores(tape.scores))
