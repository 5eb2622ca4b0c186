# SPDX-License-Identifier: Apache-2.0
"""Sound files to float32 mono samples, and back to 16-bit numbers.

Everything that can be wrong with a file is a one-line :class:`~m3net_tf.errors.DataError` that
names the file and says how to fix it; nothing is repaired silently.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from m3net_tf.errors import ConfigError, DataError

Audio = npt.NDArray[np.float32]
FitRule = Literal["pad", "loop", "crop"]
FIT_RULES: tuple[FitRule, ...] = ("pad", "loop", "crop")
PCM16_SCALE = 32768.0
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
_PIECE_VALUES = 1 << 18
_REMEDY = "replace the file or leave it out"
_UNKNOWN_LENGTH = (0xFFFFFFFF, 0x7FFFFFFF)  # what writers to a pipe put into the data chunk


def read_audio(
    path: str | Path,
    *,
    sample_rate_hz: int,
    resample: bool = True,
    mix: bool = True,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Audio:
    """Read a sound file (any format of libsndfile: WAV, FLAC, OGG ...) as mono samples.

    Integer samples are divided by their full scale, so a 16-bit file at the asked rate comes
    back as exactly ``int16 / 32768``.

    Args:
        path: the file.
        sample_rate_hz: rate of the result.
        resample: convert another rate (soxr, high quality); if false another rate is an error.
        mix: average several channels into one; if false more than one channel is an error.
        start_s: start of the piece to read, in seconds from the file's beginning.
        duration_s: length of the piece; None reads to the end.

    Returns:
        float32 samples of shape (samples,), at least one.

    Raises:
        DataError: the file is missing, empty, truncated, not audio, of a wrong rate or channel
            count, holds NaN or infinity, or ends before the asked piece.
    """
    path = Path(path)
    with _opened(path, str(path), sample_rate_hz, resample=resample, mix=mix) as file:
        rate_hz = file.samplerate
        first = round(start_s * rate_hz)
        samples = file.frames - first if duration_s is None else round(duration_s * rate_hz)
        if first < 0 or samples < 1 or first + samples > file.frames:
            raise DataError(
                f"{path}: has {file.frames / rate_hz:g} s of sound, which does not cover the "
                f"{samples / rate_hz:g} s from {start_s:g} s on; correct the start and length"
            )
        if first:
            file.seek(first)
        mono = next(_mono_pieces(file, str(path), samples, samples))
    if rate_hz != sample_rate_hz:
        mono = resampled(mono, rate_hz, sample_rate_hz)
        if not len(mono):
            raise _too_short(str(path), rate_hz, sample_rate_hz)
    return np.ascontiguousarray(mono)


def audio_pieces(path: Path, *, sample_rate_hz: int, name: str = "") -> Iterator[Audio]:
    """Read a sound file piece by piece: one of any length takes little memory.

    Args:
        path: the file.
        sample_rate_hz: rate of the result.
        name: what errors call the file; its path by default.

    Yields:
        float32 samples of shape (samples,); joined they are those of :func:`read_audio`.

    Raises:
        DataError: as :func:`read_audio`, but not before the faulty piece.
    """
    name = name or str(path)
    with _opened(path, name, sample_rate_hz) as file:
        piece = max(1, _PIECE_VALUES // file.channels)
        pieces = _mono_pieces(file, name, file.frames, piece)
        if file.samplerate == sample_rate_hz:
            yield from pieces
        else:
            yield from resampled_pieces(pieces, file.samplerate, sample_rate_hz, name)


def header_of(path: Path) -> Any:
    """Header of a file: ``duration`` in seconds, ``frames``, ``samplerate`` and so on.

    Raises:
        soundfile.LibsndfileError, RuntimeError: it is no readable sound file.
    """
    return soundfile.info(os.fsencode(path))


@contextlib.contextmanager
def _opened(
    path: Path, name: str, sample_rate_hz: int, *, resample: bool = True, mix: bool = True
) -> Iterator[soundfile.SoundFile]:
    """A sound file that can be delivered at a rate; errors of libsndfile become ours."""
    check_file(path, name)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:  # any name, not UTF-8 alone
            rate_hz = file.samplerate
            if rate_hz != sample_rate_hz and not resample:
                raise DataError(
                    f"{name}: sample rate is {rate_hz} Hz, {sample_rate_hz} Hz is needed; "
                    "convert the file or allow resampling"
                )
            if rate_hz != sample_rate_hz:
                check_rate(rate_hz, name)
            if file.channels != 1 and not mix:
                raise DataError(
                    f"{name}: has {file.channels} channels, one is needed; "
                    "convert the file to mono or allow mixing"
                )
            if file.frames == 0:
                raise DataError(f"{name}: holds no samples; {_REMEDY}")
            yield file
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(
            f"{name}: cannot be decoded as sound (broken, truncated or not an audio file); "
            f"{_REMEDY}"
        ) from error


def _mono_pieces(file: soundfile.SoundFile, name: str, samples: int, piece: int) -> Iterator[Audio]:
    """The next ``samples`` samples of a file, its channels averaged, ``piece`` at a time."""
    for start in range(0, samples, piece):
        count = min(piece, samples - start)
        # libsndfile converts 16-bit numbers a fifth as fast as NumPy, to the same floats.
        if file.subtype == "PCM_16":
            audio = from_pcm16(file.read(count, dtype="int16", always_2d=True))
        else:
            audio = file.read(count, dtype="float32", always_2d=True)
        if len(audio) < count:
            raise _truncated(name, f"{start + len(audio)} of {samples} samples can be read")
        if not np.isfinite(audio).all():
            raise DataError(f"{name}: holds NaN or infinite samples; {_REMEDY}")
        yield mixed(audio)


def mixed(audio: Audio) -> Audio:
    """The average of the channels: (samples, channels) to (samples,)."""
    return audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)


def check_rate(rate_hz: int, name: str) -> None:
    """Refuse a rate that no recording has: its conversion would take any time and memory.

    Raises:
        DataError: naming the file.
    """
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise DataError(
            f"{name}: its header says {rate_hz} Hz; {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz can "
            "be converted: correct the header"
        )


def resampled_pieces(
    pieces: Iterable[Audio], rate_hz: int, new_rate_hz: int, name: str
) -> Iterator[Audio]:
    """:func:`resampled` of samples that come piece by piece, with the same result.

    Raises:
        DataError: ``name`` is too short for a sample at the new rate.
    """
    stream = soxr.ResampleStream(rate_hz, new_rate_hz, 1, dtype="float32")
    delivered = 0
    for piece in pieces:
        audio = stream.resample_chunk(np.ascontiguousarray(piece))
        delivered += len(audio)
        yield audio
    audio = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if not delivered + len(audio):
        raise _too_short(name, rate_hz, new_rate_hz)
    yield audio


def _too_short(name: str, rate_hz: int, new_rate_hz: int) -> DataError:
    return DataError(
        f"{name}: is too short to resample from {rate_hz} Hz to {new_rate_hz} Hz; {_REMEDY}"
    )


def resampled(audio: Audio, rate_hz: int, new_rate_hz: int) -> Audio:
    """Samples at another rate (soxr, high quality), float32 of shape (samples,)."""
    return np.asarray(soxr.resample(audio, rate_hz, new_rate_hz), np.float32)


def fit_length(audio: npt.NDArray, samples: int, rule: FitRule = "pad") -> npt.NDArray:
    """Bring audio of shape (n,) to shape (samples,), keeping its dtype.

    ``pad`` appends zeros, ``loop`` repeats the sound from its start, and both keep the first
    part of a longer one; ``crop`` keeps the middle of a longer sound and centres a shorter one
    between zeros.

    Raises:
        ConfigError: unknown rule.
        DataError: no samples to loop.
    """
    if rule not in FIT_RULES:
        raise ConfigError(f"length rule {rule!r} is unknown; choose from {', '.join(FIT_RULES)}")
    missing = samples - len(audio)
    if rule == "crop":
        before = abs(missing) // 2
        if missing <= 0:
            return audio[before : before + samples]
        return np.pad(audio, (before, missing - before))
    if missing <= 0:
        return audio[:samples]
    if rule == "loop":
        if not len(audio):
            raise DataError("a sound without samples cannot be looped; delete or replace it")
        return np.resize(audio, samples)
    return np.pad(audio, (0, missing))


def to_pcm16(audio: npt.NDArray) -> npt.NDArray[np.int16]:
    """Round samples to 16 bits, ``floor(32768 x + 0.5)`` clipped; undoes ``int16 / 32768``."""
    scaled = np.floor(np.asarray(audio, np.float64) * PCM16_SCALE + 0.5)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def from_pcm16(pcm: npt.NDArray[np.int16]) -> Audio:
    """16-bit numbers to float32 samples, ``int16 / 32768`` (exact)."""
    return pcm.astype(np.float32) / np.float32(PCM16_SCALE)


def _truncated(name: str, how: str) -> DataError:
    return DataError(f"{name}: is truncated ({how}); {_REMEDY}")


def check_file(path: Path, name: str = "") -> None:
    """Refuse what libsndfile would report badly or, like a cut WAV, accept in silence.

    Args:
        path: the file.
        name: what errors call it; its path by default.

    Raises:
        DataError: missing, empty, cut or not a file.
    """
    name = name or str(path)
    if path.is_dir():
        raise DataError(f"{name}: is a folder, not a sound file; name the file itself")
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes == 0:
                raise DataError(f"{name}: is empty (0 bytes); {_REMEDY}")
            file.seek(0)
            head = file.read(12)
            if head == b"version http":
                raise DataError(f"{name}: is a git-lfs pointer; run git lfs pull in its folder")
            if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
                return
            while len(chunk := file.read(8)) == 8:
                kind, length = struct.unpack("<4sI", chunk)
                if kind == b"data":
                    held = size_bytes - file.tell()
                    if length > held and length not in _UNKNOWN_LENGTH:
                        raise _truncated(name, f"its header promises {length} bytes, {held} follow")
                    return
                file.seek(length + length % 2, 1)
    except FileNotFoundError:
        raise DataError(f"{name}: does not exist; check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{name}: cannot be read ({reason}); check its permissions") from error
