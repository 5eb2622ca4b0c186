# SPDX-License-Identifier: Apache-2.0
"""The last layer of a network: for clips of several labels, and in half precision."""

import numpy as np
import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.system.keras import keras

FEATURES = np.random.default_rng(0).uniform(-1, 1, (4, 40, 49, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("m3net", {}),
        ("ds_cnn", {}),
        pytest.param("spectromasknet", {"lengths": True}, marks=pytest.mark.slow),
    ],
)
def test_sigmoid_is_the_same_network_with_another_end(name, overrides):
    shape = FEATURES.shape[1:]
    feeds = FEATURES
    if overrides:
        feeds = {"features": FEATURES, "lengths": np.full((4, 1), 49)}
    plain = build_model(name, "mcu", input_shape=shape, classes=5, overrides=overrides)
    several = build_model(
        name, "mcu", input_shape=shape, classes=5, overrides=overrides, head="sigmoid"
    )
    several.set_weights(plain.get_weights())
    assert several.name == plain.name
    assert [layer.name for layer in several.layers] == [layer.name for layer in plain.layers]
    logits = np.log(plain(feeds).numpy())
    logits -= logits[:, :1]
    outputs = several(feeds).numpy()
    outputs = np.log(outputs / (1 - outputs))
    np.testing.assert_allclose(outputs - outputs[:, :1], logits, atol=1e-4)  # the same logits


def test_a_network_with_its_own_head_is_reported():
    model = build_model(
        "efficientnet_attention", "b0", input_shape=(32, 32, 1), classes=3, head="sigmoid"
    )
    assert any(layer.name == "class_gate" for layer in model.layers)
    assert not any(isinstance(layer, keras.layers.Softmax) for layer in model.layers)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_head_is_in_single_precision(head):
    plain = build_model("m3net", "mcu", head=head)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_model("m3net", "mcu", head=head)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.outputs[0].dtype == "float32"
    assert model.get_layer("dense").compute_dtype == "bfloat16"
    assert [weight.shape for weight in model.weights] == [weight.shape for weight in plain.weights]
