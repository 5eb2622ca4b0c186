# SPDX-License-Identifier: Apache-2.0
"""What the recordings of a folder make of a figure: sentences before a network is trained.

If one class was recorded with another device or at another level, a network may learn the device,
and its accuracy says nothing about the sounds.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.measuring import Recording, measure, measured_clips
from m3net_tf.audio.datasets.noise import NOISE_FOLDER
from m3net_tf.audio.datasets.registry import dataset_options
from m3net_tf.audio.labels import is_silence
from m3net_tf.system.artifacts import cache_folder, read_json, sha256_of, write_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent

_Array = npt.NDArray[Any]
_LAYOUT = 1  # incremented when the same files give other sentences
_SHOWN = 5
_FOLDS = 5
_AROUND = np.arange(-2, 2)  # values around one in the order of their size
_SIGMAS = 3.0
_LOST = 0.2  # share of the energy
_NOISE_LIKE, _STEADY_DB = 0.45, 20.0  # of a quarter and of three quarters of a class


@dataclasses.dataclass(frozen=True)
class _Property:
    """A property of files that can tell classes apart.

    Attributes:
        of: its value for a recording, with a window of some seconds.
        gain: share of the errors of always answering the largest class that it must avoid. A class
            may be longer or louder by its nature; no sound has a sample rate.
    """

    words: str
    learnt: str
    of: Callable[[Recording, float], object]
    gain: float
    in_silence: bool = False


_PROPERTIES = (
    _Property(
        "rate, channels and format of the files",
        "the recorder",
        lambda recording, _: " ".join(map(str, recording.format)),
        gain=0.4,
        in_silence=True,
    ),
    _Property(
        "lengths of the files",
        "how they were cut",
        lambda recording, window_s: round(min(recording.length_s, window_s), 2),
        gain=0.85,
    ),
    _Property(
        "levels of the files",
        "the recorder or its distance",
        lambda recording, _: recording.level_db,
        gain=0.85,
    ),
)


def shortcut_lines(dataset: AudioDataset, log: Log = silent) -> list[str]:
    """Sentences on properties of files that tell classes of a folder apart; none for others.

    None where clips have several labels, which no property tells.

    The files are measured once: the cache keeps the sentences until one of the files changes.

    Args:
        dataset: only a data set with the option ``group_pattern``, of the user's own sounds, is
            measured.
    """
    if "group_pattern" not in dataset_options(dataset.info.name) or dataset.info.multi_label:
        return []
    stored = _stored(dataset)
    with contextlib.suppress(DataError):
        lines: list[str] = read_json(stored, list[str])
        return lines
    recordings, _ = measure(dataset.clips, log)
    return _kept(stored, _shortcuts(recordings, dataset.info.clip_s))


def recording_lines(dataset: AudioDataset, log: Log = silent) -> list[str]:
    """:func:`shortcut_lines`, and sentences on faults of recordings and on what a rate cuts off."""
    if "group_pattern" not in dataset_options(dataset.info.name):
        return []
    recordings, broken = measure(dataset.clips, log)
    shortcuts = list[str]()
    if not dataset.info.multi_label:
        shortcuts = _kept(_stored(dataset), _shortcuts(recordings, dataset.info.clip_s))
    return [
        *(f"training will stop at a file: {fault}" for fault in broken[:1]),
        *shortcuts,
        *_faults(recordings),
        *_lost(recordings, dataset.info.sample_rate_hz),
        *_noise_like(recordings, dataset),
    ]


def _stored(dataset: AudioDataset) -> Path:
    """File of the sentences on shortcuts; its name stands for the measured files and the window."""
    facts: list[object] = [_LAYOUT, dataset.info.clip_s]
    for clip in measured_clips(dataset.clips):
        assert clip.path is not None
        with contextlib.suppress(OSError):  # the measurement names a file that cannot be read
            file = clip.path.stat()
            facts.append((clip.label, str(clip.path.resolve()), file.st_size, file.st_mtime_ns))
    return cache_folder() / "shortcuts" / f"{sha256_of(repr(facts).encode())[:32]}.json"


def _kept(stored: Path, lines: list[str]) -> list[str]:
    """The sentences, which are written to a file of the cache if possible."""
    with contextlib.suppress(OSError):
        write_json(stored, lines)
    return lines


def _shortcuts(recordings: Sequence[Recording], window_s: float) -> list[str]:
    lines = []
    for kind in _PROPERTIES:
        # Silence is quiet, and often recorded for longer.
        of = [r for r in recordings if kind.in_silence or not is_silence(r.label)]
        labels = np.array([recording.label for recording in of])
        values = np.array([kind.of(recording, window_s) for recording in of])
        found = _told(labels, values, kind.gain)
        what = "give the class of"
        if not found and len(names := sorted({*labels.tolist()})) > 2:
            of_class = {name: _told(labels == name, values, kind.gain) for name in names}
            # The class with the fewest errors, as a share of the most frequent answer's errors.
            found, name = max(
                ((of, name) for name, of in of_class.items() if of),
                key=lambda told: (told[0][0] - told[0][1]) / (1 - told[0][1]),
                default=(None, ""),
            )
            what = f"tell {name!r} from the other classes in"
        if not found:
            continue
        reached, chance = found
        lines.append(
            f"shortcut: {kind.words} alone {what} {100 * reached:.0f} % of the files, where the "
            f"most frequent answer is right in {100 * chance:.0f} %: the network may learn "
            f"{kind.learnt}, not the sound; record all classes in the same way"
        )
    return lines


def _told(labels: _Array, values: _Array, gain: float) -> tuple[float, float] | None:
    """Cross-validated share of labels that follow from the values, and the largest class's share.

    None if the values tell too little, or so few labels that it may be chance.
    """
    if len(labels) < 2 * _FOLDS or len(np.unique(values)) < 2:
        return None
    classes = np.unique(labels, return_inverse=True)[1]
    chance = float(np.bincount(classes).max() / len(labels))
    rule = _nearest if values.dtype.kind == "f" else _most_frequent
    fold = np.random.default_rng(0).permutation(len(labels)) % _FOLDS
    right = 0
    for tested in range(_FOLDS):
        trained = fold != tested
        answers = rule(values[trained], classes[trained], values[~trained])
        right += int(np.sum(answers == classes[~trained]))
    reached = right / len(labels)
    doubt = _SIGMAS * np.sqrt(chance * (1 - chance) / len(labels))
    needed = chance + max(gain * (1 - chance), float(doubt))
    return (reached, chance) if chance < 1 and reached >= needed else None


def _most_frequent(known: _Array, classes: _Array, asked: _Array) -> _Array:
    """The most frequent class of each value; of a new value, the largest class."""
    answers = {value: np.bincount(classes[known == value]).argmax() for value in np.unique(known)}
    largest = np.bincount(classes).argmax()
    return np.array([answers.get(value, largest) for value in asked])


def _nearest(known: _Array, classes: _Array, asked: _Array) -> _Array:
    """The most frequent class of the nearest values."""
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known[order], asked)[:, None] + _AROUND
    around = classes[order][np.clip(places, 0, len(known) - 1)]
    votes = [np.sum(around == index, axis=1) for index in range(classes.max() + 1)]
    return np.asarray(np.argmax(votes, axis=0))


def _faults(recordings: Sequence[Recording]) -> list[str]:
    lines = []
    clipped = [recording.name for recording in recordings if recording.clipped]
    cancelled = [recording.name for recording in recordings if recording.cancelled]
    above = sorted((r for r in recordings if r.peak > 1), key=lambda r: -r.peak)
    if clipped:
        lines.append(
            f"clipped: {len(clipped)} of {len(recordings)} measured files stay at full scale, such "
            f"as {clipped[0]}: record them with less gain"
        )
    if cancelled:
        lines.append(
            f"channels: in {len(cancelled)} of {len(recordings)} measured files they cancel each "
            f"other in the average that is used, such as {cancelled[0]}: keep one channel, or "
            "swap the wires of the other one"
        )
    if above:
        lines.append(
            f"above full scale: {len(above)} of {len(recordings)} measured files have float "
            f"samples above 1, up to {above[0].peak:.4g} in {above[0].name}: scale them to -1 to "
            "1, for a board clips them"
        )
    return lines


def _lost(recordings: Sequence[Recording], sample_rate_hz: int) -> list[str]:
    """Classes with much energy above half of a rate."""
    shares: dict[str, list[float]] = {}
    for recording in recordings:
        first = round(len(recording.spectrum) * sample_rate_hz / recording.rate_hz)
        shares.setdefault(recording.label, []).append(float(recording.spectrum[first:].sum()))
    lost = {label: float(np.mean(of)) for label, of in shares.items() if np.mean(of) >= _LOST}
    if not lost:
        return []
    worst = sorted(lost, key=lambda label: -lost[label])[:_SHOWN]
    rate_hz = max(recording.rate_hz for recording in recordings if recording.label in lost)
    named = ", ".join(f"{100 * lost[label]:.0f} % of {label!r}" for label in worst)
    return [
        f"rate: at {sample_rate_hz} Hz all energy above {sample_rate_hz / 2:g} Hz is lost, {named}"
        f": m3net init --sample-rate {rate_hz} keeps it"
    ]


def _noise_like(recordings: Sequence[Recording], dataset: AudioDataset) -> list[str]:
    """Classes that sound like the artificial noise of the class for silence."""
    if not any(clip.synthetic and clip.path is None for clip in dataset.clips):
        return []
    of_class: dict[str, list[tuple[float, float]]] = {}
    for recording in recordings:
        of_class.setdefault(recording.label, []).append((recording.noise_like, recording.swing_db))
    upper = {label: np.percentile(of, 75, axis=0).tolist() for label, of in of_class.items()}
    names = [
        label
        for label, (noise_like, swing_db) in upper.items()
        if noise_like >= _NOISE_LIKE and swing_db <= _STEADY_DB
    ]
    if not names:
        return []
    shown = ", ".join(map(repr, names[:_SHOWN])) + " and others" * (len(names) > _SHOWN)
    return [
        f"silence: lasting noise ({shown}) resembles the artificial noise that stands for silence, "
        f"so it needs recorded silence: record the quiet place into {NOISE_FOLDER}"
    ]
