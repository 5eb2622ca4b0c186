# SPDX-License-Identifier: Apache-2.0
"""Silence clips: excerpts of background recordings, or synthetic noise.

A recogniser gets silence most of the time. Without a class for silence it assigns each quiet
moment to another class.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from msgspec import Meta

from m3net_tf.audio.datasets.audio import Audio, header_of
from m3net_tf.audio.datasets.clips import SPLITS, Clip, DatasetInfo
from m3net_tf.audio.datasets.files import SUFFIXES, files_below
from m3net_tf.audio.datasets.protocols import rank
from m3net_tf.system.errors import ConfigError, DataError

SILENCE, NOISE_FOLDER = "_silence_", "_background_noise_"
SILENCE_PERCENTAGE = 10.0
Percentage = Annotated[float, Meta(ge=0, le=1000)]
"""Silence clips, in percent of the others."""
NOISE_PARTS = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
_SLOPES = (0.0, 1.5)  # synthetic noise: power falls as frequency to this power
_SYNTHETIC_DB = (-90.0, -30.0)  # level of synthetic silence, from a quiet microphone to a loud room
_ZERO_EVERY = 8  # of synthetic silence: a muted microphone, and pauses of edited recordings


def noise_files(folder: Path) -> list[Path]:
    """The sound files of a folder, which may be missing, without its subfolders' files."""
    return [path for path in files_below(folder, SUFFIXES) if path.parent == folder]


def noise_parts(
    folder: Path, sample_rate_hz: int, clip_samples: int, remedy: str = "replace or delete the file"
) -> list[Clip]:
    """One clip for each split's part of each noise file in a folder.

    Args:
        folder: the folder; it may be missing.
        remedy: how to fix an unreadable file, for the error's message.

    Raises:
        DataError: a file is unreadable or too short for a clip of each split.
    """
    clips = []
    for path in noise_files(folder):
        try:
            file = header_of(path)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise DataError(f"{path}: is not a readable sound file; {remedy}") from error
        # Resampling may give one sample less.
        spare = int(file.samplerate != sample_rate_hz)
        for split, (start, stop) in NOISE_PARTS.items():
            first = round(start * file.duration * sample_rate_hz)
            samples = int(stop * file.duration * sample_rate_hz) - first - spare
            if samples < clip_samples:
                shortest_s = 10 * clip_samples / sample_rate_hz
                raise DataError(
                    f"{path}: is shorter than {shortest_s:g} s, too short for silence; replace it"
                )
            clips.append(
                Clip(
                    f"{folder.name}/{path.name}#{split}",
                    SILENCE,
                    split,
                    f"{path.stem}#{split}",
                    path,
                    first / sample_rate_hz,
                    samples / sample_rate_hz,
                    synthetic=True,
                )
            )
    return clips


def cut_silence(
    parts: Sequence[Clip], split: str, count: int, salt: int, sample_rate_hz: int, clip_s: float
) -> Iterator[Clip]:
    """Cut excerpts at random positions and gains from a split's noise, from each file in turn.

    Args:
        parts: result of :func:`noise_parts`; at least one part belongs to the split.
    """
    parts = [clip for clip in parts if clip.split == split]
    clip_samples = round(clip_s * sample_rate_hz)
    for i in range(count):
        part = parts[i % len(parts)]
        draw = rank((salt, split, i))
        position, gain = int(draw[:12], 16) / 16**12, int(draw[12:24], 16) / 16**12
        last_start = round((part.duration_s or 0.0) * sample_rate_hz) - clip_samples
        offset = round(position * last_start) / sample_rate_hz
        yield dataclasses.replace(
            part,
            clip_id=f"{SILENCE}/{split}-{i:04d}",
            start_s=part.start_s + offset,
            duration_s=clip_s,
            gain=round(gain, 3),
        )


def silence_clips(
    clips: Sequence[Clip],
    noise: Sequence[Clip],
    percentage: float | None,
    seed: int,
    info: DatasetInfo,
) -> list[Clip]:
    """The class ``_silence_``: cut from noise files, or synthesised if there are none.

    Args:
        clips: the other clips. Held-out windows of a longer clip count as one clip.
        percentage: silence clips in each split, in percent of the others; default: 10 with noise,
            else none.

    Raises:
        ConfigError: there is a class of this name.
    """
    if percentage is None:
        percentage = SILENCE_PERCENTAGE if noise else 0.0
    if percentage and any(SILENCE in clip.all_labels for clip in clips):
        raise ConfigError(
            f"{info.name}: there is already a class {SILENCE}; set silence_percentage to 0, or "
            "rename that class"
        )
    silence: list[Clip] = []
    for split in SPLITS:
        own = [clip for clip in clips if clip.split == split]
        whole = {clip.clip_id if split == "train" else clip.whole or clip.clip_id for clip in own}
        count = round(len(whole) * percentage / 100)
        salt = seed if split == "train" else 0  # held-out clips are the same for every seed
        if noise:
            cut = cut_silence(noise, split, count, salt, info.sample_rate_hz, info.clip_s)
            silence += [
                dataclasses.replace(clip, gain=0.0) if _is_zero(clip, i) else clip
                for i, clip in enumerate(cut)
            ]
        else:
            silence += synthetic_silence(split, count, salt)
    return silence


def _is_zero(clip: Clip, index: int) -> bool:
    """Whether silence is digital zero: the first of eight in training, so that few clips suffice.

    Of held-out clips it is the last of eight, so that few clips are not all zero.
    """
    return index % _ZERO_EVERY == (0 if clip.split == "train" else _ZERO_EVERY - 1)


def synthetic_silence(split: str, count: int, salt: int) -> Iterator[Clip]:
    """Clips without a file, for :func:`synthesise_silence`; each is its own group."""
    for i in range(count):
        name = f"{SILENCE}/made-{salt}-{split}-{i:04d}"
        yield Clip(name, SILENCE, split, name, synthetic=True)


def synthesise_silence(samples: int, clip: Clip) -> Audio:
    """The sound of a clip of :func:`synthetic_silence`, float32 of shape (samples,).

    Its name determines level and spectrum, so equal NumPy versions give equal sounds. Every eighth
    one is digital zero.
    """
    if _is_zero(clip, int(clip.clip_id.rpartition("-")[2])):
        return np.zeros(samples, np.float32)
    rng = np.random.default_rng(int(rank(clip.clip_id)[:16], 16))
    noise = coloured_noise(rng, samples)
    level_db = rng.uniform(*_SYNTHETIC_DB)
    rms = float(np.sqrt(np.mean(np.square(noise, dtype=np.float64))))
    return noise * np.float32(10 ** (level_db / 20) / rms)


def coloured_noise(rng: np.random.Generator, samples: int) -> Audio:
    """Noise whose power falls with frequency at a random slope, float32 of shape (samples,)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    steps = np.maximum(np.arange(len(spectrum)), len(spectrum) / 400)  # flat below 20 Hz at 16 kHz
    return np.fft.irfft(spectrum * steps ** (-rng.uniform(*_SLOPES) / 2), samples).astype(
        np.float32
    )
