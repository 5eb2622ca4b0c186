# SPDX-License-Identifier: Apache-2.0
"""Sub-spectral normalisation and BC-ResBlocks."""

import numpy as np
import pytest

from m3net_tf.networks.models.bc_resnet.broadcasted import SubSpectralNorm, broadcasted_residual
from m3net_tf.system.keras import keras, tf


def maps(bins: int = 10) -> np.ndarray:
    rng = np.random.default_rng(0)
    spread = np.linspace(1, 5, bins)[:, None, None]
    return (spread * (rng.normal(size=(6, bins, 7, 3)) + 2)).astype(np.float32)


@pytest.mark.parametrize(("bins", "bands"), [(10, 5), (20, 5), (8, 5), (7, 1)])
def test_each_band_of_each_channel_is_normalised_by_itself(bins, bands):
    x = maps(bins)
    layer = SubSpectralNorm(bands)
    normalised = layer(x, training=True).numpy()
    band = np.arange(bins) * bands // bins
    for number in range(bands):
        part = normalised[:, band == number]
        np.testing.assert_allclose(part.mean((0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(part.std((0, 1, 2)), 1, atol=1e-3)
    assert layer.count_params() == 4 * bands * 3


def test_running_statistics_serve_at_inference():
    x = maps()
    layer = SubSpectralNorm(5)
    for _ in range(200):
        trained = layer(x, training=True)
    assert np.abs(layer(x) - trained).max() < 1e-4
    layer.gamma.assign(layer.gamma * 2)
    layer.beta.assign(layer.beta + 1)
    np.testing.assert_allclose(layer(x), 2 * trained + 1, atol=1e-3)
    layer.trainable = False  # fine-tuning: statistics are no longer gathered
    before = layer.moving_mean.numpy()
    np.testing.assert_array_equal(layer(x + 9, training=True), layer(x + 9))
    np.testing.assert_array_equal(layer.moving_mean, before)


def block(filters: int = 3, **changes: object) -> keras.Model:
    inputs = keras.Input((10, 7, 3))
    return keras.Model(inputs, broadcasted_residual(inputs, filters, **changes))


def test_a_block_is_the_papers_formula():
    keras.utils.set_random_seed(0)
    model = block(dilation=2)
    x = tf.constant(maps())
    for _ in range(10):
        model(x, training=True)
    parts = ("bc_f2_ssn", "bc_f1_pw")
    f2, f1 = keras.Model(model.input, [model.get_layer(name).output for name in parts])(x)
    assert f1.shape == (6, 1, 7, 3)  # no frequency axis remains
    np.testing.assert_allclose(model(x), np.maximum(x + f2 + f1, 0), rtol=1e-5, atol=1e-5)


def test_a_transition_has_no_skip_and_takes_every_second_bin():
    model = block(5, stride=2)
    assert model.output_shape == (None, 5, 7, 5)
    names = {layer.name for layer in model.layers}
    assert {"bc_in_conv", "bc_f2_rows"} <= names
    assert "bc_skip" not in names
    whole = keras.Model(model.input, model.get_layer("bc_f2_dw").output)(maps())
    kept = keras.Model(model.input, model.get_layer("bc_f2_rows").output)(maps())
    np.testing.assert_array_equal(kept, whole[:, ::2])
