# SPDX-License-Identifier: Apache-2.0
"""What recordings are like: their files, levels, clipping, spectra, and how steady they are."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import Audio, header_of, mixed, read_frames
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.dataset import READERS
from m3net_tf.audio.datasets.loudness import decibels
from m3net_tf.system.errors import DataError, one_line
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import map_ahead

_MEASURED_S = 5.0  # from the beginning of a file
_MEASURED_FILES = 100  # of a class
_WAVES = ("WAV", "WAVEX", "RF64", "W64")  # of the same recorder, by length or channels
_FRAME = 1024
_FULL_SCALE = 0.99
_CLIPPED_RUN = 3  # samples in a row
_CLIPPED_SHARE = 1e-3
_CANCELLED = 0.01  # of the channels' power is left in their mean
_BAND = 16  # bins, in which the spectrum of noise is flat
_LOUD_DB = 20.0


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file and its first seconds.

    Attributes:
        format: rate, channels, container and sample format.
        level_db: level of the averaged channels, in dBFS.
        peak: largest sample of a file with float samples; 0 for others.
        cancelled: whether little remains of the channels when they are averaged.
        spectrum: share of the energy in each of 512 bands up to half of the rate.
        noise_like: how flat the spectrum is within narrow bands, from 0 to 1; about 0.6 for noise.
        swing_db: level of the loudest tenth of the frames above the quietest tenth's.
    """

    name: str
    label: str
    rate_hz: int
    format: tuple[int, int, str, str]
    length_s: float
    level_db: float
    peak: float
    clipped: bool
    cancelled: bool
    spectrum: npt.NDArray[np.float32]
    noise_like: float
    swing_db: float


def measure(clips: Sequence[Clip], log: Log = silent) -> tuple[list[Recording], list[str]]:
    """Measure the first seconds of the clips' files, of at most some hundred of each class.

    Returns:
        The recordings, and the faults of those that cannot be decoded.
    """
    chosen = measured_clips(clips)
    found = list[Recording]()
    broken = list[str]()
    with track(log, "levels and spectra", len(chosen), "files") as task:
        for recording in map_ahead(_measured, iter(chosen), READERS):
            if isinstance(recording, str):
                broken.append(recording)
            else:
                found.append(recording)
            task.advance()
    return found, broken


def measured_clips(clips: Sequence[Clip]) -> list[Clip]:
    """The clips whose files :func:`measure` reads, each file once."""
    of_class: dict[str, dict[Path, Clip]] = {}
    for clip in clips:
        if clip.path is not None and not clip.synthetic:
            of_class.setdefault(clip.label, {}).setdefault(clip.path, clip)
    return list(itertools.chain.from_iterable(_some([*of.values()]) for of in of_class.values()))


def _some(clips: list[Clip]) -> list[Clip]:
    """At most some hundred of the clips, from all places of the list."""
    step = max(1.0, len(clips) / _MEASURED_FILES)
    return [clips[int(i * step)] for i in range(min(len(clips), _MEASURED_FILES))]


def _measured(clip: Clip) -> Recording | str:
    """The properties of a clip's file, or its fault."""
    assert clip.path is not None
    try:
        header = header_of(clip.path)
        frames = read_frames(clip.path, _MEASURED_S)
    except (DataError, RuntimeError) as error:
        return one_line(error)
    sound = mixed(frames)
    power = float(np.mean(np.square(sound)))
    channel_power = float(np.mean(np.square(frames)))
    spectra = _spectra(sound)
    levels_db = 10 * np.log10(spectra.sum(axis=1) + 1e-12)
    loud = spectra[levels_db > levels_db.max() - _LOUD_DB]
    mean = spectra.mean(axis=0)
    is_float = header.subtype in ("FLOAT", "DOUBLE")
    return Recording(
        name=clip.whole or clip.clip_id,
        label=clip.label,
        rate_hz=header.samplerate,
        format=(
            header.samplerate,
            header.channels,
            "WAV" if header.format in _WAVES else header.format,
            header.subtype,
        ),
        length_s=float(header.duration),
        level_db=decibels(power),
        peak=float(np.abs(frames).max()) if is_float else 0.0,
        clipped=_is_clipped(frames),
        cancelled=power < _CANCELLED * channel_power,
        spectrum=(mean / max(mean.sum(), 1e-20)).astype(np.float32),
        noise_like=_flatness(loud),
        swing_db=float(np.percentile(levels_db, 90) - np.percentile(levels_db, 10)),
    )


def _spectra(sound: Audio) -> npt.NDArray[np.float64]:
    """Powers of frames without their mean, shape (frames, 512)."""
    padded = np.pad(sound, (0, max(0, _FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_FRAME]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(_FRAME)
    return np.asarray(np.square(np.abs(np.fft.rfft(frames)[:, 1:])), np.float64)


def _flatness(spectra: npt.NDArray[np.float64]) -> float:
    """Geometric by arithmetic mean of the powers in narrow bands, weighted by their energy."""
    bands = spectra.reshape(len(spectra), -1, _BAND)
    means = bands.mean(axis=2)
    flat = np.exp(np.log(bands + 1e-12).mean(axis=2)) / (means + 1e-12)
    return float((flat * means).sum() / max(means.sum(), 1e-12))


def _is_clipped(frames: Audio) -> bool:
    """Whether a channel often stays at full scale."""
    sizes = np.abs(frames)
    if not (peak := float(sizes.max())) >= _FULL_SCALE:
        return False
    at_peak = sizes >= 0.9995 * peak
    runs = at_peak[2:] & at_peak[1:-1] & at_peak[:-2]
    return float(runs.mean(axis=0).max(initial=0.0)) > _CLIPPED_SHARE
