# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are used, and what is said of the others."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.files import SUFFIXES
from m3net_tf.audio.datasets.inspection import inspect_folder
from m3net_tf.system.errors import DataError

RATE_HZ = 16_000
FORMS = {
    **{".wave": "WAV", ".bwf": "WAV", ".rf64": "RF64", ".w64": "W64", ".oga": "OGG"},
    **{".aif": "AIFF", ".aifc": "AIFF", ".snd": "AU", ".sph": "NIST"},
}


def sounds(root: Path, *names: str, length_s: float = 0.1) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 0.1, round(length_s * RATE_HZ))
        form = path.suffix[1:].upper()
        kind = "OPUS" if form == "OPUS" else None
        form = "OGG" if form == "OPUS" else FORMS.get(path.suffix, form)
        soundfile.write(path, noise, RATE_HZ, kind, format=form)
    return root


def classes(root: Path, *labels: str, clips: int = 6) -> Path:
    return sounds(root, *(f"{c}/{n}.wav" for c, n in itertools.product(labels, range(clips))))


def test_every_format_is_used(tmp_path: Path):
    names = [f"{label}/sound{suffix}" for label in "ab" for suffix in (*SUFFIXES, ".WAV")]
    facts = inspect_folder(sounds(tmp_path, *names))
    assert facts.clips == len(names) and not facts.unreadable and not facts.remarks
    assert not check("folder", tmp_path, decode=True).broken


def test_what_is_not_used_is_counted_by_reason(tmp_path: Path):
    root = classes(tmp_path / "my sounds", "rain", "wind", "Rain")
    for name in ("rain/a.m4a", "wind/b.M4A", "wind/c.wma", "rain/notes.txt", "info.labels"):
        (root / name).write_bytes(b"0")
    sounds(root, "loose.wav", "_background_noise_/room.flac", length_s=12)
    for name in ("rain/._0.wav", "__MACOSX/rain/._1.wav", ".DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"0")
    (root / "rain" / "more").symlink_to(tmp_path)
    facts = inspect_folder(root)
    assert facts.clips == 18 and facts.noise
    said = "\n".join(facts.remarks)
    assert "1 sound file outside the class folders, such as loose.wav" in said
    assert "2 .m4a, 1 .wma cannot be read; convert them by find" in said
    assert "2 other files: 1 .labels, 1 .txt" in said
    assert "3 hidden files" in said and "1 linked folder, such as rain/more" in said
    assert "'Rain' and 'rain' are different classes" in said
    assert len(facts.remarks) == 6
    checked = check("folder", root).remarks
    assert [line for line in checked if line.startswith("not used: ")] == [
        line for line in facts.remarks if line.startswith("not used: ")
    ]
    assert load_dataset("folder", root).info.labels == ("Rain", "_silence_", "rain", "wind")


def test_the_command_that_converts_can_be_typed(tmp_path: Path, monkeypatch):
    """With a program in the place of ffmpeg, which copies its input."""
    root = classes(tmp_path / "it's mine", "rain", "wind")
    (root / "wind" / "a b.m4a").write_bytes((root / "wind" / "0.wav").read_bytes())
    ffmpeg = tmp_path / "bin" / "ffmpeg"
    ffmpeg.parent.mkdir()
    ffmpeg.write_text('#!/bin/sh\ncp "$2" "$3"\n')
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", str(ffmpeg.parent), prepend=":")
    (remark,) = inspect_folder(root).remarks
    subprocess.run(remark.partition(" by ")[2], shell=True, check=True)
    assert inspect_folder(root).clips == 13


def test_a_class_that_has_only_other_formats_is_told_how_to_convert(tmp_path: Path):
    root = classes(tmp_path, "rain")
    (root / "wind").mkdir()
    (root / "wind" / "a.m4a").write_bytes(b"0")
    with refuses(DataError, root / "wind", "ffmpeg", "*.m4a"):
        inspect_folder(root)


def test_empty_files_are_left_out(tmp_path: Path):
    """As a power cut leaves them: without a byte, or with nothing behind the header."""
    root = classes(tmp_path, "rain", "wind")
    (root / "rain" / "empty.flac").touch()
    header = (root / "rain" / "0.wav").read_bytes()[:40] + bytes(4)
    (root / "rain" / "header.wav").write_bytes(header)
    facts = inspect_folder(root)
    assert facts.clips == 12 and not facts.unreadable
    assert "2 files without samples, such as rain/empty.flac" in facts.remarks[0]
    assert set(load_dataset("folder", root).silent) == {"rain/empty.flac", "rain/header.wav"}
    assert not check("folder", root).broken


def test_a_class_in_one_recording_is_named(tmp_path: Path):
    root = sounds(classes(tmp_path, "rain", "wind"), "rain/long.wav", length_s=40)
    (remark,) = inspect_folder(root).remarks
    assert "rain/long.wav has 99 % of class 'rain' (0.7 minutes)" in remark


@pytest.mark.parametrize("recorded", [False, True])
def test_one_class_needs_recorded_sounds_beside_it(recorded: bool, tmp_path: Path):
    root = classes(tmp_path, "rain")
    dataset = load_dataset("folder", root, silence_percentage=50)
    with refuses(DataError, "only one class, 'rain' (6 clips)", "'other'", "_background_noise_"):
        dataset.check_trainable()
    if recorded:
        sounds(root, "_background_noise_/room.wav", length_s=12)
        load_dataset("folder", root, silence_percentage=50).check_trainable()
