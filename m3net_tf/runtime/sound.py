# SPDX-License-Identifier: Apache-2.0
"""Reads sound files, pipes, arrays and the microphone as 16-bit samples.

Packages other than NumPy are optional.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import DataError

Pcm = npt.NDArray[np.int16]
STANDARD_INPUT = Path("-")
_PACKAGES = "pip install soundfile soxr"
_CHUNKS_PER_S = 10
_CHUNK_BYTES = 1 << 20
_ENDLESS_BYTES = 0x7FFFF000  # least length in the header of a pipe of unknown length
# Decoded and resampled sound exceeds 1 by little; 16-bit numbers stored as floats by far.
_HIGHEST_PEAK = 4.0


def sound_files(path: Path, on_error: Callable[[DataError], None]) -> list[Path]:
    """The sound files at a path: the file itself, or all files below a folder, sorted.

    Hidden files and folders are skipped.

    Args:
        path: a file, ``-`` or a folder.
        on_error: called for a folder that cannot be listed or has no sound file.
    """
    if path == STANDARD_INPUT or not path.is_dir():
        return [path]
    # The only format of the standard library.
    suffixes: tuple[str, ...] = (".wav",)
    usual = "WAV"
    with contextlib.suppress(ImportError):
        from m3net_tf.audio.datasets import files as own_sounds

        suffixes, usual = own_sounds.SUFFIXES, own_sounds.USUAL

    def report_unlisted(error: OSError) -> None:
        on_error(DataError(f"{error.filename}: cannot be listed ({error.strerror})"))

    paths: list[Path] = []
    for folder, folders, files in os.walk(path, onerror=report_unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        sounds = (name for name in files if name.lower().endswith(suffixes))
        paths += (Path(folder, name) for name in sounds if not name.startswith("."))
    if not paths:
        on_error(DataError(f"{path}: has no sound file ({usual}) in it"))
    return sorted(paths)


def require_pcm(samples: Pcm) -> None:
    """Check the type and shape of samples; floats would be taken for a nearly silent sound.

    Raises:
        DataError: they are not int16 of shape (samples,).
    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise DataError(
            f"the samples are {samples.dtype} of shape {samples.shape}: give int16 of shape "
            "(samples,)"
        )


def pcm_of_array(samples: npt.ArrayLike, rate_hz: float, new_rate_hz: int) -> Pcm:
    """Convert an array to the samples that :func:`pcm_chunks` reads from a file of this content.

    Args:
        samples: int16, or floats from -1 to 1, of shape (samples,) or (samples, channels).
        rate_hz: their rate; another one than ``new_rate_hz`` needs the packages soundfile and soxr.

    Returns:
        Samples of shape (samples,).

    Raises:
        DataError: another type, shape or range, no samples, NaN or infinity, a rate that no
            recording has, or a missing package.
    """
    array = np.asarray(samples)
    if array.dtype != np.int16 and array.dtype.kind != "f":
        raise DataError(f"the samples are {array.dtype}: give int16, or floats from -1 to 1")
    if not array.size:
        raise DataError("the array has no samples: check where it comes from")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > array.shape[0]):
        raise DataError(
            f"the samples have shape {array.shape}: give (samples,) or (samples, channels)"
        )
    audio = array.astype(np.float32)
    if not np.isfinite(audio).all():
        raise DataError("the samples contain NaN or infinity: repair or leave out the recording")
    if array.dtype == np.int16:
        audio /= 32768.0
    elif (peak := float(np.abs(audio).max())) > _HIGHEST_PEAK:
        raise DataError(
            f"the samples reach {peak:g}, but floats go from -1 to 1: divide them by their full "
            "scale, such as 32768, or give int16"
        )
    if audio.ndim == 2:
        audio = audio.mean(axis=1)
    if rate_hz != new_rate_hz:
        audio = _resampled(audio, rate_hz, new_rate_hz)
    return np.asarray(np.clip(np.floor(audio * 32768.0 + 0.5), -32768, 32767), np.int16)


def _resampled(
    audio: npt.NDArray[np.float32], rate_hz: float, new_rate_hz: int
) -> npt.NDArray[np.float32]:
    if not _can_decode():
        raise DataError(
            f"the samples have {rate_hz} Hz, {new_rate_hz} Hz is needed; resample them, or "
            f"{_PACKAGES}"
        )
    from m3net_tf.audio.datasets import audio as conversion

    conversion.check_rate(rate_hz, "the samples")
    return conversion.resampled(audio, rate_hz, new_rate_hz)


def pcm_chunks(path: Path, sample_rate_hz: int) -> Iterator[Pcm]:
    """Read a sound as mono samples in chunks, so that long sounds need little memory.

    With the packages soundfile and soxr it reads any format and rate; without them 16-bit WAV files
    of this rate, with the standard library. A 16-bit WAV from a pipe is read as it arrives; other
    formats are first copied to a temporary file.

    Args:
        path: a file, a pipe, or ``-`` for standard input.

    Yields:
        Samples of shape (samples,).

    Raises:
        DataError: the file is missing or broken, or needs these packages; raised only at the faulty
            chunk.
    """
    if path == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError("standard input has no sound: pipe a sound file into the command")
        yield from _chunks_of_stream(sys.stdin.buffer, "standard input", sample_rate_hz)
    elif path.exists() and not path.is_file() and not path.is_dir():
        with _opened(path) as file:
            yield from _chunks_of_stream(file, str(path), sample_rate_hz)
    elif _can_decode():
        yield from _decoded(path, str(path), sample_rate_hz)
    else:
        with _opened(path) as file:
            yield from _chunks_of_wave(_wave_of(file, str(path)), str(path), sample_rate_hz)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); check the path") from None


def _can_decode() -> bool:
    try:
        import m3net_tf.audio.datasets.audio  # noqa: F401  # can it be imported?
    except ImportError:
        return False
    return True


def _decoded(path: Path, name: str, sample_rate_hz: int) -> Iterator[Pcm]:
    from m3net_tf.audio.datasets.audio import audio_chunks, to_pcm16

    return map(to_pcm16, audio_chunks(path, sample_rate_hz=sample_rate_hz, name=name))


class _RecordedStream(io.BytesIO):
    """A pipe, and the bytes that were read from it until :meth:`stop_recording`."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._records = True

    def read(self, count: int | None = -1, /) -> bytes:
        data = self._file.read(-1 if count is None else count)
        if self._records:
            self.write(data)
        return data

    def tell(self) -> int:
        raise io.UnsupportedOperation("a pipe has no position")

    def stop_recording(self) -> None:
        self._records = False
        self.truncate(0)


def _chunks_of_stream(file: IO[bytes], name: str, sample_rate_hz: int) -> Iterator[Pcm]:
    """Samples of a pipe, which cannot be rewound."""
    stream = _RecordedStream(file)
    try:
        opened = _wave_of(stream, name)
        if not opened.getnframes():  # a header that was never completed
            raise DataError(f"{name}: contains no samples; replace the file or leave it out")
    except DataError:
        if not stream.getvalue() or not _can_decode():
            raise
    else:
        stream.stop_recording()
        yield from _chunks_of_wave(opened, name, sample_rate_hz)
        return
    with tempfile.NamedTemporaryFile(prefix="m3net-") as copy:
        copy.write(stream.getvalue())
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield from _decoded(Path(copy.name), name, sample_rate_hz)


def _wave_of(file: IO[bytes], name: str) -> wave.Wave_read:
    """The standard library's reader for a WAV file with 16-bit samples."""
    try:
        opened = wave.Wave_read(file)
    except (wave.Error, EOFError):
        raise DataError(
            f"{name}: is not a complete, uncompressed WAV file; replace it, or for other formats "
            f"{_PACKAGES}"
        ) from None
    if opened.getsampwidth() != 2:
        bits = 8 * opened.getsampwidth()
        raise DataError(f"{name}: has {bits}-bit samples; convert it to 16 bits, or {_PACKAGES}")
    return opened


def _chunks_of_wave(opened: wave.Wave_read, name: str, sample_rate_hz: int) -> Iterator[Pcm]:
    rate_hz = opened.getframerate()
    channels = opened.getnchannels()
    frames = (samples.reshape(-1, channels) for samples in _wave_samples(opened, name))
    if rate_hz == sample_rate_hz:
        for chunk in frames:
            yield np.floor(chunk.mean(axis=1) + 0.5).astype(np.int16)
        return
    if not _can_decode():
        raise DataError(
            f"{name}: sample rate is {rate_hz} Hz, {sample_rate_hz} Hz is needed; convert the "
            f"file, or {_PACKAGES}"
        )
    from m3net_tf.audio.datasets import audio

    audio.check_rate(rate_hz, name)
    mono = (audio.mixed(audio.from_pcm16(chunk)) for chunk in frames)
    yield from map(audio.to_pcm16, audio.resampled_chunks(mono, rate_hz, sample_rate_hz, name))


def _wave_samples(opened: wave.Wave_read, name: str) -> Iterator[Pcm]:
    """The interleaved samples of a WAV file, in chunks."""
    frame_bytes = 2 * opened.getnchannels()
    promised = opened.getnframes()
    chunk_frames = min(opened.getframerate() // _CHUNKS_PER_S, _CHUNK_BYTES // frame_bytes)
    read = 0
    while data := opened.readframes(max(1, chunk_frames)):
        whole = len(data) // frame_bytes
        read += whole
        yield np.frombuffer(data[: whole * frame_bytes], "<i2")
    endless = promised * frame_bytes >= _ENDLESS_BYTES - frame_bytes
    if not read or (read < promised and not endless):
        raise DataError(
            f"{name}: contains no samples, or is truncated; replace the file or leave it out"
        )


def microphone_chunks(sample_rate_hz: int) -> Iterator[Pcm]:
    """Endless chunks of samples from the microphone.

    Raises:
        DataError: the package sounddevice, its library or a microphone is missing.
    """
    try:
        import sounddevice
    except ImportError:
        raise DataError(
            "the microphone needs the package sounddevice: pip install sounddevice"
        ) from None
    except OSError:  # the package is installed without the library that it loads
        raise DataError(
            "the microphone needs the library PortAudio: apt-get install libportaudio2"
        ) from None
    chunk_samples = sample_rate_hz // _CHUNKS_PER_S
    try:
        with sounddevice.InputStream(
            samplerate=sample_rate_hz, channels=1, dtype="int16", blocksize=chunk_samples
        ) as stream:
            while True:
                yield stream.read(chunk_samples)[0][:, 0].copy()
    except sounddevice.PortAudioError as error:
        raise DataError(
            f"the microphone cannot be opened at {sample_rate_hz} Hz ({error}): choose another "
            "one in the system's sound settings"
        ) from None
