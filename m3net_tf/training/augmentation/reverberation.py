# SPDX-License-Identifier: Apache-2.0
"""Room responses, synthesised from decaying noise or read from recordings, and reverberation."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import read_audio
from m3net_tf.audio.datasets.files import SUFFIXES, files_below
from m3net_tf.system.errors import DataError

Wave = npt.NDArray[np.float32]
_LONGEST_S = 4.0


def make_room(
    reverberation_s: float, direct_db: float, sample_rate_hz: int, rng: np.random.Generator
) -> Wave:
    """Synthesise a room response: the direct sound, then exponentially decaying white noise.

    Args:
        reverberation_s: time in which the echoes fall by 60 dB.
        direct_db: energy of the direct sound relative to all echoes.
        rng: random generator; equal states give equal rooms.

    Returns:
        The response, shape (samples,); its first sample is the direct sound, 1.
    """
    samples = max(2, round(min(reverberation_s, _LONGEST_S) * sample_rate_hz))
    echoes = rng.standard_normal(samples)
    echoes *= 10.0 ** (-3.0 * np.arange(samples) / (reverberation_s * sample_rate_hz))
    echoes[0] = 0.0
    echoes *= 10.0 ** (-direct_db / 20.0) / np.sqrt(np.sum(echoes**2))
    echoes[0] = 1.0
    return echoes.astype(np.float32)


def read_rooms(folder: Path, sample_rate_hz: int) -> list[Wave]:
    """Recorded responses of a folder, in the order of their names.

    Each starts with its loudest sample (the direct sound), which is scaled to 1, and has at most
    four seconds.

    Raises:
        DataError: the folder is missing or has no recordings, or one is broken or silent.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; correct augmentation.room_folder")
    paths = room_paths(folder)
    if not paths:
        raise DataError(f"{folder}: has no sound files; correct augmentation.room_folder")
    rooms = []
    for path in paths:
        response = read_audio(path, sample_rate_hz=sample_rate_hz, most=60 * sample_rate_hz)
        direct = int(np.abs(response).argmax())
        if response[direct] == 0:
            raise DataError(f"{path}: is silent, not a room response; delete it")
        rooms.append(response[direct:][: round(_LONGEST_S * sample_rate_hz)] / response[direct])
    return rooms


def room_paths(folder: Path) -> list[Path]:
    """The recordings of a folder and its subfolders, sorted."""
    return files_below(folder, SUFFIXES)


def reverberate(audio: Wave, room: Wave) -> Wave:
    """Apply a room response, keeping length and RMS level (silence stays silent)."""
    size = 1 << (audio.size + room.size - 2).bit_length()
    spectrum = np.fft.rfft(audio.astype(np.float64), size) * np.fft.rfft(room, size)
    reverberant = np.fft.irfft(spectrum, size)[: audio.size]
    power = np.mean(reverberant**2)
    if power > 0:
        reverberant *= np.sqrt(np.mean(audio.astype(np.float64) ** 2) / power)
    return reverberant.astype(np.float32)
