# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from quantization_helpers import clips, outputs, separable

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.quantization.ptq import (
    calibrate,
    quantize_calibrated,
    quantize_except,
    quantize_int8,
)
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.keras import keras
from m3net_tf.tflite.read import read_graph


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return separable()


@pytest.fixture(scope="module")
def calibrated(model) -> bytes:
    return calibrate(model, clips(24))


def test_batch_norm_is_folded_into_the_weights_before_it(model, calibrated):
    graph = read_graph(calibrated)
    assert [op.kind for op in graph.operations] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "RESHAPE",
        "SOFTMAX",
    ]
    conv = model.get_layer("stem_conv")
    norm = model.get_layer("stem_bn")
    factor = norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon)
    kernel = (conv.kernel * factor).numpy().transpose(3, 0, 1, 2)
    bias = (conv.bias - norm.moving_mean) * factor + norm.beta
    np.testing.assert_allclose(graph.operations[0].constant(1), kernel, rtol=2e-6)
    np.testing.assert_allclose(graph.operations[0].constant(2), bias, rtol=1e-5, atol=1e-6)
    features = clips(16, seed=5)
    expected = model(dequantize_features(features), training=False).numpy()
    np.testing.assert_allclose(outputs(calibrated, features), expected, atol=1e-5)


def test_int8_has_no_multiplication_or_sum_of_a_batch_norm(calibrated):
    graph = read_graph(quantize_calibrated(calibrated, "separable"))
    kinds = {op.kind for op in graph.operations}
    assert not kinds & {"ADD", "MUL", "SUB", "DEQUANTIZE", "QUANTIZE"}


def test_quantising_the_calibrated_graph_gives_the_converters_network(model, calibrated):
    features = clips(16, seed=5)
    quantized = run_reference(quantize_calibrated(calibrated, "separable"), features)
    converted = run_reference(quantize_int8(model, clips(24)), features)
    np.testing.assert_array_equal(quantized, converted)


def test_layers_have_keras_names(calibrated):
    graph = read_graph(calibrated)
    names = [graph.keras_layer(op) for op in graph.operations]
    assert names == ["stem_conv", "ds_dw", "ds_pw", "pool", "dense", "logits", "output"]


def test_an_operator_that_stays_float(calibrated):
    kept = read_graph(calibrated).operations[1].output.name
    small = read_graph(quantize_except(calibrated, "separable", [kept]))
    kinds = [op.kind for op in small.operations]
    assert kinds[:5] == ["QUANTIZE", "CONV_2D", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "QUANTIZE"]
    assert small.operations[3].output.dtype == "float32"
    assert small.outputs[0].dtype == "float32"
