# SPDX-License-Identifier: Apache-2.0
"""The form of the measurement from files to features, not this machine's speed."""

import json

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.lab.bench import data as bench_data
from m3net_tf.system.errors import ConfigError

# Modules of the standard library that librosa.load imports through audioread.
pytestmark = pytest.mark.filterwarnings("ignore:.(aifc|audioop|sunau). is deprecated")


@pytest.fixture
def folder(tmp_path):
    """Two classes of six WAV files each, of half a second and more."""
    rng = np.random.default_rng(0)
    for label in ("hiss", "hum"):
        for number in range(6):
            path = tmp_path / "data" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.uniform(-0.1, 0.1, 8000 + 1000 * number), 16_000)
    return tmp_path / "data"


def test_all_routes_are_measured(folder, monkeypatch):
    monkeypatch.delenv("M3NET_CACHE", raising=False)
    lines: list[str] = []
    result = bench_data.run_bench_data("folder", folder, clips=8, log=lines.append)
    assert result["clips"] == 8 and result["dataset"] == "folder"
    assert set(result["clips_per_s"]) == {"librosa", "tf_io", "cold", "warm"}
    assert all(rate > 0 for rate in result["clips_per_s"].values())
    assert set(result["ratio_to_librosa"]) == {"cold", "warm"}
    assert result["missing"] == {}
    assert len(lines) == 4
    json.dumps(result, allow_nan=False)
    assert "M3NET_CACHE" not in bench_data.os.environ


def test_what_tf_io_cannot_read_is_said(folder):
    for path in folder.rglob("*.wav"):
        audio, rate = soundfile.read(path)
        soundfile.write(path, audio, rate, subtype="PCM_24")
    result = bench_data.run_bench_data("folder", folder, clips=8)
    assert result["clips_per_s"]["tf_io"] is None
    assert "16" in result["missing"]["tf_io"]


def test_no_files():
    with refuses(ConfigError, "synth"):
        bench_data.run_bench_data("synth")
