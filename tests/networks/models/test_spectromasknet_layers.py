# SPDX-License-Identifier: Apache-2.0
"""Behaviour of SpectroMaskNet's layers; ``test_layers.py`` has the base test of each."""

import numpy as np
import pytest

from m3net_tf.networks.layers.masked import CentredBins, FrameMask, GroupNorm, MapMean, PointNorm
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.networks.models.spectromasknet.fusion import WeightedFusion
from m3net_tf.networks.models.spectromasknet.global_attention import (
    global_attention,
    three_way_attention,
)
from m3net_tf.networks.models.spectromasknet.local_attention import local_attention
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference, tensor_quantization
from m3net_tf.system.keras import keras, tf

F, T, C = 40, 50, 4
MASKS = ("random", "grid", "high_energy")


def maps(clips: int = 4, shape: tuple[int, int, int] = (F, T, C), seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_uniform((clips, *shape), (seed, 1), -1, 1)


def frames(*lengths: int, total: int = T) -> tf.Tensor:
    mask = np.arange(total)[None] < np.array(lengths)[:, None]
    return tf.constant(mask[:, None, :, None], tf.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# ---------------------------------------------------------------- block masks


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_acts_in_training_alone(kind, learnable):
    layer = BlockMask(kind, 8, learnable=learnable, seed=1)
    x = maps()
    for training in (False, None):
        np.testing.assert_array_equal(layer(x, training=training), x)
    masked = layer(x, training=True).numpy()
    hidden = masked == 0
    assert hidden.any()
    assert not hidden.all()
    np.testing.assert_allclose(masked[~hidden], x.numpy()[~hidden], rtol=1e-6)
    assert (hidden.all(-1) == hidden.any(-1)).all()  # all channels or none


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 0.9])  # table 3 b
@pytest.mark.parametrize("kind", MASKS)
def test_share_that_is_hidden(kind, ratio):
    mask = BlockMask(kind, 4, ratio, seed=2).mask(maps(40)).numpy()
    assert mask.shape == (40, F, T, 1)
    assert set(np.unique(mask)) <= {0.0, 1.0}
    # 130 cells a clip; a grid loses up to a block at the edges.
    assert mask.mean() == pytest.approx(ratio, abs=0.03)


@pytest.mark.parametrize("block", [4, 8, 10, 15])  # table 3 a
@pytest.mark.parametrize("kind", ["random", "high_energy"])
def test_cells_are_hidden_whole(kind, block):
    mask = BlockMask(kind, block, seed=3).mask(maps()).numpy()[..., 0]
    for row in range(0, F, block):
        for start in range(0, T, block):
            cell = mask[:, row : row + block, start : start + block].reshape(len(mask), -1)
            assert (cell.min(1) == cell.max(1)).all()
    assert 0 < mask.mean() < 1


def test_clips_and_calls_get_masks_of_their_own():
    for kind in ("random", "grid"):
        layer = BlockMask(kind, 5, seed=4)
        first = layer.mask(maps()).numpy()
        second = layer.mask(maps()).numpy()
        assert not np.array_equal(first, second)
        assert not np.array_equal(first[0], first[1])


def test_the_same_seed_gives_the_same_masks():
    first, second = (BlockMask(seed=5).mask(maps()) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_high_energy_hides_the_loudest_cells():
    level = np.random.default_rng(0).permutation(20).astype(np.float32).reshape(4, 5)
    x = np.kron(level, np.ones((10, 10)))[None, ..., None] - 12.0  # of either sign
    mask = BlockMask("high_energy", 10, 0.3).mask(tf.constant(x, tf.float32)).numpy()[0, ..., 0]
    np.testing.assert_array_equal(mask, np.kron(level >= 14, np.ones((10, 10))))


def test_high_energy_leaves_padding_out_of_the_count():
    level = np.arange(20, dtype=np.float32).reshape(4, 5)
    x = np.kron(level, np.ones((10, 10)))[None, ..., None] - 30.0  # padding would be the loudest
    valid = frames(30)
    mask = BlockMask("high_energy", 10, 0.5).mask(tf.constant(x * valid, tf.float32), valid)
    own = mask.numpy()[0, :, :30, 0]
    assert own.sum() == 600  # 6 of its 12 cells
    np.testing.assert_array_equal(own, np.kron(level[:, :3] >= 10, np.ones((10, 10))))


def test_a_grid_is_periodic():
    mask = BlockMask("grid", 5, 0.25, seed=6).mask(maps()).numpy()[..., 0]  # period 10
    np.testing.assert_array_equal(mask[:, :-10], mask[:, 10:])
    np.testing.assert_array_equal(mask[:, :, :-10], mask[:, :, 10:])
    rows = mask.max(2)
    columns = mask.max(1)
    np.testing.assert_array_equal(mask, rows[:, :, None] * columns[:, None])
    assert (rows[:, :10].sum(1) == 5).all()


@pytest.mark.parametrize("kind", MASKS)
def test_block_and_ratio_are_learnt(kind):
    layer = BlockMask(kind, learnable=True, seed=7)
    x = maps(8)
    target = 0.7 * x

    def step() -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((layer(x, training=True) - target) ** 2)
        return tape.gradient(loss, layer.trainable_variables), loss

    layer.build(x.shape)
    for block, ratio in ((-3.0, -3.0), (0.0, 0.0), (3.0, 3.0)):  # over the whole range
        layer.block_logit.assign(block)
        layer.ratio_logit.assign(ratio)
        gradients, _ = step()
        for gradient in gradients:
            assert np.isfinite(gradient)
            assert gradient != 0
    # The loss keeps 0.09 x^2 where x is visible and 0.49 x^2 where hidden: hide less.
    layer.ratio_logit.assign(1.0)
    optimizer = keras.optimizers.Adam(0.1)
    before = layer.learnt()
    for _ in range(30):
        optimizer.apply_gradients(zip(step()[0], layer.trainable_variables, strict=True))
    after = layer.learnt()
    assert after["mask_ratio"] < before["mask_ratio"] - 0.1
    assert 2 <= after["mask_block"] <= 20
    assert after["mask_block"] != before["mask_block"]


def test_learnt_masks_are_hard_and_start_at_random():
    starts = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        layer = BlockMask(learnable=True)
        x = maps()
        mask = layer(x, training=True)
        np.testing.assert_allclose(mask * (mask - x), 0, atol=1e-6)
        values = layer.learnt()
        assert 2 < values["mask_block"] < 20
        assert 0.15 < values["mask_ratio"] < 0.85
        starts.append(values)
    assert starts[0] != starts[1]
    assert BlockMask().learnt() == {}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_in_a_graph_of_open_shape(kind):
    layer = BlockMask(kind, 6, learnable=True, seed=8)
    layer.build((None, F, None, C))
    signature = [tf.TensorSpec((None, F, None, C))]
    traced = tf.function(lambda x: layer(x, training=True), input_signature=signature)
    for total in (20, 33):
        assert traced(maps(3, (F, total, C))).shape == (3, F, total, C)


# ---------------------------------------------------- means and normalisation


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_means_count_own_frames_alone(axes, training):
    layer = MapMean(frequency=1 in axes, time=2 in axes)
    x = maps(3)
    np.testing.assert_allclose(
        layer(x, training=training), x.numpy().mean(axes, keepdims=True), atol=1e-6
    )
    lengths = (50, 17, 1)
    valid = frames(*lengths)
    means = layer(x * valid, valid=valid, training=training).numpy()
    for mean, clip, length in zip(means, x.numpy(), lengths, strict=True):
        own = clip[:, :length].mean(tuple(axis - 1 for axis in axes), keepdims=True)
        np.testing.assert_allclose(mean[:, :length], own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_agrees_with_keras(groups, training):
    x = 3 * maps(3) + 1
    layer = GroupNorm(groups)
    keras_layer = keras.layers.GroupNormalization(groups, epsilon=1e-3)
    layer.build(x.shape)
    keras_layer.build(x.shape)
    weights = [np.array([1, 2, -1, 0.5]), np.array([0, 1, 2, 3])]
    layer.set_weights(weights)
    keras_layer.set_weights(weights)
    np.testing.assert_allclose(layer(x, training=training), keras_layer(x), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_centred_bins_have_no_mean_over_their_own_frames(training):
    valid = frames(50, 37, 2, 1)
    centred = CentredBins()(maps() * valid, valid=valid, training=training).numpy()
    for clip, own, length in zip(maps().numpy(), centred, (50, 37, 2, 1), strict=True):
        expected = clip[:, :length] - clip[:, :length].mean(axis=1, keepdims=True)
        np.testing.assert_allclose(own[:, :length], expected, atol=1e-6)
        assert (own[:, length:] == 0).all()


def test_group_norm_ignores_padding():
    layer = GroupNorm(2)
    x = maps(2)
    layer.build(x.shape)
    layer.beta.assign([1.0, 2.0, 3.0, 4.0])
    valid = frames(50, 17)
    out = layer(x, valid=valid).numpy()
    np.testing.assert_allclose(out[1:, :, :17], layer(x[1:, :, :17]), atol=1e-5)
    assert (out[1, :, 17:] == 0).all()


def test_group_norm_in_int8_knows_a_variance_far_below_the_largest_square():
    inputs = keras.Input((16, 20, 4))
    model = keras.Model(inputs, keras.layers.Flatten()(GroupNorm(1)(inputs)))
    rng = np.random.default_rng(0)
    clips = rng.integers(-8, 9, (6, 16, 20, 4)).astype(np.int8)
    clips[:, 3, 4, 1] = 127  # one square of 1 among many of a thousandth
    tflite = quantize_int8(model, clips)
    scale, zero_point = tensor_quantization(tflite, "output")
    answers = (run_reference(tflite, clips).astype(float) - zero_point) * scale
    expected = model(clips / np.float32(128)).numpy()
    quiet = np.abs(expected) < 2
    share = (answers * expected)[quiet].sum() / (expected**2)[quiet].sum()
    assert share == pytest.approx(1, abs=0.05)  # pooled squares would make 0.8 of it


@pytest.mark.parametrize(("channels", "groups"), [(6, 3), (7, 1), (3, 3), (16, 4)])
def test_groups_divide_the_channels(channels, groups):
    layer = GroupNorm(4)
    x = maps(2, (6, 6, channels))
    expected = keras.layers.GroupNormalization(groups, epsilon=1e-3)(x)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_point_norm_agrees_with_keras():
    x = 3 * maps(3) + 1
    expected = keras.layers.LayerNormalization(epsilon=1e-3)(x)
    np.testing.assert_allclose(PointNorm()(x), expected, atol=1e-5)


def test_norms_in_half_precision():
    x = tf.cast(200 * maps(2), tf.float16)  # squares overflow
    for layer in (GroupNorm(2, dtype="mixed_float16"), PointNorm(dtype="mixed_float16")):
        out = layer(x)
        assert out.dtype == tf.float16
        assert np.isfinite(out).all()
        assert np.std(out) == pytest.approx(1, abs=0.05)


def test_frames_of_clips_after_strides():
    x = maps(4, (2, 5, 1))
    mask = FrameMask(2)(x, lengths=tf.constant([[10], [9], [2], [0]]))
    assert mask.shape == (4, 1, 5, 1)
    # Half of 9 frames is 5, the last from a window over its edge; an empty clip keeps one.
    np.testing.assert_array_equal(tf.reduce_sum(mask, axis=(1, 2, 3)), [5, 5, 1, 1])


# ------------------------------------------------------- attention and fusion


def test_fusion_weighs_two_branches():
    layer = WeightedFusion(l2=0.1)
    a, b = maps(2, seed=1), maps(2, seed=2)
    np.testing.assert_allclose(layer([a, b]), (a + b) / 2, rtol=1e-6)
    assert layer.learnt() == {"lambda": 0.5}
    layer.weight.assign(0.25)
    np.testing.assert_allclose(layer([a, b]), 0.25 * a + 0.75 * b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.losses, [0.1 * 0.25**2], rtol=1e-6)
    unbound = WeightedFusion(l2=0)
    unbound([a, b])
    assert not unbound.losses


def test_three_way_attention_is_the_outer_product():
    inputs = keras.Input((F, T, C))
    model = keras.Model(inputs, three_way_attention(inputs))
    x = maps(2).numpy()
    weights = {weight.name: weight.numpy() for weight in model.weights}

    def conv(values: np.ndarray, name: str) -> np.ndarray:  # (batch, n, C) with a 1-D kernel
        kernel = weights[f"{name}/kernel:0"].reshape(7, C)
        padded = np.pad(values, [(0, 0), (3, 3), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=1)  # (b, n, C, 7)
        return np.einsum("bnck,kc->bn", windows, kernel) + weights[f"{name}/bias:0"]

    pooled = x.mean((1, 2))
    hidden = np.maximum(pooled @ weights["att_c_reduce/kernel:0"][0, 0], 0)
    a_c = sigmoid(hidden @ weights["att_c_restore/kernel:0"][0, 0])
    a_t = sigmoid(conv(x.mean(1), "att_t_conv"))
    a_f = sigmoid(conv(x.mean(2), "att_f_conv"))
    expected = x * np.einsum("bc,bt,bf->bftc", a_c, a_t, a_f)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [16, 64])
def test_parameters_of_the_modules(channels):
    inputs = keras.Input((8, 8, channels))
    c = channels
    hidden = max(4, channels // 8)
    gate = c * hidden + hidden + hidden * c + c  # A_c, SCA and SE alike
    path = 2 * 49 * c * c + 2 * 2 * c
    expected = {"global": path + gate + 2 * (7 * c + 1), "se": path + gate, "none": path}
    for attention, parameters in expected.items():
        model = keras.Model(inputs, global_attention(inputs, attention=attention))
        assert model.count_params() == parameters
    path = 2 * c + 49 * c + c * c + 2 * c  # LayerNorm, DSConv, GroupNorm
    lfe = 12 * c * c + (9 + 1) * 12 * c + 12 * c * c + c
    expected = {"local": path + gate + lfe + c * c + c, "se": path + gate, "none": path}
    for attention, parameters in expected.items():
        model = keras.Model(inputs, local_attention(inputs, attention=attention))
        assert model.count_params() == parameters


@pytest.mark.parametrize("attention", ["local", "se", "none"])
def test_local_attention_is_a_residual(attention):
    inputs = keras.Input((8, 8, C))
    model = keras.Model(inputs, local_attention(inputs, attention=attention))
    norm = model.get_layer("local_norm")
    norm.gamma.assign(tf.zeros(C))  # the branch sees nothing
    x = maps(2, (8, 8, C))
    np.testing.assert_allclose(model(x), x, atol=1e-6)


def test_local_attention_gates_its_features():
    inputs = keras.Input((8, 8, C))
    model = keras.Model(inputs, local_attention(inputs, expansion=2))
    layer_names = ["local_lfe_restore", "local_gate_conv", "local_skip"]
    probe = keras.Model(inputs, [model.get_layer(name).output for name in layer_names])
    x = maps(2, (8, 8, C))
    y, gate, out = (value.numpy() for value in probe(x))
    np.testing.assert_allclose(out, sigmoid(gate) * y + x, rtol=1e-4, atol=1e-5)
