# SPDX-License-Identifier: Apache-2.0
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets.audio import FIT_RULES, fit_length, from_pcm16, read_audio, to_pcm16
from m3net_tf.system.errors import ConfigError, DataError

ALL_PCM = np.arange(-32768, 32768).astype(np.int16)


def refuse(path: Path, pattern: str, **kwargs: object) -> None:
    """Reading must fail in one line that names the file and matches the pattern."""
    with pytest.raises(DataError) as caught:
        read_audio(path, **{"sample_rate_hz": 16_000, **kwargs})
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert re.search(pattern, message), message


def test_16_bit_wav_is_exact(tmp_path, write_wav):
    audio = read_audio(write_wav(tmp_path / "a.wav", ALL_PCM), sample_rate_hz=16_000)
    assert audio.dtype == np.float32
    np.testing.assert_array_equal(audio, ALL_PCM / 32768)
    np.testing.assert_array_equal(to_pcm16(audio), ALL_PCM)
    np.testing.assert_array_equal(from_pcm16(ALL_PCM), audio)


def test_to_pcm16_rounds_half_up_and_clips():
    halves = np.array([0.5, 1.5, -0.5, -1.5]) / 32768
    np.testing.assert_array_equal(to_pcm16(halves), [1, 2, 0, -1])
    np.testing.assert_array_equal(
        to_pcm16(np.array([1.0, 7.0, -1.0, -7.0])), [32767, 32767, -32768, -32768]
    )


@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [
        (".wav", "PCM_U8", 2**-7),
        (".wav", "PCM_24", 2**-23),
        (".wav", "PCM_32", 2**-23),
        (".wav", "FLOAT", 0.0),
        (".wav", "DOUBLE", 2**-24),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
    ],
)
def test_formats(tmp_path, suffix, subtype, step):
    path = tmp_path / f"a{suffix}"
    wave = np.random.default_rng(1).uniform(-0.9, 0.9, 3000).astype(np.float32)
    soundfile.write(path, wave, 16_000, subtype=subtype)
    np.testing.assert_allclose(read_audio(path, sample_rate_hz=16_000), wave, rtol=0, atol=step)


def test_stereo_is_averaged(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", np.array([[100, 300], [-4, 4]], np.int16))
    np.testing.assert_array_equal(
        read_audio(path, sample_rate_hz=16_000), np.float32([200, 0]) / 32768
    )


def test_resampling_keeps_a_tone(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000 * np.arange(44_100) / 44_100), 44_100)
    audio = read_audio(path, sample_rate_hz=16_000)
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    assert audio.shape == (16_000,)
    # soxr HQ promises about 20 bits; 16 bits of the file and the filter's ends cost the rest.
    np.testing.assert_allclose(audio[500:-500], tone[500:-500], atol=2e-4)


def test_a_piece_of_a_file(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", ALL_PCM)
    audio = read_audio(path, sample_rate_hz=16_000, start_s=1.5, duration_s=0.25)
    np.testing.assert_array_equal(audio, ALL_PCM[24_000:28_000] / 32768)
    refuse(path, "does not cover", start_s=4.0, duration_s=0.25)
    refuse(path, "does not cover", start_s=9.0)


NOTHING = np.zeros(0, np.int16)
NOISE = np.random.default_rng(0).uniform(-1, 1, 16_000)


def wav_of(samples: np.ndarray, kept: int | None = None, form: str = "WAV", **options) -> bytes:
    """The first bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=form, **options)
    return file.getvalue()[:kept]


def with_value(value: float) -> bytes:
    return wav_of(np.insert(np.zeros(1000), 500, value), subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (wav_of(NOTHING), "no samples"),
        *((wav_of(NOISE, kept), "is truncated .*32000 bytes") for kept in (45, 1000, 32_043)),
        *((wav_of(NOISE, kept), "truncated|no samples|cannot be dec") for kept in (5, 12, 20, 43)),
        (wav_of(NOISE, 9000, "FLAC"), "truncated|cannot be decoded"),
        *((text, "cannot be dec") for text in (b"no sound", b"RIFF\0\0\0\0WAVEjunk", bytes(5000))),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        *((with_value(value), "NaN or infinite") for value in (np.nan, np.inf, -np.inf)),
    ],
)
def test_a_fault_of_a_file(content, fault, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    refuse(path, fault)


def test_what_is_no_file_or_needs_a_conversion(tmp_path, write_wav):
    refuse(tmp_path / "none.wav", "does not exist; check")
    refuse(tmp_path, "is a folder")
    path = write_wav(tmp_path / "a.wav", rate_hz=22_050)
    refuse(path, "22050 Hz, 16000 Hz is needed; convert", resample=False)
    path = write_wav(tmp_path / "b.wav", np.zeros((100, 2), np.int16))
    refuse(path, "has 2 channels.*convert", mix=False)


def test_fit_length():
    three = np.float32([1, 2, 3])
    seven = np.arange(7, dtype=np.float32)
    assert fit_length(three, 5, "pad").tolist() == [1, 2, 3, 0, 0]
    assert fit_length(three, 7, "loop").tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fit_length(three, 6, "crop").tolist() == [0, 1, 2, 3, 0, 0]
    assert fit_length(seven, 3, "pad").tolist() == [0, 1, 2]
    assert fit_length(seven, 3, "loop").tolist() == [0, 1, 2]
    assert fit_length(seven, 3, "crop").tolist() == [2, 3, 4]
    for rule in FIT_RULES:
        assert fit_length(seven, 7, rule).tolist() == seven.tolist()
        assert fit_length(three, 5, rule).dtype == np.float32
    with refuses(ConfigError, "'stretch'", "crop", "loop", "pad"):
        fit_length(three, 5, "stretch")
    with pytest.raises(DataError, match="cannot be looped"):
        fit_length(three[:0], 5, "loop")
