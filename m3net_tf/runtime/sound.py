# SPDX-License-Identifier: Apache-2.0
"""Sound files and the microphone as 16-bit samples; packages beyond NumPy are used if present."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import DataError

Pcm = npt.NDArray[np.int16]
_PACKAGES = "pip install soundfile soxr"


def read_pcm(path: Path, sample_rate_hz: int) -> Pcm:
    """Read a sound file as mono samples, shape (samples,).

    With the packages soundfile and soxr any format and rate; without them 16-bit WAV files of
    this rate, by the standard library.

    Raises:
        DataError: the file is missing or broken, or of a form that needs these packages.
    """
    try:
        from m3net_tf.datasets.audio import read_audio, to_pcm16
    except ImportError:
        return _read_wave(path, sample_rate_hz)
    return to_pcm16(read_audio(path, sample_rate_hz=sample_rate_hz))


def _read_wave(path: Path, sample_rate_hz: int) -> Pcm:
    try:
        with wave.open(str(path), "rb") as file:
            width, rate_hz, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            frames = file.getnframes()
            data = file.readframes(frames)
    except (wave.Error, EOFError):
        raise DataError(
            f"{path}: is no whole WAV file of plain samples; replace it, or for other formats "
            f"{_PACKAGES}"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); check the path") from None
    if width != 2:
        raise DataError(f"{path}: has {8 * width}-bit samples; convert it to 16, or {_PACKAGES}")
    if rate_hz != sample_rate_hz:
        raise DataError(
            f"{path}: sample rate is {rate_hz} Hz, {sample_rate_hz} Hz is needed; convert the "
            f"file, or {_PACKAGES}"
        )
    if not frames or len(data) != 2 * channels * frames:
        raise DataError(f"{path}: holds no samples, or is truncated; delete or replace the file")
    samples = np.frombuffer(data, "<i2").reshape(-1, channels)
    return np.floor(samples.mean(axis=1) + 0.5).astype(np.int16)


def hear_microphone(sample_rate_hz: int, piece_samples: int) -> Iterator[Pcm]:
    """Samples of the microphone, piece by piece without end.

    Raises:
        DataError: the package sounddevice, its library or a microphone is missing.
    """
    try:
        import sounddevice
    except ImportError:
        raise DataError(
            "the microphone needs the package sounddevice: pip install sounddevice"
        ) from None
    except OSError:  # the package is there without the library that it loads
        raise DataError(
            "the microphone needs the library PortAudio: apt-get install libportaudio2"
        ) from None
    try:
        with sounddevice.InputStream(
            samplerate=sample_rate_hz, channels=1, dtype="int16", blocksize=piece_samples
        ) as stream:
            while True:
                yield stream.read(piece_samples)[0][:, 0].copy()
    except sounddevice.PortAudioError as error:
        raise DataError(
            f"the microphone cannot be opened at {sample_rate_hz} Hz ({error}): choose another "
            "one in the system's sound settings"
        ) from None
