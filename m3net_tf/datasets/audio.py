# SPDX-License-Identifier: Apache-2.0
"""Sound files to float32 mono samples, and back to 16-bit numbers.

Everything that can be wrong with a file is a one-line :class:`~m3net_tf.errors.DataError` that
names the file and the mend; nothing is repaired in silence.
"""

import struct
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from m3net_tf.errors import ConfigError, DataError

Audio = npt.NDArray[np.float32]
FitRule = Literal["pad", "loop", "crop"]
FIT_RULES: tuple[FitRule, ...] = ("pad", "loop", "crop")
PCM16_SCALE = 32768.0
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
    check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, channels, frames = file.samplerate, file.channels, file.frames
            if rate_hz != sample_rate_hz and not resample:
                raise DataError(
                    f"{path}: sample rate is {rate_hz} Hz, {sample_rate_hz} Hz is needed; "
                    "convert the file or allow resampling"
                )
            if channels != 1 and not mix:
                raise DataError(
                    f"{path}: has {channels} channels, one is needed; "
                    "convert the file to mono or allow mixing"
                )
            first = round(start_s * rate_hz)
            wanted = frames - first if duration_s is None else round(duration_s * rate_hz)
            if frames == 0:
                raise DataError(f"{path}: holds no samples; delete or replace the file")
            if first < 0 or wanted < 1 or first + wanted > frames:
                raise DataError(
                    f"{path}: has {frames / rate_hz:g} s of sound, which does not cover the "
                    f"{wanted / rate_hz:g} s from {start_s:g} s on; correct the start and length"
                )
            if first:
                file.seek(first)
            # libsndfile converts 16-bit numbers a fifth as fast as NumPy, to the same floats.
            if file.subtype == "PCM_16":
                audio = from_pcm16(file.read(wanted, dtype="int16", always_2d=True))
            else:
                audio = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(
            f"{path}: cannot be decoded as sound (broken, truncated or not an audio file); "
            "delete it or fetch it again"
        ) from error
    if len(audio) < wanted:
        raise _truncated(path, f"{len(audio)} of {wanted} samples can be read")
    if not np.isfinite(audio).all():
        raise DataError(f"{path}: holds NaN or infinite samples; delete or re-export the file")
    mono: Audio = audio[:, 0] if channels == 1 else audio.mean(axis=1, dtype=np.float32)
    if rate_hz != sample_rate_hz:
        mono = resampled(mono, rate_hz, sample_rate_hz)
        if not len(mono):
            raise DataError(
                f"{path}: is too short to resample from {rate_hz} Hz to {sample_rate_hz} Hz; "
                "delete or replace the file"
            )
    return np.ascontiguousarray(mono)


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


def _truncated(path: Path, how: str) -> DataError:
    return DataError(f"{path}: is truncated ({how}); delete it or fetch it again")


def check_file(path: Path) -> None:
    """Refuse what libsndfile would report badly or, like a cut WAV, accept in silence.

    Raises:
        DataError: missing, empty, cut or not a file.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a sound file; name the file itself")
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes == 0:
                raise DataError(f"{path}: is empty (0 bytes); delete it or fetch it again")
            file.seek(0)
            head = file.read(12)
            if head == b"version http":
                raise DataError(f"{path}: is a git-lfs pointer; run git lfs pull in its folder")
            if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
                return
            while len(chunk := file.read(8)) == 8:
                name, length = struct.unpack("<4sI", chunk)
                if name == b"data":
                    held = size_bytes - file.tell()
                    if length > held and length not in _UNKNOWN_LENGTH:
                        raise _truncated(path, f"its header promises {length} bytes, {held} follow")
                    return
                file.seek(length + length % 2, 1)
    except FileNotFoundError:
        raise DataError(f"{path}: does not exist; check the path or fetch the data again") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: cannot be read ({reason}); check its permissions") from error
