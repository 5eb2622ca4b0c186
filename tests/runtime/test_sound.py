# SPDX-License-Identifier: Apache-2.0
"""Sound files and the microphone, with and without the optional libraries."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets.audio import read_audio, to_pcm16
from m3net_tf.runtime import (
    sound,
)
from m3net_tf.system.errors import DataError

pytestmark = pytest.mark.usefixtures("private_cache")


def read(path: Path) -> np.ndarray:
    """All samples of a file at 16 kHz."""
    return np.concatenate(list(sound.pcm_chunks(path, 16_000)))


# --- sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_the_standard_library_reads_the_same_samples(
    tmp_path, channels, write_wav, standard_library_alone
):
    rng = np.random.default_rng(3)
    pcm = rng.integers(-32768, 32768, (4000, channels)).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", pcm)
    expected = to_pcm16(read_audio(path, sample_rate_hz=16_000))
    np.testing.assert_array_equal(read(path), expected)
    standard_library_alone()
    np.testing.assert_array_equal(read(path), expected)


def test_other_rates_are_converted_where_soxr_is_there(tmp_path, write_wav, standard_library_alone):
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", tone, 44_100)
    assert read(path).shape == (16_000,)
    standard_library_alone()
    with refuses(DataError, "44100", "16000", "pip install soundfile"):
        read(path)


def test_what_the_standard_library_cannot_read(tmp_path, write_wav, standard_library_alone):
    pcm = np.zeros(100, np.int16)
    whole = write_wav(tmp_path / "whole.wav", pcm).read_bytes()
    cases = {
        "float.wav": "not a complete, uncompressed WAV file",
        "text.wav": "not a complete, uncompressed WAV file",
        "wide.wav": "32-bit samples",
        "cut.wav": "is truncated",
        "empty.wav": "contains no samples",
        "nowhere.wav": r"cannot be read \(No such file",
    }
    soundfile.write(tmp_path / "float.wav", np.zeros(100), 16_000, "FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    write_wav(tmp_path / "wide.wav", np.zeros(100, np.int32), width=4)
    (tmp_path / "cut.wav").write_bytes(whole[:-20])
    write_wav(tmp_path / "empty.wav", pcm[:0])
    standard_library_alone()
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


class PortAudioError(Exception):
    pass


def fake_sounddevice(pcm: np.ndarray, refuse: bool = False) -> types.ModuleType:
    """A microphone that hears ``pcm`` and is then unplugged."""

    class InputStream:
        def __init__(self, **settings) -> None:
            assert settings["samplerate"] == 16_000 and settings["dtype"] == "int16"
            if refuse:
                raise PortAudioError("Invalid sample rate")
            self.at = 0

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            pass

        def read(self, count: int):
            if self.at >= len(pcm):
                raise KeyboardInterrupt
            self.at += count
            return pcm[self.at - count : self.at, None], False

    module = types.ModuleType("sounddevice")
    module.InputStream = InputStream
    module.PortAudioError = PortAudioError
    return module


def test_the_microphone_is_heard_until_ctrl_c(
    lively, vectors, tmp_path, monkeypatch, capsys, write_wav, classify
):
    model = lively()
    pcm = np.concatenate(vectors[0])
    path = write_wav(tmp_path / "a.wav", pcm)
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(pcm))
    assert classify("--microphone", "--json", "--model", model) == 130
    heard = capsys.readouterr()
    assert heard.err.startswith("microphone: peak ")
    events = [json.loads(line) for line in heard.out.splitlines()]
    assert classify(path, "--stream", "--json", "--model", model) == 0
    streamed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events and {event.pop("source") for event in events} == {"microphone"}
    assert {event.pop("source") for event in streamed} == {str(path)}
    assert events == streamed


def test_a_quiet_microphone_is_warned_of(exported, monkeypatch, capsys, classify):
    rng = np.random.default_rng(0)
    sound = np.tile(np.repeat([1.0, 60.0], 8000), 15) * rng.standard_normal(240_000)
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(sound.astype(np.int16)))
    assert classify("--microphone", "--model", exported.folder) == 130
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("microphone: peak ") and "too quiet" in second and len(rest) <= 2


def test_without_a_microphone(exported, monkeypatch, capsys, classify):
    model = exported.folder
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert classify("--microphone", "--model", model) == 2
    assert "pip install sounddevice" in capsys.readouterr().err
    silent = fake_sounddevice(np.zeros(0, np.int16), refuse=True)
    monkeypatch.setitem(sys.modules, "sounddevice", silent)
    assert classify("--microphone", "--model", model) == 2
    assert "cannot be opened at 16000 Hz (Invalid sample rate)" in capsys.readouterr().err


# --- the command ---------------------------------------------------------------------------------
