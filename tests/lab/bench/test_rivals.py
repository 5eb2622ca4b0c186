# SPDX-License-Identifier: Apache-2.0
"""Other publishers' wake words, of which modules of the tests play the packages' parts."""

import json
import sys
import types

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.export import Bundle
from m3net_tf.lab.bench.rivals import load_rival
from m3net_tf.lab.bench.wake import run_bench_wake
from m3net_tf.system.errors import ConfigError, DataError, ModelError

pytestmark = pytest.mark.usefixtures("private_cache")
LOUD = 1000


def loudness(pcm: np.ndarray) -> float:
    """A loud sound has the probability 1."""
    return float(np.abs(pcm).max() > LOUD)


@pytest.fixture
def micro(monkeypatch, tmp_path) -> str:
    """Let a package detect loud columns, three at a time; returns a manifest."""

    class MicroWakeWord:
        stride = 3

        @classmethod
        def from_config(cls, path):
            manifest = json.loads(path.read_text())
            assert (tmp_path / "loud.tflite").samefile(manifest["model"])
            assert manifest["micro"]["sliding_window_size"] == 1
            model = cls()
            model.held = []
            return model

        def process_streaming_prob(self, features):
            self.held.append(features)
            if len(self.held) < self.stride:
                return 0.0
            share = max(map(loudness, self.held))
            self.held = []
            return share

    class MicroWakeWordFeatures:
        def process_streaming(self, audio):
            pcm = np.frombuffer(audio, np.int16)
            return (pcm[start : start + 160] for start in range(0, len(pcm) - 159, 160))

    module = types.ModuleType("pymicro_wakeword")
    module.MicroWakeWord = MicroWakeWord
    module.MicroWakeWordFeatures = MicroWakeWordFeatures
    monkeypatch.setitem(sys.modules, "pymicro_wakeword", module)
    (tmp_path / "loud.tflite").touch()
    settings = {"probability_cutoff": 0.9, "sliding_window_size": 5, "feature_step_size": 10}
    manifest = tmp_path / "loud.json"
    content = {"type": "micro", "version": 2, "wake_word": "Loud", "model": "loud.tflite"}
    manifest.write_text(json.dumps({**content, "micro": settings}))
    return str(manifest)


@pytest.fixture
def opened(monkeypatch, tmp_path) -> str:
    """A package openWakeWord with a network that detects loud frames; its file."""

    class Model:
        def __init__(self, wakeword_models, inference_framework):
            if inference_framework != "onnx":
                raise ValueError("no runtime")

        def predict(self, pcm):
            assert pcm.shape == (1280,)
            return {"loud": loudness(pcm)}

    module = types.ModuleType("openwakeword")
    module.Model = Model
    monkeypatch.setitem(sys.modules, "openwakeword", module)
    path = tmp_path / "loud.onnx"
    path.touch()
    return str(path)


def test_rivals_get_the_same_sounds(exported, micro, opened, tmp_path):
    bundle = Bundle.load(exported.folder)
    word = bundle.labels[0]
    rate_hz = bundle.frontend.sample_rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * rate_hz)
    for name, sound in {
        "said/loud": noise[:rate_hz],
        "said/soft": noise[:rate_hz] / 1000,
        "others/soft": noise / 1000,
        "others/click": np.pad(noise[:100], rate_hz),  # too short for a mean of five runs
        "others/loud": np.pad(noise[:rate_hz], rate_hz),
    }.items():
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, sound, rate_hz)
    rivals = [load_rival(name, word) for name in (micro, opened)]
    result = run_bench_wake(
        bundle, {word: [tmp_path / "said"]}, [tmp_path / "others"], rivals=rivals
    )
    for name, false_accepts in (("loud.json", 1), ("loud.onnx", 2)):
        found = result["words"][word][0]["rivals"][name]
        figures = found["tuned"]["figures"]
        assert (figures["true_events"], figures["missed"]) == (2, 1)
        assert figures["false_accepts"] == false_accepts
        assert found["takes"]["miss_rate"] == 0.5
    assert result["words"][word][0]["rivals"]["loud.json"]["tuned"]["threshold"] == 0.9


def test_what_cannot_be_loaded_is_named(micro, opened, tmp_path, monkeypatch):
    with refuses(ConfigError, "words.txt", "microwakeword:NAME", "openwakeword:NAME"):
        load_rival("words.txt", "loud")
    with refuses(DataError, "loud.tflite"):
        (tmp_path / "loud.tflite").unlink()
        load_rival(micro, "loud")
    with refuses(DataError, "missing.tflite"):
        load_rival(str(tmp_path / "missing.tflite"), "loud")
    (tmp_path / "empty.json").write_text('{"type": "micro", "version": 2}')
    with refuses(ModelError, "empty.json", "wake_word"):
        load_rival(str(tmp_path / "empty.json"), "loud")
    other = tmp_path / "other.tflite"
    other.touch()
    with refuses(ConfigError, "other.tflite", "no runtime", "download_models"):
        load_rival(str(other), "loud")
    monkeypatch.setitem(sys.modules, "openwakeword", None)
    with refuses(ConfigError, "pip install openwakeword"):
        load_rival(opened, "loud")
