# SPDX-License-Identifier: Apache-2.0
"""Wake words on real recordings: misses in recordings of each, false accepts in hours of others.

The recordings may also be mixed with noise, at several levels. The hours without the words, which
take longest, are computed once for all words and levels.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.datasets.loudness import at_level
from m3net_tf.audio.datasets.pitch import HIGH_HZ, pitch_hz
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.evaluation.curve import curve_csv, plot_curve
from m3net_tf.evaluation.live import fastest_engine
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.scoring import Tally, TallyFigures
from m3net_tf.evaluation.tuning import THRESHOLDS, Recording, total, with_threshold
from m3net_tf.export import Bundle
from m3net_tf.lab.bench.rivals import RATE_HZ, Rival
from m3net_tf.lab.bench.takes import distinct_takes, length_s, level_db
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.recognizer import listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.artifacts import Provenance, provenance, write_text
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.scoring.metrics import wilson_interval

_BEFORE_S, _AFTER_S = 0.5, 1.5  # of background around each recording
_QUIET_DB = -80.0
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


class Detected(TypedDict):
    """A network's detections in the recordings.

    Attributes:
        takes: misses by distinct recordings.
        takes_by: the same for ranges of the pitch, the length, and the level without the noise.
        repeated: detections of a word beyond its first.
        tuned: figures with the network's own threshold.
        at_target: figures with the threshold that misses least and keeps the target on these very
            recordings; None if there is none.
    """

    takes: Takes
    takes_by: dict[str, list[TakesOf]]
    repeated: int
    tuned: OperatingPoint
    at_target: OperatingPoint | None


class DetectedAt(Detected):
    """Detections at one level of noise.

    Attributes:
        snr_db: level of the word above the noise; None without noise.
        rivals: what other networks detect in the same sounds, by their names.
    """

    snr_db: float | None
    rivals: dict[str, Detected]


class WakeResult(Provenance):
    """Wake words on real recordings.

    Attributes:
        hours: length of the recordings without the words.
        words: detections of each word without noise, and at each level of noise.
        unreadable: files that are damaged or not sound: what can be read of one without the words
            counts, and a recording of a word is left out.
    """

    model_sha256: str
    target_false_accepts_per_hour: float
    hours: float
    words: dict[str, list[DetectedAt]]
    unreadable: list[str]


def run_bench_wake(
    bundle: Bundle,
    recordings: Mapping[str, Sequence[Path]],
    negatives: Sequence[Path],
    *,
    noise: Sequence[Path] = (),
    snr_db: Sequence[float] = (),
    rivals: Sequence[Rival] = (),
    target: float = 0.5,
    out: Path | None = None,
    log: Log = silent,
) -> WakeResult:
    """Measure an export, streaming, with its own settings and over all thresholds.

    Args:
        recordings: word -> folders or files, in each of which it is said once.
        negatives: folders or files without the words.
        noise: folders or files that are mixed into the recordings.
        snr_db: levels of a recording's loudest third above the noise. Each is measured, and the
            recordings without noise.
        rivals: other networks, each for one of the words.
        target: false accepts an hour of each word.
        out: folder that gets the curve without noise, as a table and a plot.

    Raises:
        ConfigError: there are rivals, and the network does not take sound at their rate.
        DataError: there are no recordings of a word, or none can be read; there are levels, and no
            noise.
    """
    rate_hz = bundle.frontend.sample_rate_hz
    if rivals and rate_hz != RATE_HZ:
        raise ConfigError(
            f"{bundle.folder} takes {rate_hz} Hz, and rivals {RATE_HZ}: leave them out"
        )
    unreadable: list[str] = []

    def leave_out(path: Path, error: DataError) -> None:
        unreadable.append(path.name)
        log(f"left out: {error}")

    noises = _joined(_files(noise), rate_hz) if snr_db else np.zeros(0, np.float32)
    said: dict[str, _ByLevel] = {}
    for word, places in recordings.items():
        files = _files(places)
        log(f"{len(files)} recordings of {word}")
        sounds = _read(files, rate_hz, leave_out)
        if not sounds:
            raise DataError(f"no recording of {word} can be read, such as {unreadable[-1]}")
        said[word] = {level: _mixed(sounds, rate_hz, noises, level) for level in (None, *snr_db)}
    without = _files(negatives)
    tolerance_s = bundle.detector.window_columns * bundle.frontend.hop_s
    own = _Listener(bundle.frontend, bundle.detector, partial(_tape, bundle))
    log("recordings without it" if len(said) == 1 else "recordings without them")
    unspoken = _unspoken(own, _chunks(without, rate_hz, leave_out), tolerance_s)
    measured = {word: _measured(own, word, said[word], unspoken, target) for word in said}
    if out is not None:
        _write_curves(out, measured, unspoken.hours)
    others: dict[str, dict[str, dict[float | None, _Measured]]] = {word: {} for word in said}
    for rival in rivals:
        log(f"{rival.word} with {rival.name}")
        listener = _Listener(rival.frontend, rival.config, rival.tape)
        chunks = _chunks(without, rate_hz, lambda path, error: None)
        others[rival.word][rival.name] = _measured(
            listener, rival.word, said[rival.word], _unspoken(listener, chunks, tolerance_s), target
        )
    return {
        "model_sha256": bundle.manifest.model.sha256,
        "target_false_accepts_per_hour": target,
        "hours": unspoken.hours,
        "words": {
            word: [
                {
                    "snr_db": level,
                    **each.detected,
                    "rivals": {name: other[level].detected for name, other in others[word].items()},
                }
                for level, each in levels.items()
            ]
            for word, levels in measured.items()
        },
        "unreadable": unreadable,
        **provenance(),
    }


def _write_curves(
    out: Path, measured: Mapping[str, Mapping[float | None, "_Measured"]], hours: float
) -> None:
    """Write the curve of all words without noise, as a table and a plot."""
    quiet = {word: levels[None] for word, levels in measured.items()}
    curve = [
        (threshold, {word: each.points[index][1] for word, each in quiet.items()})
        for index, threshold in enumerate(THRESHOLDS)
    ]
    chosen = total({word: each.chosen for word, each in quiet.items()})
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "wake_curve.csv", curve_csv(curve, hours))
    plot_curve(curve, chosen, hours, out / "wake_curve.png")


@dataclasses.dataclass(frozen=True)
class _Listener:
    """A network with its detector."""

    frontend: FrontendConfig
    config: DetectorConfig
    tape: Callable[[Iterator[Pcm]], Tape]


@dataclasses.dataclass(frozen=True)
class _Said:
    """Recordings of the word, each also in some background, with the times of the word when these
    are joined."""

    sounds: list[Audio]
    mixes: list[Pcm]
    spans_s: list[tuple[float, float]]
    rate_hz: int


_ByLevel = dict[float | None, _Said]
"""By the level of noise; None without."""


def _read(files: Sequence[Path], rate_hz: int, leave_out: LeaveOut) -> list[Audio]:
    """The sounds of the files that can be read."""
    sounds = []
    for path in files:
        try:
            sounds.append(read_audio(path, sample_rate_hz=rate_hz))
        except DataError as error:
            leave_out(path, error)
    return sounds


def _mixed(sounds: list[Audio], rate_hz: int, noise: Audio, snr_db: float | None) -> _Said:
    """Recordings of the word in noise, or in a quiet background where ``snr_db`` is None."""
    said = _Said(sounds, [], [], rate_hz)
    rng = np.random.default_rng(45)
    quiet = rng.standard_normal(rate_hz * 60).astype(np.float32)
    background = quiet if snr_db is None else noise
    at_s = 0.0
    for sound in sounds:
        before = round(_BEFORE_S * rate_hz)
        mix = np.pad(sound, (before, round(_AFTER_S * rate_hz)))
        background_db = _QUIET_DB if snr_db is None else level_db(sound, rate_hz) - snr_db
        first = int(rng.integers(len(background) - len(mix)))
        mix += at_level(background[first : first + len(mix)], background_db)
        start_s = at_s + before / rate_hz
        said.mixes.append(to_pcm16(mix))
        said.spans_s.append((start_s, start_s + len(sound) / rate_hz))
        at_s += len(mix) / rate_hz
    return said


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A network's detections, with the figures of all thresholds."""

    detected: Detected
    points: list[tuple[float, Tally]]
    chosen: Tally


def _unspoken(listener: _Listener, without: Iterator[Pcm], tolerance_s: float) -> Recording:
    """The scores of the recordings without the words."""
    tape = listener.tape(without)
    hours = len(tape.levels) * listener.frontend.hop_s / 3600
    return Recording(listener.frontend, tape, (), hours, tolerance_s)


def _measured(
    listener: _Listener, word: str, said: _ByLevel, unspoken: Recording, target: float
) -> dict[float | None, _Measured]:
    """A network's detections of a word by level of noise."""
    return {
        level: _measured_at(listener, word, each, unspoken, target) for level, each in said.items()
    }


def _measured_at(
    listener: _Listener, word: str, said: _Said, unspoken: Recording, target: float
) -> _Measured:
    config = listener.config
    label = next(number for number, each in enumerate(config.classes) if each.label == word)
    hours = unspoken.hours
    truth = tuple(TrueEvent(label, start_s, end_s) for start_s, end_s in said.spans_s)
    spoken = dataclasses.replace(
        unspoken, tape=listener.tape(iter(said.mixes)), truth=truth, hours=0.0
    )

    def tally(settings: DetectorConfig) -> Tally:
        right = spoken.score(settings)[word]
        wrong = unspoken.score(settings)[word]
        return dataclasses.replace(right, false_accepts=wrong.false_accepts)

    chosen = tally(config)
    points = [(threshold, tally(with_threshold(config, threshold))) for threshold in THRESHOLDS]
    allowed = [point for point in points if point[1].false_accepts <= target * hours]
    best = min(allowed, key=lambda point: (point[1].missed, point[0]), default=None)
    threshold = config.classes[label].threshold
    detected: Detected = {
        **_by_takes(said.sounds, spoken.missed(config, label), said.rate_hz),
        "repeated": spoken.score(config)[word].false_accepts,
        "tuned": {"threshold": threshold, "figures": chosen.to_dict(hours)},
        "at_target": best and {"threshold": best[0], "figures": best[1].to_dict(hours)},
    }
    return _Measured(detected, points, chosen)


class _ByTakes(TypedDict):
    """Entries of :class:`Detected`."""

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
        limits = [HIGH_HZ] if name == "pitch_hz" else np.quantile(values, [1 / 3, 2 / 3]).tolist()
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


def _chunks(files: Sequence[Path], rate_hz: int, leave_out: LeaveOut) -> Iterator[Pcm]:
    """The recordings without the words, one after the other."""
    for path in files:
        try:
            yield from pcm_chunks(path, rate_hz)
        except DataError as error:
            leave_out(path, error)


def _tape(bundle: Bundle, chunks: Iterator[Pcm]) -> Tape:
    """The scores of a sound, with an open gate."""
    ungated = dataclasses.replace(bundle.detector, gate_level=None)
    engine = fastest_engine(bundle, bundle.detector)
    return listen(bundle.frontend, engine, ungated, chunks)


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
