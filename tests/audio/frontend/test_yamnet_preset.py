# SPDX-License-Identifier: Apache-2.0
"""The preset ``yamnet`` gives YAMNet's features, of its formula and inside its network."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from m3net_tf.audio.frontend import features, features_int8, frontend_preset, reference
from m3net_tf.system.keras import tf

RESOLVER = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
CONFIG = frontend_preset("yamnet")


def published_log_mel(audio: np.ndarray) -> np.ndarray:
    """The formula of research/audioset/yamnet/features.py, shape (64, frames)."""
    magnitudes = tf.abs(tf.signal.stft(audio, 400, 160, 512))
    matrix = tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7500.0, tf.float64)
    return np.asarray(tf.math.log(magnitudes @ matrix + 0.001)).T


def test_the_published_formula(sounds):
    for audio in sounds:
        expected = published_log_mel(audio.astype(np.float64))
        actual = features(CONFIG, audio)
        assert actual.shape == (64, 98)
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_silence_is_near_the_lowest_step():
    silence = features_int8(CONFIG, np.zeros(400))
    np.testing.assert_array_equal(silence, np.full((64, 1), -126))


def test_inside_the_published_network(sounds):
    """The network's mel bank has int8 weights and rounds each spectrum to int8 before it."""
    path = Path(__file__).parents[4] / "shared" / "data" / "yamnet.tflite"
    if not path.is_file():
        pytest.skip(f"no real data: {path} is missing")
    network = Interpreter(
        str(path), experimental_op_resolver_type=RESOLVER, experimental_preserve_all_tensors=True
    )
    network.allocate_tensors()
    details = network.get_tensor_details()

    def tensor(end: str, shape: tuple[int, int]) -> dict:
        return next(
            d
            for d in details
            if d["name"].split(";")[0].endswith(end) and tuple(d["shape"]) == shape
        )

    bank = tensor("MatMul", (64, 257))
    steps = bank["quantization_parameters"]["scales"][:, None]
    weights = network.get_tensor(bank["index"]) * steps
    np.testing.assert_allclose(weights, reference.mel_filterbank(CONFIG), atol=0.51 * steps.max())
    for audio in sounds:
        network.set_tensor(0, audio[:15_600].astype(np.float32))
        network.invoke()
        magnitudes = network.get_tensor(tensor("ComplexAbs", (96, 257))["index"]).T
        np.testing.assert_allclose(
            magnitudes, reference.spectrogram(CONFIG, audio[:15_600]), atol=1e-4
        )
        log_mel = network.get_tensor(tensor("Log", (96, 64))["index"]).T
        expected = features(CONFIG, audio[:15_600])
        step = magnitudes.max(axis=0) / 127
        loud = np.exp(expected) > 20 * step
        np.testing.assert_allclose(log_mel[loud], expected[loud], atol=0.1)
