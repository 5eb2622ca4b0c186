# SPDX-License-Identifier: Apache-2.0
"""A wake word on real recordings: misses in one folder, false accepts in hours of others."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.datasets.loudness import at_level
from m3net_tf.evaluation.curve import curve_csv, plot_curve
from m3net_tf.evaluation.live import fastest_engine
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.scoring import Tally, TallyFigures
from m3net_tf.evaluation.tuning import THRESHOLDS, Recording, with_threshold
from m3net_tf.export import Bundle
from m3net_tf.lab.bench.takes import distinct_takes, length_s, level_db, pitch_hz
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.recognizer import listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance, write_text
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.scoring.metrics import wilson_interval

_BEFORE_S, _AFTER_S = 0.5, 1.5  # of background around each recording
_QUIET_DB = -80.0
_HIGH_HZ = 150.0  # between most men's voices and most women's
_PROPERTIES = {"pitch_hz": pitch_hz, "length_s": length_s, "level_db": level_db}
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


class Takes(TypedDict):
    """Misses with the detector's own settings, where copies of a recording count as one.

    Attributes:
        takes: distinct recordings.
        miss_rate: mean over the takes of the share of their copies that is missed.
        miss_rate_95: its 95 % interval, low and high.
    """

    takes: int
    miss_rate: float
    miss_rate_95: tuple[float, float]


class TakesOf(Takes):
    """Takes with a property in a range.

    Attributes:
        at_least: lower limit of the property, which is within the range; None without a limit.
        below: upper limit, which is not.
    """

    at_least: float | None
    below: float | None


class WakeResult(Provenance):
    """A wake word on real recordings.

    Attributes:
        snr_db: level of the word above the noise; None without noise.
        hours: length of the recordings without the word.
        unreadable: files that are damaged or not sound: what can be read of one without the word
            counts, and a recording of the word is left out.
        takes: misses by distinct recordings.
        takes_by: the same for ranges of the pitch, the length, and the level without the noise.
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
    takes: Takes
    takes_by: dict[str, list[TakesOf]]
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

    sounds, spoken = _spoken(bundle, word, _files(recordings), noise, snr_db, leave_out, log)
    if not sounds:
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
    label = bundle.labels.index(word)
    threshold = config.classes[label].threshold
    return {
        "model_sha256": bundle.manifest.model.sha256,
        "word": word,
        "snr_db": snr_db,
        "target_false_accepts_per_hour": target,
        "hours": hours,
        "unreadable": unreadable,
        **_by_takes(sounds, spoken.missed(config, label), bundle.frontend.sample_rate_hz),
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
) -> tuple[list[Audio], Recording]:
    """The recordings of the word, and all one after the other, each in some background."""
    log(f"{len(files)} recordings of {word}")
    rate_hz = bundle.frontend.sample_rate_hz
    truth: list[TrueEvent] = []
    sounds: list[Audio] = []

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
            sounds.append(sound)
            before = round(_BEFORE_S * rate_hz)
            mix = np.pad(sound, (before, round(_AFTER_S * rate_hz)))
            background_db = _QUIET_DB
            if snr_db is not None:
                background_db = level_db(sound, rate_hz) - snr_db
            first = int(rng.integers(len(background) - len(mix)))
            mix += at_level(background[first : first + len(mix)], background_db)
            start_s = at_s + before / rate_hz
            truth.append(
                TrueEvent(bundle.labels.index(word), start_s, start_s + len(sound) / rate_hz)
            )
            at_s += len(mix) / rate_hz
            yield to_pcm16(mix)

    tape = _tape(bundle, said())
    return sounds, Recording(bundle.frontend, tape, tuple(truth), 0.0, _tolerance_s(bundle))


class _ByTakes(TypedDict):
    """Entries of :class:`WakeResult`."""

    takes: Takes
    takes_by: dict[str, list[TakesOf]]


def _by_takes(sounds: Sequence[Audio], missed: npt.NDArray[np.bool_], rate_hz: int) -> _ByTakes:
    """Misses by take, and by what is known of a take's first copy."""
    _, first, take_of, copies = np.unique(
        distinct_takes(sounds, rate_hz), return_index=True, return_inverse=True, return_counts=True
    )
    shares = np.bincount(take_of, missed) / copies
    result: _ByTakes = {"takes": _takes(shares), "takes_by": {}}
    for name, measured in _PROPERTIES.items():
        values = np.array([measured(sounds[index], rate_hz) for index in first])
        limits = [_HIGH_HZ] if name == "pitch_hz" else np.quantile(values, [1 / 3, 2 / 3]).tolist()
        ranges: list[TakesOf] = []
        for low, high in itertools.pairwise([None, *limits, None]):
            within = np.ones(len(values), bool)
            if low is not None:
                within &= values >= low
            if high is not None:
                within &= values < high
            ranges.append({"at_least": low, "below": high, **_takes(shares[within])})
        result["takes_by"][name] = ranges
    return result


def _takes(shares: npt.NDArray[np.float64]) -> Takes:
    count = len(shares)
    missed = float(shares.sum())
    low_high = wilson_interval(missed, count) if count else (0.0, 1.0)
    return {"takes": count, "miss_rate": missed / max(1, count), "miss_rate_95": low_high}


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
