# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's microfrontend as a front end of networks for ESPHome's micro_wake_word."""

import dataclasses

import numpy as np
import pytest
from pymicro_features import MicroFrontend
from refusals import refuses

from m3net_tf.audio.frontend import features_int8, graph, write_c_tables
from m3net_tf.audio.frontend.microfrontend import INPUT_SCALE, MICROFRONTEND
from m3net_tf.runtime.recognizer import ColumnStream
from m3net_tf.system.errors import ConfigError

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """Two seconds of noise that becomes louder."""
    rng = np.random.default_rng(0)
    return (np.linspace(0.001, 0.3, 2 * RATE_HZ) * rng.standard_normal(2 * RATE_HZ)).clip(-1, 0.999)


def test_a_stream_gives_the_bytes_of_esphome(wave):
    pcm = np.round(wave * 32_768).astype(np.int16)
    package = MicroFrontend()
    expected, by_scale = [], []
    for start in range(0, len(pcm), 160):
        if values := package.process_samples(pcm[start : start + 160].tobytes()).features:
            counts = np.round(np.array(values) * 25.6).astype(int)
            # GenerateFeatures in ESPHome's components/micro_wake_word/micro_wake_word.cpp
            expected.append(np.clip((counts * 256 + 333) // 666 - 128, -128, 127))
            by_scale.append(np.round(np.array(values) / INPUT_SCALE - 128))  # pymicro-wakeword
    stream = ColumnStream(MICROFRONTEND)
    columns = [stream.push(pcm[start : start + 777]) for start in range(0, len(pcm), 777)]
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), np.array(expected).T)
    np.testing.assert_array_equal(by_scale, expected)
    np.testing.assert_array_equal(features_int8(MICROFRONTEND, pcm / 32_768), np.array(expected).T)
    assert MICROFRONTEND.frame_count(len(pcm)) == len(expected)


def test_a_clip_has_the_same_features_in_tensorflow(wave):
    clips = np.stack([wave[:RATE_HZ], wave[RATE_HZ:]]).astype(np.float32)
    reference = np.stack([features_int8(MICROFRONTEND, clip) for clip in clips])
    np.testing.assert_array_equal(graph.batch_features(MICROFRONTEND, clips), reference)
    np.testing.assert_array_equal(graph.features_int8(MICROFRONTEND, clips[1]), reference[1])
    exact = graph.batch_features(MICROFRONTEND, clips, "float32")
    np.testing.assert_allclose(128 * exact, reference, atol=0.5 + 1e-4)
    assert reference.shape == (2, 40, 98) and reference.std() > 10


def test_it_has_its_own_settings(tmp_path):
    for other in ({"hop_samples": 320}, {"mel_bins": 64}, {"level_db": -20.0}):
        (name,) = other
        with refuses(ConfigError, name, "microfrontend"):
            dataclasses.replace(MICROFRONTEND, **other)
    with refuses(ConfigError, "frontend.kind", "firmware"):
        write_c_tables(MICROFRONTEND, tmp_path, frames=98)
