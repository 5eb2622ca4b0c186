# SPDX-License-Identifier: Apache-2.0
"""Image networks on feature maps: sizes, channels, weights."""

import numpy as np
import pytest

from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.networks.models.baselines import BODIES
from m3net_tf.system.keras import keras

SHAPE = (40, 49, 1)
CLASSES = 3

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


def small(shape: tuple[int, int, int] = SHAPE) -> keras.Model:
    """MobileNetV3-Small, the quickest to build."""
    return build_model("baselines", "mobilenet_v3_small", input_shape=shape, classes=CLASSES)


@pytest.mark.parametrize("body", BODIES)
def test_bodies_are_the_published_ones(body):
    features, published = PUBLISHED[body]
    card = presets_of("baselines")[body]
    without_head = card.parameters - card.classes * (features + 1)
    head = 0 if body.startswith("mobilenet_v3") else 1000 * (features + 1)
    assert without_head + head == published


@pytest.mark.slow
def test_one_channel_is_repeated_three_times():
    model = small()
    coloured = small((40, 49, 3))
    coloured.set_weights(model.get_weights())
    maps = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(model(maps), coloured(maps.repeat(3, -1)), rtol=1e-5)
