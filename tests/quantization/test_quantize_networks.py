# SPDX-License-Identifier: Apache-2.0
"""Methods and reports on operators that M3Net lacks: normalisations, matrix products, LSTM."""

import numpy as np
import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.bilateral.transformer import DotProductAttention
from m3net_tf.quantization.comparison import compare_tensors, rank_layers
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.keras import keras
from m3net_tf.training.scoring.evaluation import predict

pytestmark = pytest.mark.slow  # a minute and a half
needs_tflm = pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is missing")
METHODS = ("ptq", "ptq+least-error+equalize")
CLASSES = 3
# The presets' forms with fewer channels and steps: one stage, one module of each kind, two tokens.
NETWORKS = {
    "spectromasknet": (
        (16, 16, 1),
        {"modules": (1,), "channels": (4,), "strides": (4,), "expansion": 2, "groups": 2},
        {"RSQRT", "MUL", "LOGISTIC", "DEPTHWISE_CONV_2D"},
    ),
    "bilateral": (
        (1, 1024, 1),
        {
            "fd_modules": "RR",
            "semantic_filters": (4, 4),
            "detail_filters": (4, 4),
            "token_filters": 4,
            "token_step": 8,
            "stem_step": 16,
        },
        {"RSQRT", "BATCH_MATMUL", "TANH", "LEAKY_RELU"},
    ),
}


def clips(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Noise, from quiet to loud."""
    values = np.random.default_rng(seed).normal(0, 1, (count, *shape))
    loudness = np.linspace(5, 60, count).reshape(-1, 1, 1, 1)
    return np.clip(np.round(loudness * values), -128, 127).astype(np.int8)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request) -> tuple[Quantizer, set[str]]:
    """A network whose normalisations have seen clips, and operators that must be ranked."""
    shape, arguments, kinds = NETWORKS[request.param]
    keras.utils.set_random_seed(2)
    model = build_model(request.param, "s", input_shape=shape, classes=CLASSES, overrides=arguments)
    calibration = clips(shape, 8, seed=1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(calibration / np.float32(128), training=True)
    return Quantizer(model, calibration), kinds


def test_int8_methods_stay_close_to_float(case):
    quantizer, _ = case
    features = quantizer.calibration  # untrained weights amplify inputs outside the calibration
    float_outputs = predict(quantizer.model, features)
    for name in METHODS:
        network = quantizer.quantize(Method.parse(name)).network
        scores = network.run(run_reference, features)
        assert np.abs((scores + 128.0) / 256 - float_outputs).mean() < 0.05, name
        if not tflm_unavailable_reason():
            np.testing.assert_array_equal(network.run(run_tflm, features), scores, err_msg=name)


def test_every_kind_of_operator_is_reported(case):
    quantizer, kinds = case
    quantized = quantizer.quantize(Method())
    features = clips(quantizer.calibration.shape[1:], 2, seed=4)
    assert kinds <= {entry["operator"] for entry in compare_tensors(quantized, features)}
    costs = rank_layers(quantized, features, np.zeros(2, np.int32), quantizer.model.name)
    assert kinds <= {entry["operator"] for entry in costs}
    assert costs[0]["divergence"] > 0


@needs_tflm
def test_sixteen_bits_give_the_same_bytes(case):
    quantizer, _ = case
    wide = quantizer.quantize(Method(wide=True)).network
    features = clips(quantizer.calibration.shape[1:], 6, seed=3)
    scores = wide.run(run_reference, features)
    assert len(np.unique(scores, axis=0)) > 1
    np.testing.assert_array_equal(wide.run(run_tflm, features), scores)


def _with(layer: keras.layers.Layer) -> keras.Model:
    """A layer over three convolutions, between ends."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((1, 6, 1))
    maps = [keras.layers.Conv2D(4, 1)(inputs) for _ in range(3)]
    x = keras.layers.Conv2D(2, (1, 6))(layer(maps))
    return keras.Model(inputs, keras.layers.Softmax()(keras.layers.Flatten()(x)))


@needs_tflm
def test_matrix_products_of_sixteen_bits_give_the_same_bytes():
    features = clips((1, 6, 1), 24, seed=5)
    model = _with(DotProductAttention(2))
    wide = Quantizer(model, features).quantize(Method(wide=True)).network
    scores = wide.run(run_reference, features)
    assert len(np.unique(scores, axis=0)) > 1
    np.testing.assert_array_equal(wide.run(run_tflm, features), scores)
