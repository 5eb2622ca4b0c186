# SPDX-License-Identifier: Apache-2.0
"""The TensorFlow front end: eager and traced alike, and close to the reference."""

import numpy as np
import pytest
from graph_features import graph_and_reference

from m3net_tf.audio.frontend import FrontendConfig, graph

CONFIGS = {
    "mcu": FrontendConfig(),
    "mfcc": FrontendConfig(mfcc_coefficients=10, feature_min=-80.0, feature_max=40.0),
    "db, htk, centred": FrontendConfig(
        log="db", mel_scale="htk", centred=True, feature_min=-60.0, feature_max=22.0
    ),
    "short frame, hamming": FrontendConfig(
        frame_samples=400, hop_samples=160, window="hamming", mel_bins=64
    ),
    "short frame, centred": FrontendConfig(frame_samples=480, hop_samples=160, centred=True),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_eager_traced_and_reference(config, sounds):
    eager, difference = graph_and_reference(config, sounds)
    assert eager.dtype == np.int8
    # float32 against double: values on the border of two steps may be rounded either way.
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999


def test_one_waveform_without_a_batch(sounds):
    config = FrontendConfig()
    single = graph.features_int8(config, sounds[0])
    assert single.shape == (40, 49)
    np.testing.assert_array_equal(single, graph.features_int8(config, sounds)[0])


def test_compiled_rounds_as_eager_over_millions_of_values():
    """A multiplication by the step's reciprocal would differ in about one value of a million."""
    config = FrontendConfig()
    rng = np.random.default_rng(0)
    for _ in range(40):
        level = 10.0 ** rng.uniform(-4, 0, (64, 1))
        waves = (level * rng.standard_normal((64, 16_000))).astype(np.float32)
        eager = graph.features_int8(config, waves).numpy()
        np.testing.assert_array_equal(graph.batch_features(config, waves), eager)
