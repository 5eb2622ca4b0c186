# SPDX-License-Identifier: Apache-2.0
"""Enrolled words on recordings: what is found, and the threshold that the target allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.lab.bench.enrolment import run_bench_enrolment
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.system.errors import DataError

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Bundle:
    model = FOLDER / "m3net-s-keywords" / "model.tflite"
    return export_file(model, tmp_path_factory.mktemp("enrolment"), enrolment_slots=1)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Two words of one speaker, three recordings each, and ten seconds of noise."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ // 2) / RATE_HZ
    for word, hz in (("high", 2_000), ("low", 300)):
        (folder / "words" / word / "anna").mkdir(parents=True)
        for number in range(3):
            tone = 0.3 * np.sin(2 * np.pi * hz * (1 + 0.01 * number) * time_s)
            noisy = tone + 0.001 * rng.standard_normal(len(tone))
            soundfile.write(folder / "words" / word / "anna" / f"{number}.wav", noisy, RATE_HZ)
    (folder / "others").mkdir()
    noise = 0.1 * rng.standard_normal(10 * RATE_HZ)
    soundfile.write(folder / "others" / "noise.wav", noise, RATE_HZ)
    return folder


def test_tones_are_told_from_noise(exported: Bundle, sounds: Path):
    result = run_bench_enrolment(exported, sounds / "words", [sounds / "others"], count=5)
    assert (result["speakers"], result["trials"], result["examples"]) == (2, 6, 2.0)
    assert result["missed"] == 0 and result["by_word"] == {"high": 0, "low": 0}
    assert result["false_accepts_per_hour"] == 0 and 0.01 < result["threshold"] < 0.9
    assert result["hours"] == pytest.approx(10 / 3600, rel=0.02)


def test_a_target_that_allows_everything_has_the_lowest_threshold(exported: Bundle, sounds: Path):
    result = run_bench_enrolment(
        exported, sounds / "words", [sounds / "others"], count=1, target=1e9
    )
    assert result["threshold"] == 1 / 256 and result["examples"] == 1


def test_a_speaker_needs_two_recordings(exported: Bundle, sounds: Path):
    with pytest.raises(DataError, match="<word>/<speaker>"):
        run_bench_enrolment(exported, sounds / "others", [sounds / "others"])
