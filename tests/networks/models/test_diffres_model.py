# SPDX-License-Identifier: Apache-2.0
"""DiffRes and its alternatives in front of other networks, and its classifier."""

import numpy as np
import pytest
from refusals import refuses
from shared_networks import built_once, train_on

from m3net_tf.networks.layers import DiffRes
from m3net_tf.networks.layers.diffres import diffres
from m3net_tf.networks.layers.diffres.warp import frames_after
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.networks.models.diffres import METHODS, classifier_network, importance_network, probe
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

SHAPE = (40, 50, 1)
CLASSES = 4
LEFT = 25
SMALL = {
    "name": "m3net",
    "preset": "mcu",
    "arguments": {"sfp": [{"filters": 8, "strides": [4, 4]}], "tail": [{"filters": 8}]},
}


@built_once
def tiny(**overrides: object) -> keras.Model:
    keras.utils.set_random_seed(3)
    settings = {"classifier": SMALL, **overrides}
    return build_model("diffres", "mcu", input_shape=SHAPE, classes=CLASSES, overrides=settings)


def maps(clips: int = 8) -> np.ndarray:
    """Int8 feature maps: loud noise, the last 20 frames silent."""
    x = np.random.default_rng(0).integers(-128, 128, (clips, *SHAPE)).astype(np.int8)
    x[:, :, 30:] = -128
    return x


def real(clips: int = 8) -> tf.Tensor:
    return tf.constant(maps(clips) / 128, tf.float32)


def trainable(model: keras.Model, prefix: str = "") -> int:
    chosen = [layer for layer in model.layers if layer.name.startswith(prefix)]
    return sum(int(np.prod(w.shape)) for layer in chosen for w in layer.trainable_weights)


def train(model: keras.Model, steps: int, classify: bool = True) -> list[float]:
    """Loss before each of a few steps on one batch, including the network's own losses."""
    targets = tf.one_hot(np.arange(8) % CLASSES, CLASSES)

    def loss() -> tf.Tensor:
        out = model(real(), training=True)
        loss = tf.add_n(model.losses) if model.losses else tf.constant(0.0)
        if classify:
            loss += tf.reduce_mean(keras.losses.categorical_crossentropy(targets, out))
        return loss

    losses, gradients = train_on(model, loss, steps, 0.01)
    assert not classify or all(gradient is not None for gradient in gradients)
    return losses


class TestSizes:
    """Origin: DiffRes, section 3: 13.6 M; test_diffres_layers.py has the sizes of its parts."""

    @pytest.mark.slow
    def test_efficientnet_with_four_heads(self):
        model = build_model("efficientnet_attention", "paper", input_shape=(128, 100, 3))
        assert trainable(model) == pytest.approx(13.6e6, rel=0.02)
        assert f"{trainable(model) / 1e6:.1f}" == "13.6"
        assert model.count_params() == 13_708_917


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=() if name in ("diffres", "none") else pytest.mark.slow)
        for name in METHODS
    ],
)
class TestEveryMethod:
    def test_classifier_gets_fewer_frames(self, method):
        model = tiny(method=method)
        seen = model.get_layer("sfp1_dw").input_shape
        assert seen == {
            "diffres": (None, 40, LEFT, 3),
            "none": (None, 40, 50, 1),
        }.get(method, (None, 40, LEFT, 1))
        assert model.output_shape == (None, CLASSES)
        np.testing.assert_allclose(tf.reduce_sum(model(real()), 1), 1, rtol=1e-5)


B0 = {"name": "efficientnet_attention", "preset": "b0"}


@pytest.mark.parametrize(
    ("classifier", "more"),
    [
        pytest.param({"name": "ds_cnn", "preset": "mcu"}, {}, marks=pytest.mark.slow),
        ({"name": "m3net", "preset": "mcu"}, {}),
        pytest.param(
            {"name": "m3net", "preset": "paper"}, {"one_channel": True}, marks=pytest.mark.slow
        ),
        pytest.param(B0, {}, marks=pytest.mark.slow),
        pytest.param(B0, {"maximum": False}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value.get("name") or "_".join(value) or "whole",
)
def test_any_classifier(classifier, more):
    if more == {"maximum": False}:
        with refuses(ConfigError, "channels"):
            tiny(classifier=classifier, **more)
        return
    model = tiny(classifier=classifier, **more)
    np.testing.assert_allclose(tf.reduce_sum(model(real(2)), 1), 1, rtol=1e-5)
    alone = build_model(
        classifier["name"],
        classifier["preset"],
        input_shape=(40, LEFT, 1 if more else 3),
        classes=CLASSES,
    )
    names = {layer.name for layer in model.layers}
    assert {layer.name for layer in alone.layers if layer.trainable_weights} <= names
    own = count_macs(importance_network(model)) + (3 * 40 * LEFT if more else 0)
    assert count_macs(model) == count_macs(alone) + own


def test_method_none_is_the_classifier_alone():
    model = tiny(method="none")
    alone = build_model(
        "m3net", "mcu", input_shape=SHAPE, classes=CLASSES, overrides=SMALL["arguments"]
    )
    assert [layer.name for layer in model.layers] == [layer.name for layer in alone.layers]
    alone.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(real()), alone(real()))
    before = model.get_layer("sfp1_bn").moving_mean.numpy()
    first = model(real(), training=True)
    second = model(real(), training=True)
    assert np.abs(first - second).max() > 1e-4  # dropout
    assert np.abs(model.get_layer("sfp1_bn").moving_mean - before).max() > 1e-6


class TestGuide:
    @pytest.mark.slow
    def test_is_a_loss_of_the_network_with_its_weight(self):
        keras.utils.set_random_seed(3)
        model = tiny(guide_weight=2.0, guide_threshold=0.1)
        model(real(), training=False)
        expected = 2 * float(tf.reduce_mean(probe(model)(real())["guide_loss"]))
        assert expected > 0.1
        assert float(model.losses[0]) == pytest.approx(expected, rel=1e-5)
        assert not tiny(guide_weight=0.0).losses

    @pytest.mark.slow
    def test_of_the_released_code(self):
        model = tiny(reading="released", reduction=0.25)
        inside = {key: value.numpy() for key, value in probe(model)(real()).items()}
        np.testing.assert_allclose(inside["scores"].sum(1), frames_after(50, 0.25), rtol=1e-4)
        silent = inside["scores"][:, 30:].mean(1)
        np.testing.assert_allclose(inside["guide_loss"], silent, rtol=1e-4)
        train(model, 2)

    @pytest.mark.slow
    def test_lowers_the_scores_of_silence(self):
        model = tiny(reduction=0.25)
        inside = probe(model)  # as in training: the statistics of so few steps are inaccurate
        before = inside(real(), training=True)["scores"].numpy()
        losses = train(model, 15, classify=False)
        after = inside(real(), training=True)["scores"].numpy()
        assert losses[-1] < 0.9 * losses[0]
        assert after[:, 30:].mean() < before[:, 30:].mean() - 0.05
        assert after[:, :30].mean() > after[:, 30:].mean()


class TestProbe:
    @pytest.mark.slow
    def test_figures(self):
        model = tiny()
        train(model, 1)
        inside = {key: value.numpy() for key, value in probe(model)(real()).items()}
        assert {key: value.shape for key, value in inside.items()} == {
            "scores": (8, 50),
            "features": (8, 40, LEFT, 3),
            "activeness": (8,),
            "guide_loss": (8,),
        }
        assert (inside["scores"].sum(1) <= LEFT + 1e-3).all()
        expected = inside["scores"][:, :30].std(1) / 0.5
        np.testing.assert_allclose(inside["activeness"], expected, rtol=1e-3)

    def test_importance_network_shares_the_weights(self):
        model = tiny()
        part = importance_network(model)
        before = part(real()).numpy()
        assert before.shape == (8, 50)
        assert ((before > 0) & (before < 1)).all()
        train(model, 2)
        assert np.abs(part(real()) - before).max() > 1e-3

    def test_classifier_network_takes_what_the_warp_gives(self):
        model = tiny()
        part = classifier_network(model)
        assert part.input_shape == (None, 40, LEFT, 3)
        warped = probe(model)(real())["features"]
        np.testing.assert_allclose(part(warped), model(real()), rtol=1e-5)
        tflite = quantize_int8(part, maps(8).repeat(3, axis=3)[:, :, :LEFT])
        assert run_reference(tflite, maps(2).repeat(3, axis=3)[:, :, :LEFT]).shape == (2, CLASSES)

    def test_without_diffres(self):
        for function in (probe, importance_network, classifier_network):
            with refuses(ConfigError, "DiffRes"):
                function(tiny(method="avgpool"))


def test_the_layer_computes_what_its_parts_compute():
    inputs = keras.Input(SHAPE)
    parts = keras.Model(inputs, diffres(inputs, 0.3, reading="released"))
    layer = keras.Model(inputs, DiffRes(0.3, reading="released")(inputs))
    weights = {weight.name.rpartition("importance")[2]: weight for weight in parts.weights}
    for weight in layer.weights:
        weight.assign(weights[weight.name.rpartition("importance")[2]])
    np.testing.assert_array_equal(layer(real()), parts(real()))
    assert layer.losses == parts.losses and len(layer.losses) == 1
    with refuses(TypeError, "'readings'"):
        DiffRes(0.3, readings="released")
    with refuses(ConfigError, "channel"):
        DiffRes(0.3)(keras.Input((40, 50, 2)))
