# SPDX-License-Identifier: Apache-2.0
"""The form of a network that a CPU trains computes what the network itself computes."""

import numpy as np
import pytest

from m3net_tf.networks.layers.training_form import training_form
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import random_layers, reseed

NETWORKS = {
    "m3net": ("m3net", "paper", (16, 21, 1), {"image": (32, 64)}),
    "spectromasknet": (
        "spectromasknet",
        "s",
        (16, 20, 1),
        {"lengths": True, "mask": "none"},
    ),
    "bilateral": ("bilateral", "s", (1, 4000, 1), {"early_exits": True}),
    "diffres": ("diffres", "s", (40, 20, 1), {}),
    "streaming_ds_cnn": ("streaming_ds_cnn", "mlperf", (8, 20, 1), {}),
}


def learnt_from(network, feeds, weights):
    """Outputs, loss and gradients of a training step, with the same random numbers each time."""
    for layer in random_layers(network):
        reseed(layer, 0)
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(network(feeds, training=True))
        loss = sum(tf.reduce_sum(tf.square(output[:, :2])) for output in outputs)
        loss += sum(network.losses)
    gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
    return [*outputs, loss, *gradients]


@pytest.mark.parametrize("case", NETWORKS)
def test_outputs_gradients_and_moving_statistics_are_the_networks(case):
    name, preset, shape, overrides = NETWORKS[case]
    keras.utils.set_random_seed(1)
    model = build_model(name, preset, input_shape=shape, classes=4, overrides=overrides)
    generator = np.random.default_rng(1)
    for weight in model.trainable_weights:  # zeros and ones would hide a missing part
        weight.assign_add(generator.normal(0.0, 0.1, weight.shape))
    maps = generator.uniform(-1, 1, (6, *shape)).astype(np.float32)
    feeds = {"features": maps, "lengths": np.full((6, 1), 17)} if case == "spectromasknet" else maps
    before, config = model.get_weights(), model.get_config()
    expected = learnt_from(model, feeds, model.trainable_variables)
    moved = model.get_weights()
    model.set_weights(before)

    form = training_form(model)
    assert form is not model
    assert {id(weight) for weight in form.weights} == {id(weight) for weight in model.weights}
    assert model.get_config() == config
    for got, wanted in zip(
        learnt_from(form, feeds, model.trainable_variables), expected, strict=True
    ):
        largest = np.max(np.abs(wanted))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 + 1e-4 * largest)
    for got, wanted in zip(model.get_weights(), moved, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_network_without_such_layers_stays_itself():
    inputs = keras.Input((8, 8, 8))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.DepthwiseConv2D(3)(x))
    wide = keras.Model(inputs, keras.layers.DepthwiseConv2D(3)(inputs))
    assert training_form(wide) is wide
    assert training_form(model) is not model  # its depthwise convolution has four channels


@pytest.mark.parametrize("case", ["frozen", "bounded", "shown"])
def test_other_chains_before_a_pooling_stay_as_they_are(case):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1)(inputs)
    norm = keras.layers.BatchNormalization(trainable=case != "frozen")(x)
    activation = keras.layers.ReLU(max_value=1.0 if case == "bounded" else None)(norm)
    pooled = keras.layers.MaxPooling2D()(activation)
    model = keras.Model(inputs, [pooled, norm] if case == "shown" else [pooled])
    maps = np.random.default_rng(0).normal(0.0, 2.0, (2, 8, 8, 3)).astype(np.float32)
    expected = tf.nest.flatten(model(maps, training=True))
    got = tf.nest.flatten(training_form(model)(maps, training=True))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("channels", ["delta", "replicate"])
@pytest.mark.parametrize("width", [24, 100])
def test_the_image_of_a_training_is_the_image(channels, width):
    maps = np.random.default_rng(3).uniform(-1, 1, (2, 5, 60, 1)).astype(np.float32)
    layer = SpectrogramImage(12, width, channels)
    np.testing.assert_allclose(layer(maps, training=True), layer(maps), atol=1e-6)
