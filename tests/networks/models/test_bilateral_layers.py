# SPDX-License-Identifier: Apache-2.0
"""Sequences: attention, BiLSTM and the bilateral network's modules match their equations."""

import numpy as np
import pytest

from m3net_tf.networks.models.bilateral.garm import audio_refinement
from m3net_tf.networks.models.bilateral.guided_aggregation import guided_aggregation
from m3net_tf.networks.models.bilateral.macem import audio_context_embedding
from m3net_tf.networks.models.bilateral.sequence import (
    LEAK,
    UnrolledBiLSTM,
    bidirectional_lstm,
    conv1d,
)
from m3net_tf.networks.models.bilateral.transformer import (
    DotProductAttention,
    transformer_encoder,
)
from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.keras import keras, tf

STEPS, CHANNELS = 11, 8
INPUTS = keras.Input((1, STEPS, CHANNELS))


def sequence(seed: int, clips: int = 3) -> np.ndarray:
    shape = (clips, 1, STEPS, CHANNELS)
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def values(output: tf.Tensor, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of each layer of a network for ``x``."""
    model = keras.Model(INPUTS, output)
    layers = model.layers[1:]
    outputs = keras.Model(INPUTS, [layer.output for layer in layers])(x)
    return {layer.name: out.numpy() for layer, out in zip(layers, outputs, strict=True)}


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, LEAK * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_attention_same_as_one_query_at_a_time():
    heads = 2
    width = CHANNELS // 2
    q, k, v = (sequence(seed) for seed in (1, 2, 3))
    expected = np.zeros_like(q)
    for clip in range(len(q)):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for step in range(STEPS):
                scores = [
                    q[clip, 0, step, part] @ key / np.sqrt(width) for key in k[clip, 0, :, part]
                ]
                weights = np.exp(scores) / np.exp(scores).sum()
                expected[clip, 0, step, part] = weights @ v[clip, 0, :, part]
    layer = DotProductAttention(heads)
    np.testing.assert_allclose(layer([q, k, v]), expected, rtol=1e-5, atol=1e-6)
    shape = (None, 1, STEPS, CHANNELS)
    assert layer.macs([shape] * 3, shape) == 2 * STEPS * STEPS * CHANNELS


def test_sinusoids_follow_the_transformers_formula():
    waves = positional_encoding(50, 6)
    assert waves.shape == (50, 6)
    for t, i in ((0, 0), (7, 1), (49, 2)):
        angle = t / 10_000 ** (2 * i / 6)
        np.testing.assert_allclose(waves[t, 2 * i], np.sin(angle), rtol=1e-6)
        np.testing.assert_allclose(waves[t, 2 * i + 1], np.cos(angle), rtol=1e-6)


def test_encoder_sees_the_order_of_tokens():
    x = sequence(4)
    model = keras.Model(INPUTS, transformer_encoder(INPUTS, heads=2))
    assert np.abs(model(x[:, :, ::-1]) - model(x)[:, :, ::-1]).max() > 0.01
    one_layer = 4 * (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 16
    assert model.count_params() == one_layer


def test_bilstm_same_as_keras_own():
    model = keras.Model(INPUTS, bidirectional_lstm(INPUTS, 5))
    lstms = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    forward, backward = sorted(lstms, key=lambda layer: "backward" in layer.name)
    own = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))
    x = sequence(5)
    own.build((None, STEPS, CHANNELS))
    own.set_weights([*forward.get_weights(), *backward.get_weights()])
    np.testing.assert_allclose(model(x)[:, 0], own(x[:, 0]), rtol=1e-5, atol=1e-6)


def test_unrolled_bilstm_same_as_keras_own():
    layer = UnrolledBiLSTM(5)
    model = keras.Model(INPUTS, layer(INPUTS))
    own = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))
    own.build((None, STEPS, CHANNELS))
    assert [w.shape for w in layer.get_weights()] == [w.shape for w in own.get_weights()]
    _, _, forward_bias, _, _, backward_bias = own.get_weights()
    np.testing.assert_array_equal(layer.get_weights()[2], forward_bias)
    np.testing.assert_array_equal(layer.get_weights()[5], backward_bias)
    own.set_weights([w + 0.1 * i for i, w in enumerate(own.get_weights())])
    layer.set_weights(own.get_weights())
    x = sequence(5)
    np.testing.assert_allclose(model(x)[:, 0], own(x[:, 0]), rtol=1e-5, atol=1e-6)
    assert layer.macs((None, 1, STEPS, CHANNELS), (None, 1, STEPS, 10)) == 2 * STEPS * 13 * 20
    assert UnrolledBiLSTM.from_config(layer.get_config()).units == 5


@pytest.mark.parametrize("kind", ["a", "b"])
def test_macem_follows_equations_1_to_4(kind):
    x = sequence(6)
    at = values(audio_context_embedding(INPUTS, kind), x)
    scales = [leaky(at[f"macem_scale{kernel}"]) for kernel in (1, 7, 15)]
    joined = at["macem_narrow"] if kind == "a" else sum(scales)
    m = at["macem_m"]
    np.testing.assert_allclose(m, np.maximum(joined, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(at["macem_channels_avg"], m.mean(2, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(at["macem_channels_max"], m.max(2, keepdims=True))
    scores = sigmoid(at["macem_channels_expand"].sum(2, keepdims=True))
    expected = leaky(m * scores + at["macem_skip"])
    np.testing.assert_allclose(at["macem_q"], expected, rtol=1e-5, atol=1e-6)


def test_garm_follows_equations_5_to_9():
    x = sequence(7)
    output = audio_refinement(INPUTS)
    at = values(output, x)
    k = at["garm_k"]
    np.testing.assert_allclose(k, np.maximum(at["garm_mix"], 0))
    n = k * sigmoid(at["garm_channels_expand"].sum(2, keepdims=True))
    np.testing.assert_allclose(at["garm_weighed"], n, rtol=1e-5, atol=1e-6)
    average, largest = np.split(at["garm_refined_expand"], 2, axis=2)
    np.testing.assert_array_equal(
        at["garm_refined_join"], np.concatenate([average, largest], axis=-1)
    )
    expected = leaky(n * sigmoid(at["garm_refined_halve"]) + at["garm_skip"])
    np.testing.assert_allclose(at["garm_q"], expected, rtol=1e-5, atol=1e-6)
    dilations = [
        keras.Model(INPUTS, output).get_layer(f"garm_scale{d}").dilation_rate for d in (1, 3, 9)
    ]
    assert dilations == [(1, 1), (1, 3), (1, 9)]


def test_gam_follows_equations_10_and_11():
    detail = conv1d(INPUTS, CHANNELS, stride=3, name="other")  # another length than S
    x = sequence(8)
    at = values(guided_aggregation(INPUTS, detail), x)
    np.testing.assert_allclose(at["gam_avg"], at["other"].mean(2, keepdims=True), atol=1e-6)
    gate = sigmoid(leaky(at["gam_conv2"]))
    np.testing.assert_allclose(at["gam_out"], x * gate + x, rtol=1e-5)
