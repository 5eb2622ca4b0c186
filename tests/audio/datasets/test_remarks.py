# SPDX-License-Identifier: Apache-2.0
"""What is said about recordings before a network is trained on them, and what is not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import load_dataset, remarks, silence_statement
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.remarks import recording_lines, shortcut_lines

RATE_HZ = 16_000
Sound = Callable[[str, np.random.Generator], tuple[np.ndarray, int]]


def folder(root: Path, sound: Sound, clips: int = 20, labels: str = "ab", **form: str) -> Path:
    """Clips of classes from a function of the class and a generator."""
    rng = np.random.default_rng(0)
    for label, number in itertools.product(labels, range(clips)):
        path = root / label / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples, rate_hz = sound(label, rng)
        soundfile.write(path, samples, rate_hz, **form)
    return root


def noise(rng: np.random.Generator, length_s: float = 0.3, level: float = 0.1) -> np.ndarray:
    return rng.normal(0, level, round(length_s * RATE_HZ))


def lines(root: Path, **options: object) -> str:
    return "\n".join(recording_lines(load_dataset("folder", root, **options)))


SHORTCUTS: dict[str, Sound] = {
    "rate, channels and format": lambda label, rng: (
        (noise(rng)[::2], 8000) if label == "b" else (noise(rng), RATE_HZ)
    ),
    "length": lambda label, rng: (noise(rng, 0.5 if label == "b" else 0.7), RATE_HZ),
    "level": lambda label, rng: (noise(rng, level=0.01 if label == "b" else 0.1), RATE_HZ),
}


@pytest.mark.parametrize("kind", SHORTCUTS)
def test_a_property_of_the_files_tells_the_classes_apart(kind: str, tmp_path: Path):
    root = folder(tmp_path / "sounds", SHORTCUTS[kind])
    (line,) = shortcut_lines(load_dataset("folder", root))
    assert f"shortcut: {kind}" in line
    assert re.search("(98|100) % of the files", line) and "right in 50 %" in line
    assert line in check("folder", root).remarks


def test_files_are_measured_once_until_one_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "sounds", SHORTCUTS["level"])
    told = [line for line in lines(root).splitlines() if line.startswith("shortcut")]
    measured = []
    measure = remarks.measure
    monkeypatch.setattr(remarks, "measure", lambda *of: (measured.append(1), measure(*of))[1])
    assert shortcut_lines(load_dataset("folder", root)) == told and not measured
    assert shortcut_lines(load_dataset("folder", root, clip_s=0.1)) and len(measured) == 1
    rng = np.random.default_rng(1)
    soundfile.write(root / "a/0.wav", noise(rng, 0.4), RATE_HZ)
    assert shortcut_lines(load_dataset("folder", root)) and len(measured) == 2
    assert shortcut_lines(load_dataset("folder", root)) and len(measured) == 2


def test_one_of_many_classes_was_recorded_with_another_device(tmp_path: Path):
    root = folder(
        tmp_path / "sounds",
        lambda label, rng: (np.tile(noise(rng), (1 + (label == "c"), 1)).T, RATE_HZ),
        20,
        "abcdef",
    )
    (line,) = shortcut_lines(load_dataset("folder", root))
    assert "tell 'c' from the other classes in 100 % of the files" in line
    assert "right in 83 %" in line


def drawn(label: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Class b is longer and louder on average, as by its nature, and any clip has any rate."""
    more = 1.3 if label == "b" else 1.0
    sound = noise(rng, rng.uniform(0.2, 0.5) * more, rng.uniform(0.03, 0.1) * more)
    return sound, int(rng.choice([8000, RATE_HZ]))


def test_no_false_alarm(tmp_path: Path):
    """Also not by the length beyond the window, nor of background recordings, nor by few files."""
    assert not shortcut_lines(load_dataset("folder", folder(tmp_path / "drawn", drawn)))
    root = folder(tmp_path / "long", SHORTCUTS["length"])
    assert not shortcut_lines(load_dataset("folder", root, clip_s=0.5))
    for label in ("quiet", "long"):
        sound = SHORTCUTS["level" if label == "quiet" else "length"]
        root = folder(tmp_path / label, sound)
        (root / "b").rename(root / "background")
        assert not shortcut_lines(load_dataset("folder", root))
    assert not shortcut_lines(load_dataset("folder", folder(tmp_path / "few", drawn, 4)))
    assert not shortcut_lines(load_dataset("synth"))


def test_faults_of_recordings_are_named(tmp_path: Path):
    root = folder(tmp_path / "sounds", lambda _, rng: (noise(rng, level=0.05), RATE_HZ), 8)
    assert not lines(root)
    rng = np.random.default_rng(1)
    loud = np.clip(noise(rng, level=0.8), -1, 1)
    soundfile.write(root / "a" / "clipped.wav", loud, RATE_HZ)
    other = noise(rng, level=0.2)
    opposite = np.stack([other, 0.01 * noise(rng) - other], axis=1)
    soundfile.write(root / "a" / "opposite.wav", opposite, RATE_HZ)
    soundfile.write(root / "b" / "float.wav", 30_000 * other, RATE_HZ, subtype="FLOAT")
    soundfile.write(root / "b" / "nan.wav", np.full(RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    said = lines(root)
    assert "b/nan.wav: contains NaN" in said
    assert "clipped: 1 of 19 measured files" in said and "a/clipped.wav" in said
    assert "channels: in 1 of 19 measured files" in said and "a/opposite.wav" in said
    assert "above full scale: 1 of 19" in said and "b/float.wav" in said


def test_channels_that_cancel_each_other_are_no_sound(tmp_path: Path):
    """The check and the training average them in the same way."""
    root = folder(tmp_path / "sounds", lambda _, rng: (noise(rng), RATE_HZ), 6)
    left = np.random.default_rng(1).integers(-9000, 9000, 4000).astype(np.int16)
    soundfile.write(root / "a" / "opposite.wav", np.stack([left, -left], axis=1), RATE_HZ)
    dataset = load_dataset("folder", root)
    assert dataset.silent == ("a/opposite.wav",)
    assert "cancel each other" in str(silence_statement(dataset))


def test_what_a_rate_cuts_off_is_named(tmp_path: Path):
    def sound(label: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        time_s = np.arange(24_000) / 48_000
        pitch_hz = 12_500 if label == "b" else rng.uniform(500, 3000)
        return np.sin(2 * np.pi * pitch_hz * time_s) * 0.1, 48_000

    root = folder(tmp_path / "sounds", sound, 6)
    said = lines(root)
    assert "at 16000 Hz all energy above 8000 Hz is lost, 100 % of 'b'" in said
    assert "'a'" not in said and "--sample-rate 48000" in said
    assert "is lost" not in lines(root, sample_rate_hz=48_000)


def test_noise_that_lasts_needs_recorded_silence(tmp_path: Path):
    def sound(label: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        time_s = np.arange(RATE_HZ) / RATE_HZ
        tone = 0.1 * np.sin(2 * np.pi * 700 * time_s) + noise(rng, 1, 0.003)
        return (noise(rng, 1) if label == "b" else tone), RATE_HZ

    root = folder(tmp_path / "sounds", sound, 8)
    assert "lasting noise ('b')" in lines(root, silence_percentage=20)
    assert "lasting noise" not in lines(root)  # no artificial silence
