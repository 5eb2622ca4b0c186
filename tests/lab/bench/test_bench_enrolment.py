# SPDX-License-Identifier: Apache-2.0
"""Enrolled words on recordings: what is found, and the threshold that the target allows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.export import Bundle
from m3net_tf.export.enrolment import embedding_listener
from m3net_tf.export.from_file import export_file
from m3net_tf.lab.bench.enrolment import run_bench_enrolment
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime.prototypes import BACKGROUND
from m3net_tf.runtime.sound import pcm_chunks
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


@pytest.mark.slow
def test_tones_are_told_from_noise(exported: Bundle, sounds: Path):
    result = run_bench_enrolment(exported, sounds / "words", [sounds / "others"], count=5)
    assert (result["speakers"], result["trials"], result["examples"]) == (2, 6, 2.0)
    nothing = {"missed_share": 0, "false_accepts_per_hour": 0}
    assert result["missed"] == 0 and result["by_word"] == {"high": nothing, "low": nothing}
    assert result["threshold"] == exported.detector.classes[0].threshold
    assert result["hours"] == pytest.approx(10 / 3600, rel=0.02)


def test_a_background_is_no_false_accept(exported: Bundle, sounds: Path, tmp_path: Path):
    """Sounds with one of the words, of which the second export knows that they are others."""
    tone, _ = soundfile.read(sounds / "words" / "high" / "anna" / "0.wav")
    around = 1e-4 * np.random.default_rng(1).standard_normal(3 * RATE_HZ)
    around[RATE_HZ : RATE_HZ + len(tone)] += tone
    (tmp_path / "tone").mkdir()
    soundfile.write(tmp_path / "tone" / "tone.wav", around, RATE_HZ)
    shutil.copytree(exported.folder, tmp_path / "export")
    listener = embedding_listener(exported.tflite, exported.frontend, exported.detector)
    heard = listener(pcm_chunks(tmp_path / "tone" / "tone.wav", RATE_HZ)).scores
    (tmp_path / "export" / BACKGROUND).write_bytes(heard.tobytes())
    for bundle, accepts in ((exported, True), (Bundle.load(tmp_path / "export"), False)):
        result = run_bench_enrolment(bundle, sounds / "words", [tmp_path / "tone"], count=1)
        assert (result["by_word"]["high"]["false_accepts_per_hour"] > 0) == accepts
        assert result["by_word"]["low"] == {"missed_share": 0, "false_accepts_per_hour": 0}
        assert result["examples"] == 1


def test_a_speaker_needs_two_recordings(exported: Bundle, sounds: Path):
    with pytest.raises(DataError, match="<word>/<speaker>"):
        run_bench_enrolment(exported, sounds / "others", [sounds / "others"])
