# SPDX-License-Identifier: Apache-2.0
"""A base test for every layer and block, and tests of each one's own behaviour.

A new layer is one line in ``BLOCKS``.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from shared_networks import class_loss, train_on

from m3net_tf.networks.layers import (
    Mirror,
    MirrorAttention,
    classifier,
    conv_block,
    ds_conv,
)
from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.networks.layers.diffres import DiffRes, diffres
from m3net_tf.networks.layers.diffres.frame_importance import conv_encoder, res_conv_1d
from m3net_tf.networks.layers.diffres.time_pooling import AdaptiveAveragePooling, FrameSampling
from m3net_tf.networks.layers.diffres.warp import FrameScores, FrameWarp
from m3net_tf.networks.layers.masked import CentredBins, FrameMask, GroupNorm, MapMean, PointNorm
from m3net_tf.networks.layers.precision import Float32Layer, average_pooling, mean_pool
from m3net_tf.networks.models.bc_resnet.broadcasted import SubSpectralNorm, broadcasted_residual
from m3net_tf.networks.models.bilateral.garm import audio_refinement
from m3net_tf.networks.models.bilateral.guided_aggregation import guided_aggregation
from m3net_tf.networks.models.bilateral.macem import audio_context_embedding
from m3net_tf.networks.models.bilateral.sequence import (
    UnrolledBiLSTM,
    bidirectional_lstm,
    conv1d,
    conv1d_block,
)
from m3net_tf.networks.models.bilateral.transformer import (
    DotProductAttention,
    SinusoidalPositions,
    self_attention,
    transformer_encoder,
)
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import AttentionHeads
from m3net_tf.networks.models.learnable_frontend.compression import PCEN, LogEnergy
from m3net_tf.networks.models.learnable_frontend.filterbank import GaborEnergy, SincMagnitude
from m3net_tf.networks.models.learnable_frontend.pooling import LowpassPooling
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.networks.models.sparknet.sparse_gate import SparseGate, time_channel_conv
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.networks.models.spectromasknet.fusion import WeightedFusion
from m3net_tf.networks.models.spectromasknet.global_attention import global_attention
from m3net_tf.networks.models.spectromasknet.local_attention import local_attention
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf

BINS, FRAMES, CHANNELS, CLASSES = 8, 10, 4, 3

Block = Callable[[tf.Tensor], tf.Tensor]


def one_row(x: tf.Tensor) -> tf.Tensor:
    """The map's rows one behind the other: a sequence."""
    return keras.layers.Reshape((1, BINS * FRAMES, CHANNELS))(x)


def one_wave(x: tf.Tensor) -> tf.Tensor:
    """The map's points one behind the other: a waveform."""
    return keras.layers.Reshape((1, BINS * FRAMES * CHANNELS, 1))(x)


# Layers between the features and the classifier.
BLOCKS: dict[str, Block] = {
    "mirror_attention": MirrorAttention(depthwise_norm=True),
    "mirror_time": Mirror(time=True),
    "mirror_frequency": Mirror(frequency=True),
    "mirror_both": Mirror(time=True, frequency=True),
    "eca": EfficientChannelAttention(),
    "eca_5": EfficientChannelAttention(5),
    "conv_block": lambda x: conv_block(x, 6),
    "conv_block_strided": lambda x: conv_block(x, 6, (4, 5), (2, 1)),
    "ds_conv": lambda x: ds_conv(x, 6),
    "ds_conv_strided": lambda x: ds_conv(x, 6, (3, 5), (2, 2)),
    "ds_conv_norm": lambda x: ds_conv(x, 6, depthwise_norm=True),
    "classifier": lambda x: x,
    "image_delta": lambda x: SpectrogramImage(12, 15)(conv_block(x, 1)),
    "image_replicate": lambda x: SpectrogramImage(12, 15, "replicate")(conv_block(x, 1)),
    "positions": SinusoidalPositions(),
    "self_attention": lambda x: self_attention(one_row(x), 2),
    "transformer_encoder": lambda x: transformer_encoder(one_row(x), heads=2),
    "bidirectional_lstm": lambda x: bidirectional_lstm(one_row(x), 3),
    "unrolled_bilstm": lambda x: UnrolledBiLSTM(3)(
        keras.layers.Cropping2D(((0, BINS - 1), (0, 0)))(x)
    ),
    "conv1d_block": lambda x: conv1d_block(one_row(x), 6, 5, stride=2, name="conv1d"),
    "macem_a": lambda x: audio_context_embedding(one_row(x), "a"),
    "macem_b": lambda x: audio_context_embedding(one_row(x), "b"),
    "garm": lambda x: audio_refinement(one_row(x)),
    "guided_aggregation": lambda x: guided_aggregation(one_row(x), conv1d(one_row(x), 4, name="d")),
    "mask_random": BlockMask("random", 2, 0.2),
    "mask_grid": BlockMask("grid", 3),
    "mask_high_energy": BlockMask("high_energy", 3, 0.3),
    "mask_learnable": BlockMask("high_energy", learnable=True, largest_block=4),
    "centred_bins": lambda x: conv_block(CentredBins()(x), 6),
    "group_norm": GroupNorm(2),
    "point_norm": PointNorm(),
    "mean_over_frequency": MapMean(time=False),
    "mean_over_time": MapMean(frequency=False),
    "fusion": lambda x: WeightedFusion()([x, Mirror(time=True)(x)]),
    "global_attention": lambda x: global_attention(x, kernel=3, groups=2),
    "global_attention_se": lambda x: global_attention(x, kernel=3, attention="se"),
    "local_attention": lambda x: local_attention(x, expansion=2),
    "local_attention_none": lambda x: local_attention(x, attention="none"),
    "res_conv_1d": lambda x: res_conv_1d(x, 6),
    "conv_encoder": lambda x: conv_encoder(conv_block(x, 1)),
    "adaptive_average_pooling": AdaptiveAveragePooling(7),
    "frame_sampling": FrameSampling(7),
    "diffres": lambda x: diffres(conv_block(x, 1), 0.5),
    "diffres_layer": lambda x: DiffRes(0.5)(conv_block(x, 1)),
    "attention_heads": lambda x: AttentionHeads(2)(
        [keras.layers.Activation("sigmoid")(one_row(x)), conv1d(one_row(x), 4, name="scores")]
    ),
    "sub_spectral_norm": SubSpectralNorm(3),
    "broadcasted_residual": lambda x: broadcasted_residual(x, CHANNELS, dilation=2),
    "broadcasted_transition": lambda x: broadcasted_residual(x, 6, stride=2, bands=2),
    "sparse_gate": lambda x: SparseGate(0.05)(conv1d(one_row(x), 4, name="mu")),
    "time_channel_conv": lambda x: time_channel_conv(one_row(x), 6, 5, residual=True),
    "gabor": lambda x: GaborEnergy(6, 21)(one_wave(x)),
    "gabor_free_taps": lambda x: GaborEnergy(6, 21, free_taps=True)(one_wave(x)),
    "sinc": lambda x: SincMagnitude(6, 21)(one_wave(x)),
    "gaussian_pooling": lambda x: LowpassPooling(20, 8)(GaborEnergy(6, 21)(one_wave(x))),
    "hann_pooling": lambda x: LowpassPooling(20, 8, "hann_squared")(
        SincMagnitude(6, 21)(one_wave(x))
    ),
    "pcen": lambda x: PCEN()(SincMagnitude(6, 21)(one_wave(x))),
    "log_energy": lambda x: LogEnergy()(SincMagnitude(6, 21)(one_wave(x))),
}
# Fourier transforms and DiffRes's sums over segments run only on a computer.
NO_INT8 = {
    "diffres",
    "diffres_layer",
    "gabor",
    "gabor_free_taps",
    "sinc",
    "gaussian_pooling",
    "hann_pooling",
}
NO_INT8 |= {"pcen", "log_energy"}
LAYERS = {name: block for name, block in BLOCKS.items() if isinstance(block, keras.layers.Layer)}
LAYERS["attention"] = DotProductAttention(2)
LAYERS["unrolled_bilstm"] = UnrolledBiLSTM(3)
LAYERS["image"] = SpectrogramImage(12, 15, "colormap")
LAYERS |= {"fusion": WeightedFusion(0.3), "frames": FrameMask(2)}
LAYERS["gabor"] = GaborEnergy(
    6, 21, sample_rate_hz=8000, min_hz=50.0, max_hz=3000.0, free_taps=True
)
LAYERS["sinc"] = SincMagnitude(6, 21, sample_rate_hz=8000, min_hz=50.0, max_hz=3000.0)
LAYERS["pooling"] = LowpassPooling(20, 8, "hann_squared")
LAYERS["sparse_gate"] = SparseGate(0.3, 0.1, seed=4)
DECIBELS = {"feature_min": -80.0, "feature_max": 0.0, "log": "db"}
LAYERS["frame_scores"] = FrameScores(0.4, 2.0, 0.3, 1e-3, "released", **DECIBELS)
LAYERS |= {"warp": FrameWarp(7, False, False, False, 2.0, **DECIBELS), "heads": AttentionHeads(3)}


def build(name: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    block = BLOCKS[name]
    if isinstance(block, keras.layers.Layer):
        config = block.get_config()
        config.pop("dtype", None)  # the policy's
        block = type(block).from_config(config)
    x = inputs = keras.Input((BINS, FRAMES, CHANNELS))
    return keras.Model(inputs, classifier(block(x), CLASSES), name=name)


class Trained(NamedTuple):
    """A network of a few steps, the loss before each, and its weights before the first."""

    network: keras.Model
    losses: list[float]
    before: list[np.ndarray]


@functools.cache
def trained_once(name: str) -> Trained:
    network = build(name)
    before = [weight.numpy() for weight in network.trainable_variables]
    return Trained(network, train_steps(network, 4), before)


# Other arguments of a block above, or a part of one.
VARIANTS = {"mirror_frequency", "mirror_both", "eca_5", "conv_block_strided", "ds_conv_strided"}
VARIANTS |= {"ds_conv_norm", "image_replicate", "mask_grid", "mean_over_time"}
VARIANTS |= {"global_attention_se", "local_attention_none", "gabor_free_taps", "hann_pooling"}
VARIANTS |= {"classifier", "self_attention", "positions", "macem_b", "mask_high_energy"}
VARIANTS |= {"bidirectional_lstm"}  # the unrolled one gives the same int8 bytes
VARIANTS |= {"res_conv_1d", "broadcasted_transition", "diffres", "gabor", "sinc"}
# Parts that the tests of their network train, too.
VARIANTS |= {"diffres_layer", "macem_a", "garm", "local_attention", "conv_encoder"}
VARIANTS |= {"gaussian_pooling", "transformer_encoder", "guided_aggregation"}


# In half precision: a block of Keras's layers, and most of those that compute in single precision.
QUICK_HALF = {"conv_block", "eca", "fusion", "image_delta", "mask_random", "pcen", "point_norm"}
QUICK_HALF |= {"mean_over_frequency", "sub_spectral_norm", "unrolled_bilstm"}
HALF = [pytest.param(name, marks=() if name in QUICK_HALF else pytest.mark.slow) for name in BLOCKS]


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in VARIANTS else ()) for name in BLOCKS
    ]
)
def trained(request: pytest.FixtureRequest) -> Trained:
    """Training of a network; all tests share it, so they must not change it."""
    return trained_once(request.param)


@pytest.fixture
def model(trained: Trained) -> keras.Model:
    return trained.network


@pytest.fixture
def half_precision() -> Iterator[None]:
    """bfloat16: on a CPU float16 lacks kernels."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def features(clips: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (clips, BINS, FRAMES, CHANNELS)).astype(np.int8)


def real(clips: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(features(clips, seed) / 128, tf.float32)


def train_steps(model: keras.Model, steps: int) -> list[float]:
    """Loss before each of a few steps on one batch."""
    losses, gradients = train_on(model, class_loss(model, real(8), CLASSES), steps, 0.01)
    assert all(gradient is not None for gradient in gradients)
    return losses


class TestEveryLayer:
    def test_eager_and_graph_agree(self, model):
        maps = real(5)
        eager = model(maps, training=False)
        traced = tf.function(model)(maps, training=False)
        np.testing.assert_allclose(traced, eager, rtol=1e-5, atol=1e-6)  # kernels may fuse
        assert eager.shape == (5, CLASSES)
        np.testing.assert_allclose(tf.reduce_sum(eager, 1), 1, rtol=1e-6)

    def test_training_lowers_the_loss(self, trained):
        assert trained.losses[-1] < trained.losses[0]
        for old, weight in zip(trained.before, trained.network.trainable_variables, strict=True):
            assert np.isfinite(weight.numpy()).all()
            if "kernel" in weight.name:
                assert np.abs(weight.numpy() - old).max() > 1e-4, weight.name

    def test_saved_and_loaded(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
        assert loaded.get_config() == model.get_config()
        np.testing.assert_array_equal(loaded(real(5)), model(real(5)))

    @pytest.mark.parametrize("trained", HALF, indirect=True)
    def test_mixed_precision(self, model, half_precision):
        """A training step under the policy, near the one without it."""
        half = build(model.name)
        half.set_weights(model.get_weights())
        for layer in half.layers[1:]:  # the input is no layer of ours
            whole = isinstance(layer, Float32Layer | keras.layers.AveragePooling2D)
            assert layer.compute_dtype == ("float32" if whole else "bfloat16"), layer.name
            assert not isinstance(layer, Float32Layer) or layer.why_float32
            assert all(weight.dtype == tf.float32 for weight in layer.weights)
        outputs = tf.cast(half(real(5)), tf.float32)
        np.testing.assert_allclose(outputs, model(real(5)), atol=0.02)
        train_steps(half, 1)
        assert all(np.isfinite(weight).all() for weight in half.get_weights())
        kernels = [net.get_layer("dense").kernel.numpy() for net in (half, model)]
        assert np.abs(kernels[0] - kernels[1]).max() > 1e-3

    def test_int8_is_the_same_on_reference_kernels_and_tflm(self, model):
        if model.name in NO_INT8:
            with refuses(ModelError, model.name, "int8"):
                quantize_int8(model, features(4))
            return
        tflite = quantize_int8(model, features(32))
        fresh = features(24, seed=1)
        scores = run_reference(tflite, fresh)
        assert scores.shape == (24, CLASSES)
        expected = model(tf.constant(fresh / 128, tf.float32)).numpy()
        # The output of softmax has steps of 1/256; int8 loses a few of them.
        np.testing.assert_allclose((scores + 128.0) / 256, expected, atol=0.04)
        if reason := tflm_unavailable_reason():
            pytest.skip(reason)
        np.testing.assert_array_equal(run_tflm(tflite, fresh), scores)


@pytest.mark.parametrize(
    "mean",
    [
        lambda x: average_pooling(x, x.shape[1:3], "pool"),
        lambda x: mean_pool(x, x.shape[1:3]),
        MapMean(dtype="mixed_bfloat16"),
    ],
    ids=["average_pooling", "mean_pool", "map_mean"],
)
def test_means_over_many_points_in_half_precision(mean, half_precision):
    """Summed in bfloat16, as on some processors, these have an error as large as their value."""
    waves = np.random.default_rng(0).uniform(1, 5, (2, 1, 3000, 5))
    maps = tf.constant(waves, tf.bfloat16)
    expected = tf.cast(maps, tf.float32).numpy().mean((1, 2), keepdims=True)
    np.testing.assert_allclose(tf.cast(mean(maps), tf.float32), expected, rtol=1 / 128)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
            assert getattr(again, name) == getattr(layer, name)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_mirrors_reverse_and_are_their_own_inverses(axes):
    mirror = Mirror(frequency=1 in axes, time=2 in axes)
    x = real(2)
    np.testing.assert_array_equal(mirror(x), np.flip(x, axes))
    np.testing.assert_array_equal(mirror(mirror(x)), x)


@pytest.mark.parametrize(
    ("channels", "width"), [(1, 1), (2, 1), (4, 1), (8, 3), (32, 3), (64, 3), (128, 5), (512, 5)]
)
def test_eca_kernel_follows_the_papers_rule(channels, width):
    # Origin: ECA-Net, equation 12, gamma = 2, b = 1, as the authors' code rounds it: t = int(
    # (log2(C) + 1) / 2), then t if it is odd, else t + 1.
    layer = EfficientChannelAttention()
    layer.build((None, 4, 4, channels))
    assert layer.kernel.shape == (1, width, 1, 1)
    assert layer.count_params() == width


def test_eca_weighs_channels_by_their_neighbours():
    layer = EfficientChannelAttention(3)
    x = real(2)
    layer.build(x.shape)
    layer.kernel.assign(np.array([1.0, 2.0, -1.0]).reshape(1, 3, 1, 1))
    padded = np.pad(x.numpy().mean(axis=(1, 2)), [(0, 0), (1, 1)])
    mixed = padded[:, :-2] + 2 * padded[:, 1:-1] - padded[:, 2:]
    gate = 1 / (1 + np.exp(-mixed))
    np.testing.assert_allclose(layer(x), x * gate[:, None, None], rtol=1e-5, atol=1e-6)


def test_parameters_of_the_blocks():
    inputs = keras.Input((9, 11, 64))
    # Origin: M3Net's DSConv(64 to 64) = 640 + 4 160 + 256 (paper, section 2.2).
    assert keras.Model(inputs, ds_conv(inputs, 64)).count_params() == 640 + 4160 + 256
    with_norm = keras.Model(inputs, ds_conv(inputs, 64, depthwise_norm=True))
    assert with_norm.count_params() == 640 + 256 + 4160 + 256
    standard = keras.Model(inputs, conv_block(inputs, 10, (2, 3)))
    assert standard.count_params() == 64 * 6 * 10 + 10 + 40
    assert keras.Model(inputs, classifier(inputs, 12)).count_params() == 65 * 12


def test_channels_of_an_image():
    ramp = tf.reshape(tf.range(20.0) / 20, (1, 1, 20, 1)) * tf.ones((1, 6, 1, 1))
    same = SpectrogramImage(6, 20, "replicate")(ramp)
    np.testing.assert_allclose(same, np.repeat(ramp, 3, axis=-1), rtol=1e-6)
    delta = SpectrogramImage(6, 20, "delta")(ramp).numpy()
    np.testing.assert_allclose(delta[..., 0], ramp[..., 0], rtol=1e-6)
    np.testing.assert_allclose(delta[:, :, 4:-4, 1], 1 / 20, rtol=1e-5)  # a steady slope
    np.testing.assert_allclose(delta[:, :, 8:-8, 2], 0, atol=1e-6)
    colour = SpectrogramImage(6, 20, "colormap")(ramp).numpy()
    assert colour.shape == (1, 6, 20, 3)
    assert (np.abs(colour) <= 1).all()
    large = SpectrogramImage(12, 40, "replicate")(ramp)
    assert large.shape == (1, 12, 40, 3)


def test_a_mirror_of_both_axes_is_one_operator():
    """Two operators would share the first with VMF, whose map would stay in the arena until DFP."""
    inputs = keras.Input((BINS, FRAMES, CHANNELS))
    x = Mirror(frequency=True)(inputs)
    x = keras.layers.Add()([x, Mirror(time=True, frequency=True)(inputs)])
    model = keras.Model(inputs, classifier(x, CLASSES))
    samples = np.random.default_rng(0).integers(-128, 128, (4, BINS, FRAMES, CHANNELS))
    tflite = quantize_int8(model, samples.astype(np.int8))
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    (subgraph,) = graph.subgraphs
    mirrors = [
        operation
        for operation in subgraph.operators
        if graph.operatorCodes[operation.opcodeIndex].builtinCode
        == schema.BuiltinOperator.REVERSE_V2
    ]
    axes = [list(subgraph.tensors[operation.inputs[1]].shape) for operation in mirrors]
    assert sorted(axes) == [[1], [2]]
