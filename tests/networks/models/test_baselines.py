# SPDX-License-Identifier: Apache-2.0
"""Image networks on feature maps: sizes, channels, weights."""

import numpy as np
import pytest

from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.networks.models.baselines import BODIES
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

SHAPE, CLASSES = (40, 49, 1), 3

# Origin: the table of keras.io/api/applications (parameters with 1 000 classes); MobileNetV3's
# head differs there, so the numbers are without a head.
PUBLISHED = {
    "efficientnet_b0": (1280, 5_330_571),
    "mobilenet_v2": (1280, 3_538_984),
    "mobilenet_v3_small": (576, 939_120),
    "mobilenet_v3_large": (960, 2_996_352),
    "resnet50": (2048, 25_636_712),
    "densenet121": (1024, 8_062_504),
}


def small(shape: tuple[int, int, int] = SHAPE, **changes: object) -> keras.Model:
    """MobileNetV3-Small, the quickest to build."""
    return build_model(
        "baselines", "mobilenet_v3_small", input_shape=shape, classes=CLASSES, overrides=changes
    )


@pytest.mark.parametrize("body", BODIES)
def test_bodies_are_the_published_ones(body):
    features, published = PUBLISHED[body]
    card = presets_of("baselines")[body]
    without_head = card.parameters - card.classes * (features + 1)
    head = 0 if body.startswith("mobilenet_v3") else 1000 * (features + 1)
    assert without_head + head == published


def test_one_channel_is_repeated_three_times():
    model, coloured = small(), small((40, 49, 3))
    coloured.set_weights(model.get_weights())
    maps = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(model(maps), coloured(maps.repeat(3, -1)), rtol=1e-5)


def test_a_convolution_makes_three_channels_of_any_number():
    model = small((40, 49, 5), channels="convolution")
    assert model.get_layer("three_channels").count_params() == 5 * 3 + 3
    assert model.output_shape == (None, CLASSES)


class TestImageNet:
    """The download is replaced: tests do not leave the machine."""

    def test_weights_are_those_of_the_file(self, monkeypatch, tmp_path):
        keras_model = keras.applications.MobileNetV3Small(
            include_top=False, weights=None, include_preprocessing=False
        )
        path = tmp_path / "weights.h5"
        keras_model.save_weights(path)
        monkeypatch.setattr("tf_keras.src.utils.data_utils.get_file", lambda *_, **__: str(path))
        model = small((64, 64, 1), imagenet=True)
        names = {layer.name for layer in model.layers}
        compared = [layer for layer in keras_model.layers if layer.weights]
        assert len(compared) > 60
        for layer in compared:
            assert layer.name in names
            for ours, expected in zip(
                model.get_layer(layer.name).weights, layer.weights, strict=True
            ):
                np.testing.assert_array_equal(ours, expected)

    def test_out_of_reach(self, monkeypatch):
        def unreachable(*_: object, **__: object) -> None:
            raise Exception("URL fetch failure on https://somewhere: None -- no\nroute")

        monkeypatch.setattr("tf_keras.src.utils.data_utils.get_file", unreachable)
        message = r"MobileNetV3-Small cannot be loaded \(URL fetch failure .* no route\): connect"
        with pytest.raises(ConfigError, match=message):
            small((64, 64, 1), imagenet=True)
