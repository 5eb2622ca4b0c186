# SPDX-License-Identifier: Apache-2.0
"""Properties of every preset of every network, present and future."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses
from shared_networks import class_loss, train_on

from m3net_tf.export.operators import operators_of
from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.networks.models import (
    build_model,
    design_sha256,
    model_names,
    presets_of,
)
from m3net_tf.networks.models.complexity import count_macs, work_of
from m3net_tf.networks.presets import m3net as m3net_presets
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.run.archive import check_objects


def smallest_preset(name):
    return min(presets_of(name), key=lambda preset: presets_of(name)[preset].parameters)


# Networks of others that are large or have more layers than most; they are compared with ours.
OTHERS = {"baselines", "bc_resnet", "efficientnet_attention", "learnable_frontend", "mobilenet"}
LARGE = {*OTHERS, "bilateral", "spectromasknet"}

EVERY_PRESET = [
    pytest.param(
        name,
        preset,
        marks=pytest.mark.slow if name in OTHERS or preset != smallest_preset(name) else (),
    )
    for name in model_names()
    for preset in presets_of(name)
]


@pytest.mark.parametrize(("name", "preset"), EVERY_PRESET)
def test_a_preset_costs_what_it_says_and_sums_to_one(name, preset):
    keras.backend.clear_session()
    card = presets_of(name)[preset]
    model = build_model(name, preset)
    assert model.count_params() == card.parameters
    assert count_macs(model) == card.macs
    assert model.input_shape == (None, *card.input_shape)
    assert model.output_shape == (None, card.classes)
    assert card.summary
    assert "\n" not in card.summary
    maps = np.random.default_rng(0).uniform(-1, 1, (2, *card.input_shape)).astype(np.float32)
    probabilities = model(maps).numpy()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    # A run's network is read back only if all of its layers are known.
    described = keras.saving.serialize_keras_object(model)
    check_objects(Path(name), json.loads(json.dumps(described)))


def usual_preset(name):
    return "mcu" if "mcu" in presets_of(name) else smallest_preset(name)


def clips(count, shape, seed):
    """int8 noise, from quiet to loud."""
    noise = np.random.default_rng(seed).normal(0, 1, (count, *shape))
    loudness = np.linspace(2, 60, count).reshape(-1, 1, 1, 1)
    return np.clip(np.round(loudness * noise), -128, 127).astype(np.int8)


# More operators of the int8 forms; None: as a whole, the network has no such form. A network that
# is not listed may have all that TFLite Micro has.
EVERYWHERE = {"AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE", "SOFTMAX"}
OPERATORS = {
    "baselines": {"ADD", "CONCATENATION", "HARD_SWISH", "MEAN", "MUL", "PAD"},
    "bc_resnet": {"ADD", "LOGISTIC", "MAX_POOL_2D", "MUL", "PAD"},
    "bilateral": {
        *("ADD", "BATCH_MATMUL", "CONCATENATION", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MUL"),
        *("REVERSE_V2", "RSQRT", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "TANH"),
    },
    "diffres": None,
    "ds_cnn": set(),
    "efficientnet_attention": {
        *("ADD", "CONCATENATION", "LOGISTIC", "MAXIMUM", "MEAN", "MUL", "PAD", "QUANTIZE"),
        *("RSQRT", "SPLIT"),
    },
    "learnable_frontend": None,
    "m3net": {"ADD", "CONCATENATION", "LOGISTIC", "MUL", "REVERSE_V2"},
    "mobilenet": set(),
    "sparknet": {"ADD", "MINIMUM", "TANH", "TRANSPOSE"},
    "spectromasknet": {"ADD", "LOGISTIC", "MUL", "PAD", "RSQRT"},
    "streaming_ds_cnn": {"MAX_POOL_2D", "TRANSPOSE"},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in model_names()],
)
class TestEveryNetwork:
    """A network with another shape and other classes than its preset's."""

    CLASSES = 7

    @staticmethod
    @functools.cache
    def built(name):
        """The network after a step of training, the weights before it and their gradients."""
        preset = usual_preset(name)
        shape = (1, 6400, 1) if presets_of(name)[preset].input_shape[0] == 1 else (40, 47, 1)
        keras.utils.set_random_seed(2)
        model = build_model(name, preset, input_shape=shape, classes=TestEveryNetwork.CLASSES)
        maps = tf.constant(clips(8, shape, seed=0) / 128, tf.float32)
        before = [weight.numpy() for weight in model.trainable_variables]
        loss = class_loss(model, maps, TestEveryNetwork.CLASSES)
        _, gradients = train_on(model, loss, 1, 0.003)
        return model, before, gradients

    def test_shape_and_classes_can_be_chosen(self, name):
        model, *_ = self.built(name)
        assert model.input_shape[1:] != presets_of(name)[usual_preset(name)].input_shape
        assert model.output_shape == (None, self.CLASSES)

    def test_a_step_changes_every_kernel(self, name):
        model, before, gradients = self.built(name)
        for old, weight, gradient in zip(before, model.trainable_variables, gradients, strict=True):
            assert gradient is not None, weight.name
            assert np.isfinite(weight.numpy()).all()
            if "kernel" in weight.name:
                assert not np.array_equal(weight.numpy(), old), weight.name

    def test_saved_and_loaded(self, name, tmp_path):
        model, *_ = self.built(name)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
        maps = clips(3, model.input_shape[1:], seed=1) / np.float32(128)
        np.testing.assert_array_equal(loaded(maps), model(maps))
        check_objects(tmp_path, json.loads(json.dumps(keras.saving.serialize_keras_object(loaded))))


# Tests of layers and of the compiler have the operators of the others.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.slow if name in LARGE else (),
        )
        for name in model_names()
    ],
)
def test_int8_on_the_operators_of_tflite_micro(name):
    model, *_ = TestEveryNetwork.built(name)
    shape = model.input_shape[1:]
    listed = name in OPERATORS
    if listed and OPERATORS[name] is None:
        with refuses(ModelError, name, "int8"):
            quantize_int8(model, clips(2, shape, seed=2))
        return
    calibration = clips(24, shape, seed=2)
    for _ in range(10):  # the normalisations have to see the clips
        model(calibration / np.float32(128), training=True)
    tflite = quantize_int8(model, calibration)
    operators = set(operators_of(tflite))  # refuses what TFLite Micro lacks
    assert not listed or operators <= EVERYWHERE | OPERATORS[name]
    fresh = clips(8, shape, seed=3)
    scores = run_reference(tflite, fresh)
    expected = model(fresh / np.float32(128)).numpy()
    np.testing.assert_allclose((scores + 128.0) / 256, expected, atol=0.03)
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(run_tflm(tflite, fresh), scores)


@pytest.mark.parametrize("function", [presets_of, lambda name: build_model(name, "mcu")])
def test_unknown_model(function):
    choices = ", ".join(model_names())
    with refuses(ConfigError, "'m4net'", choices):
        function("m4net")
    for helper in ("registry", "complexity", "stacking"):
        with refuses(ConfigError, helper):
            function(helper)


def test_presets_are_known_without_tensorflow():
    """A check before a training, and a list of presets, must not take the seconds of its import."""
    code = (
        "import sys; from m3net_tf.networks.models import *;"
        "[design_sha256(name, preset) for name in model_names() for preset in presets_of(name)];"
        "require_preset('m3net', 'mcu'); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_design_is_its_arguments_whatever_the_preset_is_called(monkeypatch):
    before = {name: design_sha256(name, "s") for name in ("m3net", "diffres")}
    written_out = design_sha256("m3net", "mcu", dict(presets_of("m3net")["s"].arguments))
    assert written_out == before["m3net"] != design_sha256("m3net", "mcu")
    assert design_sha256("m3net", "s", {"dropout": 0.5}) != before["m3net"]
    # DiffRes s contains M3Net s, so a change to one also changes the other.
    changed = {**presets_of("m3net"), "s": presets_of("m3net")["mcu"]}
    monkeypatch.setattr(m3net_presets, "PRESETS", changed)
    assert design_sha256("m3net", "s") == design_sha256("m3net", "mcu")
    assert design_sha256("diffres", "s") != before["diffres"]
    with refuses(ConfigError, "'xl'", "m3net"):
        design_sha256("m3net", "xl")


def test_macs_of_each_kind_of_layer():
    inputs = keras.Input((8, 10, 4))
    x = keras.layers.Conv2D(6, (3, 5), (2, 1), padding="same")(inputs)  # (4, 10, 6)
    x = keras.layers.DepthwiseConv2D((3, 3), padding="valid")(x)  # (2, 8, 6)
    x = keras.layers.Conv2D(4, 1, groups=2)(x)  # (2, 8, 4)
    x = EfficientChannelAttention(3)(x)
    x = keras.layers.Dense(5)(keras.layers.Flatten()(x))
    by_hand = (
        4 * 10 * 6 * 3 * 5 * 4  # convolution
        + 2 * 8 * 6 * 3 * 3  # depthwise convolution
        + 2 * 8 * 4 * 6 // 2  # two groups
        + 4 * 3  # attention
        + 2 * 8 * 4 * 5  # dense
    )
    model = keras.Model(inputs, x)
    assert count_macs(model) == by_hand
    work = work_of(model)
    kinds = ("Conv2D", "DepthwiseConv2D", "Conv2D 1x1", "EfficientChannelAttention", "Dense")
    assert sum(work[kind] for kind in kinds) == by_hand
    assert work["elements"] == 2 * 8 * 4  # flattening
    assert work["widest"] == 8 * 10 * 4 + 4 * 10 * 6  # of the convolution
    assert work["parameters"] == model.count_params()


@pytest.mark.parametrize(
    "layer", [keras.layers.GRU(3), keras.layers.Conv1D(3, 2), keras.layers.PReLU()]
)
def test_macs_of_an_unknown_layer_are_not_taken_for_none(layer):
    inputs = keras.Input((8, 4))
    model = keras.Model(inputs, layer(inputs))
    with refuses(ModelError, layer.name):
        count_macs(model)


def test_macs_of_a_transposed_convolution_are_not_those_of_a_convolution():
    inputs = keras.Input((8, 4, 2))
    model = keras.Model(inputs, keras.layers.Conv2DTranspose(3, 2, 2)(inputs))
    with refuses(ModelError, "Conv2DTranspose"):
        count_macs(model)


def test_the_same_seed_gives_the_same_network():
    shape = (16, 16, 1)
    maps = tf.random.stateless_uniform((2, *shape), (1, 2))
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        outputs.append(build_model("m3net", "mcu", input_shape=shape)(maps).numpy())
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
