# SPDX-License-Identifier: Apache-2.0
"""Reads sound files as float32 mono samples, and converts samples to and from 16 bits.

Every fault of a file raises a one-line :class:`~m3net_tf.system.errors.DataError` that names the
file and says how to fix it; nothing is repaired silently.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from m3net_tf.audio.datasets.riff import RepairedWave, Samples, find_samples
from m3net_tf.system.artifacts import naming
from m3net_tf.system.errors import ConfigError, DataError

Audio = npt.NDArray[np.float32]
FitRule = Literal["pad", "loop", "crop"]
_Sample = TypeVar("_Sample", bound=np.generic)
FIT_RULES: tuple[FitRule, ...] = ("pad", "loop", "crop")
PCM16_SCALE = 32768.0
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
_CHUNK_VALUES = 1 << 18
_FILTER_SAMPLES = 1 << 12  # read beyond those needed, because the resampler delivers late
_LARGEST = 1e10  # 32-bit whole numbers stay below; sums of much larger samples are infinite
_REMEDY = "replace the file or leave it out"


class NoSamplesError(DataError):
    """A file has no sample at all, as after a power cut."""


def read_audio(
    path: str | Path,
    *,
    sample_rate_hz: int,
    resample: bool = True,
    mix: bool = True,
    start_s: float = 0.0,
    duration_s: float | None = None,
    most: int | None = None,
) -> Audio:
    """Read a sound file (any format of libsndfile: WAV, FLAC, OGG ...) as mono samples.

    Integer samples are divided by their full scale, so a 16-bit file at the requested rate gives
    exactly ``int16 / 32768``.

    Args:
        resample: convert other rates (soxr, high quality); if False, another rate is an error.
        mix: average several channels into one; if False, more than one channel is an error.
        start_s: start of the excerpt, in seconds from the beginning of the file.
        duration_s: length of the excerpt; None reads to the end.
        most: samples after which reading stops; None reads the whole excerpt.

    Returns:
        float32 samples of shape (samples,), at least one.

    Raises:
        DataError: the file is missing, empty, truncated or not audio, has a wrong rate or channel
            count, contains NaN or infinity, or ends before the excerpt does.
    """
    chunks = [
        *audio_chunks(
            Path(path),
            sample_rate_hz=sample_rate_hz,
            resample=resample,
            mix=mix,
            start_s=start_s,
            duration_s=duration_s,
            most=most,
        )
    ]
    return np.ascontiguousarray(chunks[0] if len(chunks) == 1 else np.concatenate(chunks))


def audio_chunks(
    path: Path,
    *,
    sample_rate_hz: int | None = None,
    name: str = "",
    resample: bool = True,
    mix: bool = True,
    start_s: float = 0.0,
    duration_s: float | None = None,
    most: int | None = None,
) -> Iterator[Audio]:
    """Read a sound file in chunks, so that long files need little memory.

    Args:
        sample_rate_hz: rate of the samples; None keeps the file's.
        name: name of the file in errors; default: its path.
        resample: as of :func:`read_audio`, and so are the next four.

    Yields:
        float32 samples of shape (samples,); concatenated they equal :func:`read_audio`.

    Raises:
        DataError: as :func:`read_audio`, but only at the faulty chunk.
    """
    name = name or str(path)
    with _opened(path, name, sample_rate_hz, resample=resample, mix=mix) as file:
        rate_hz = file.samplerate
        new_rate_hz = sample_rate_hz or rate_hz
        first = round(start_s * rate_hz)
        samples = file.frames - first if duration_s is None else round(duration_s * rate_hz)
        if first < 0 or samples < 1 or first + samples > file.frames:
            raise DataError(
                f"{name}: has {file.frames / rate_hz:g} s of sound, which does not cover the "
                f"{samples / rate_hz:g} s from {start_s:g} s on; correct the start and length"
            )
        if first:
            file.seek(first)
        chunk_samples = max(1, _CHUNK_VALUES // file.channels)
        if most is not None:
            needed = most * rate_hz // new_rate_hz + _FILTER_SAMPLES
            chunk_samples = min(chunk_samples, needed)
        chunks: Iterator[Audio] = map(mixed, _frames(file, name, samples, chunk_samples))
        if rate_hz != new_rate_hz and samples <= chunk_samples:  # faster, with the same result
            chunks = iter([resampled(next(chunks), rate_hz, new_rate_hz)])
        elif rate_hz != new_rate_hz:
            chunks = resampled_chunks(chunks, rate_hz, new_rate_hz, name)
        delivered = 0
        for chunk in chunks:
            yield chunk if most is None else chunk[: most - delivered].copy()
            delivered += len(chunk)
            if most is not None and delivered >= most:
                return
        if not delivered:
            raise _too_short(name, rate_hz, new_rate_hz)


def is_empty(path: Path) -> bool:
    """Whether a file has no samples; not if it is broken."""
    try:
        samples = check_file(path)
    except DataError as error:
        return isinstance(error, NoSamplesError)
    return samples is not None and not samples.size


def read_frames(path: Path, most_s: float) -> Audio:
    """The first seconds of a sound file, float32 of shape (samples, channels).

    Raises:
        DataError: as :func:`read_audio`.
    """
    with _opened(path, str(path), None, resample=True, mix=True) as file:
        most = max(1, round(most_s * file.samplerate))
        return next(_frames(file, str(path), min(file.frames, most), most))


def header_of(path: Path) -> Any:
    """Header of a sound file: ``duration`` in seconds, ``frames``, ``samplerate`` and so on.

    Raises:
        soundfile.LibsndfileError, RuntimeError: the file is not a readable sound file.
    """
    try:
        with _source(path, str(path)) as source:
            return soundfile.info(source)
    except DataError as error:
        raise RuntimeError(str(error)) from error


@contextlib.contextmanager
def _source(path: Path, name: str) -> Iterator[bytes | RepairedWave]:
    """What libsndfile opens: the file, or its samples behind a repaired header."""
    samples = check_file(path, name)
    if samples is None or samples.readable:
        yield os.fsencode(path)  # also for names that are not UTF-8
        return
    with RepairedWave(path, samples) as repaired:
        yield repaired


@contextlib.contextmanager
def _opened(
    path: Path, name: str, sample_rate_hz: int | None, *, resample: bool, mix: bool
) -> Iterator[soundfile.SoundFile]:
    """Open a file that can be read at a rate; errors of libsndfile become DataError."""
    try:
        with _source(path, name) as source, soundfile.SoundFile(source) as file:
            rate_hz = file.samplerate
            if sample_rate_hz not in (None, rate_hz):
                if not resample:
                    raise DataError(
                        f"{name}: sample rate is {rate_hz} Hz, {sample_rate_hz} Hz is needed; "
                        "convert the file or allow resampling"
                    )
                check_rate(rate_hz, name)
            if file.channels != 1 and not mix:
                raise DataError(
                    f"{name}: has {file.channels} channels, one is needed; "
                    "convert the file to mono or allow mixing"
                )
            if file.frames == 0:
                raise NoSamplesError(f"{name}: contains no samples; {_REMEDY}")
            yield file
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(
            f"{name}: cannot be decoded as sound (broken, truncated or not an audio file); "
            f"{_REMEDY}"
        ) from error


def _frames(
    file: soundfile.SoundFile, name: str, samples: int, chunk_samples: int
) -> Iterator[Audio]:
    """The next ``samples`` samples of a file in chunks of shape (samples, channels)."""
    for start in range(0, samples, chunk_samples):
        count = min(chunk_samples, samples - start)
        # NumPy converts 16-bit samples five times as fast as libsndfile, to the same floats.
        if file.subtype == "PCM_16":
            audio = from_pcm16(file.read(count, dtype="int16", always_2d=True))
        else:
            audio = file.read(count, dtype="float32", always_2d=True)
        if len(audio) < count:
            raise _truncated(name, f"{start + len(audio)} of {samples} samples can be read")
        if not (np.abs(audio) <= _LARGEST).all():  # NaN is not, either
            raise DataError(
                f"{name}: contains NaN or infinite samples, or some above {_LARGEST:.0e}; {_REMEDY}"
            )
        yield audio


def mixed(audio: Audio) -> Audio:
    """Average the channels: (samples, channels) to (samples,)."""
    return audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)


def check_rate(rate_hz: float, name: str) -> None:
    """Refuse an implausible rate, whose conversion could take unlimited time and memory.

    Raises:
        DataError: the rate is out of range; the message has ``name``.
    """
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise DataError(
            f"{name}: the rate is given as {rate_hz} Hz; {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz "
            "can be converted: correct it"
        )


def resampled_chunks(
    chunks: Iterable[Audio], rate_hz: int, new_rate_hz: int, name: str
) -> Iterator[Audio]:
    """:func:`resampled` for samples in chunks, with the same result.

    Raises:
        DataError: ``name`` is too short for a sample at the new rate.
    """
    stream = soxr.ResampleStream(rate_hz, new_rate_hz, 1, dtype="float32")
    delivered = 0
    for chunk in chunks:
        audio = stream.resample_chunk(np.ascontiguousarray(chunk))
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


def resampled(audio: Audio, rate_hz: float, new_rate_hz: int) -> Audio:
    """Samples at another rate (soxr, high quality), float32 of shape (samples,)."""
    return np.asarray(soxr.resample(audio, rate_hz, new_rate_hz), np.float32)


def fit_length(
    audio: npt.NDArray[_Sample], samples: int, rule: FitRule = "pad"
) -> npt.NDArray[_Sample]:
    """Bring audio of shape (n,) to shape (samples,), keeping its dtype.

    ``pad`` appends zeros to a shorter sound and ``loop`` repeats it; both keep the beginning of a
    longer one. ``crop`` centres a shorter sound between zeros and keeps the middle of a longer one.

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


def to_pcm16(audio: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Round samples to 16 bits: ``floor(32768 x + 0.5)``, clipped; inverts ``int16 / 32768``."""
    scaled = np.floor(np.asarray(audio, np.float64) * PCM16_SCALE + 0.5)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def from_pcm16(pcm: npt.NDArray[np.int16]) -> Audio:
    """Convert 16-bit samples to float32, ``int16 / 32768`` (exact)."""
    return pcm.astype(np.float32) / np.float32(PCM16_SCALE)


def wav_bytes(pcm: npt.NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """Mono 16-bit WAV file of samples of shape (samples,)."""
    file = io.BytesIO()
    soundfile.write(file, pcm, sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def write_wav(path: Path, pcm: npt.NDArray[np.int16], sample_rate_hz: int) -> None:
    """Write :func:`wav_bytes`.

    Raises:
        OSError: it cannot be written; libsndfile would not say why.
    """
    with naming(path):
        path.write_bytes(wav_bytes(pcm, sample_rate_hz))


def _truncated(name: str, detail: str) -> DataError:
    return DataError(f"{name}: is truncated ({detail}); {_REMEDY}")


def check_file(path: Path, name: str = "") -> Samples | None:
    """Refuse files that libsndfile reports badly, or accepts silently, such as a truncated WAV.

    Args:
        name: name of the file in errors; default: its path.

    Returns:
        Where the samples of a WAV file are; None for other formats.

    Raises:
        DataError: the file is missing, empty, truncated or not a file.
    """
    name = name or str(path)
    if path.is_dir():
        raise DataError(f"{name}: is a folder, not a sound file; name the file itself")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could block
            raise DataError(f"{name}: is a pipe or a device, not a sound file; {_REMEDY}")
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes == 0:
                raise NoSamplesError(f"{name}: is empty (0 bytes); {_REMEDY}")
            file.seek(0)
            if file.read(12) == b"version http":
                raise DataError(f"{name}: is a git-lfs pointer; run git lfs pull in its folder")
            try:
                return find_samples(file, size_bytes)
            except DataError as error:
                raise _truncated(name, str(error)) from None
    except FileNotFoundError:
        raise DataError(f"{name}: does not exist; check the path") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{name}: cannot be read ({reason}); check its permissions") from error
