# SPDX-License-Identifier: Apache-2.0
"""A wake word on real recordings: misses in one folder, false accepts in hours of others."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.datasets.loudness import at_level, decibels, loud_power
from m3net_tf.evaluation.curve import curve_csv, plot_curve
from m3net_tf.evaluation.live import fastest_engine
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.scoring import Tally, TallyFigures
from m3net_tf.evaluation.tuning import THRESHOLDS, Recording, with_threshold
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.recognizer import listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance, write_text
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent

_BEFORE_S, _AFTER_S = 0.5, 1.5  # of background around each recording
_QUIET_DB = -80.0
Pcm = npt.NDArray[np.int16]
LeaveOut = Callable[[Path, DataError], None]
"""Called for a file that cannot be read."""


class OperatingPoint(TypedDict):
    """A detector's settings on the recordings.

    Attributes:
        figures: misses in the recordings of the word, false accepts in the others.
    """

    threshold: float
    figures: TallyFigures


class WakeResult(Provenance):
    """A wake word on real recordings.

    Attributes:
        snr_db: level of the word above the noise; None without noise.
        hours: length of the recordings without the word.
        unreadable: files that are damaged or not sound: what can be read of one without the word
            counts, and a recording of the word is left out.
        repeated: detections of a word beyond its first.
        at_target: figures with the threshold that misses least and keeps the target on these very
            recordings; None if there is none.
    """

    model_sha256: str
    word: str
    snr_db: float | None
    target_false_accepts_per_hour: float
    hours: float
    unreadable: list[str]
    repeated: int
    tuned: OperatingPoint
    at_target: OperatingPoint | None


def run_bench_wake(
    bundle: Bundle,
    word: str,
    recordings: Sequence[Path],
    negatives: Sequence[Path],
    *,
    noise: Sequence[Path] = (),
    snr_db: float | None = None,
    target: float = 0.5,
    out: Path | None = None,
    log: Log = silent,
) -> WakeResult:
    """Measure an export, streaming, with its own settings and over all thresholds.

    Args:
        recordings: folders or files, in each of which the word is said once.
        negatives: folders or files without the word.
        noise: folders or files that are mixed into the recordings at ``snr_db``.
        snr_db: level of a recording's loudest third above the noise.
        target: false accepts an hour.
        out: folder that gets the curve, as a table and a plot.

    Raises:
        DataError: there are no recordings, or none can be read.
    """
    config = bundle.detector
    unreadable: list[str] = []

    def leave_out(path: Path, error: DataError) -> None:
        unreadable.append(path.name)
        log(f"left out: {error}")

    spoken = _spoken(bundle, word, _files(recordings), noise, snr_db, leave_out, log)
    if not spoken.truth:
        raise DataError(f"no recording of {word} can be read, such as {unreadable[0]}")
    unspoken = _unspoken(bundle, _files(negatives), leave_out, log)

    def tally(settings: DetectorConfig) -> Tally:
        right = spoken.score(settings)[word]
        wrong = unspoken.score(settings)[word]
        return dataclasses.replace(right, false_accepts=wrong.false_accepts)

    hours = unspoken.hours
    chosen = tally(config)
    points = [(threshold, tally(with_threshold(config, threshold))) for threshold in THRESHOLDS]
    allowed = [point for point in points if point[1].false_accepts <= target * hours]
    best = min(allowed, key=lambda point: (point[1].missed, point[0]), default=None)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        curve = [(threshold, {word: each}) for threshold, each in points]
        write_text(out / "wake_curve.csv", curve_csv(curve, hours))
        plot_curve(curve, chosen, hours, out / "wake_curve.png")
    threshold = config.classes[bundle.labels.index(word)].threshold
    return {
        "model_sha256": bundle.manifest.model.sha256,
        "word": word,
        "snr_db": snr_db,
        "target_false_accepts_per_hour": target,
        "hours": hours,
        "unreadable": unreadable,
        "repeated": spoken.score(config)[word].false_accepts,
        "tuned": {"threshold": threshold, "figures": chosen.to_dict(hours)},
        "at_target": best and {"threshold": best[0], "figures": best[1].to_dict(hours)},
        **provenance(),
    }


def _spoken(
    bundle: Bundle,
    word: str,
    files: Sequence[Path],
    noise: Sequence[Path],
    snr_db: float | None,
    leave_out: LeaveOut,
    log: Log,
) -> Recording:
    """The recordings of the word one after the other, each in some background."""
    log(f"{len(files)} recordings of {word}")
    rate_hz = bundle.frontend.sample_rate_hz
    truth: list[TrueEvent] = []

    def said() -> Iterator[Pcm]:
        rng = np.random.default_rng(45)
        background = rng.standard_normal(rate_hz * 60).astype(np.float32)
        if snr_db is not None:
            background = _joined(_files(noise), rate_hz)
        at_s = 0.0
        for path in files:
            try:
                sound = read_audio(path, sample_rate_hz=rate_hz)
            except DataError as error:
                leave_out(path, error)
                continue
            before = round(_BEFORE_S * rate_hz)
            mix = np.pad(sound, (before, round(_AFTER_S * rate_hz)))
            level_db = _QUIET_DB
            if snr_db is not None:
                level_db = decibels(loud_power(sound, rate_hz)) - snr_db
            first = int(rng.integers(len(background) - len(mix)))
            mix += at_level(background[first : first + len(mix)], level_db)
            start_s = at_s + before / rate_hz
            truth.append(
                TrueEvent(bundle.labels.index(word), start_s, start_s + len(sound) / rate_hz)
            )
            at_s += len(mix) / rate_hz
            yield to_pcm16(mix)

    tape = _tape(bundle, said())
    return Recording(bundle.frontend, tape, tuple(truth), 0.0, _tolerance_s(bundle))


def _unspoken(bundle: Bundle, files: Sequence[Path], leave_out: LeaveOut, log: Log) -> Recording:
    """The recordings without the word, one after the other."""
    log("recordings without it")
    frontend = bundle.frontend

    def chunks() -> Iterator[Pcm]:
        for path in files:
            try:
                yield from pcm_chunks(path, frontend.sample_rate_hz)
            except DataError as error:
                leave_out(path, error)

    tape = _tape(bundle, chunks())
    hours = len(tape.levels) * frontend.hop_s / 3600
    return Recording(frontend, tape, (), hours, _tolerance_s(bundle))


def _tape(bundle: Bundle, chunks: Iterator[Pcm]) -> Tape:
    """The scores of a sound, with an open gate."""
    ungated = dataclasses.replace(bundle.detector, gate_level=None)
    engine = fastest_engine(bundle, bundle.detector)
    return listen(bundle.frontend, engine, ungated, chunks)


def _tolerance_s(bundle: Bundle) -> float:
    return bundle.detector.window_columns * bundle.frontend.hop_s


def _files(places: Sequence[Path]) -> list[Path]:
    """All sound files of folders, and files themselves."""
    found: list[Path] = []
    for place in places:
        found += sounds_below(place) if place.is_dir() else [place]
    return found


def _joined(files: Sequence[Path], rate_hz: int) -> Audio:
    """All sounds, one after the other at one level."""
    if not files:
        raise DataError("--snr-db needs noise: name a folder by --noise")
    sounds = (read_audio(path, sample_rate_hz=rate_hz) for path in files)
    return np.concatenate([at_level(sound, -20.0) for sound in sounds])
