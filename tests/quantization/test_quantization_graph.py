# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from quantization_helpers import clips, outputs, separable
from refusals import refuses

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.quantization.graph import Graph
from m3net_tf.quantization.ptq import (
    calibrate,
    quantize_calibrated,
    quantize_except,
    quantize_int8,
)
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return separable()


@pytest.fixture(scope="module")
def calibrated(model) -> bytes:
    return calibrate(model, clips(24))


def test_batch_norm_is_folded_into_the_weights_before_it(model, calibrated):
    graph = Graph(calibrated)
    kinds = [operator.kind for operator in graph.operators]
    assert kinds == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "RESHAPE",
        "SOFTMAX",
    ]
    conv, norm = model.get_layer("stem_conv"), model.get_layer("stem_bn")
    factor = norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon)
    kernel = (conv.kernel * factor).numpy().transpose(3, 0, 1, 2)
    bias = (conv.bias - norm.moving_mean) * factor + norm.beta
    _, weights, offsets = graph.operators[0].inputs
    np.testing.assert_allclose(graph.constant(weights), kernel, rtol=2e-6)
    np.testing.assert_allclose(graph.constant(offsets), bias, rtol=1e-5, atol=1e-6)
    features = clips(16, seed=5)
    expected = model(dequantize_features(features), training=False).numpy()
    np.testing.assert_allclose(outputs(calibrated, features), expected, atol=1e-5)


def test_int8_has_no_multiplication_or_sum_of_a_batch_norm(calibrated):
    kinds = {
        operator.kind for operator in Graph(quantize_calibrated(calibrated, "separable")).operators
    }
    assert not kinds & {"ADD", "MUL", "SUB", "DEQUANTIZE", "QUANTIZE"}


def test_quantising_the_calibrated_graph_gives_the_converters_network(model, calibrated):
    features = clips(16, seed=5)
    quantized = run_reference(quantize_calibrated(calibrated, "separable"), features)
    converted = run_reference(quantize_int8(model, clips(24)), features)
    np.testing.assert_array_equal(quantized, converted)


def test_layers_have_keras_names(calibrated):
    graph = Graph(calibrated)
    names = [graph.layer(operator) for operator in graph.operators]
    assert names == ["stem_conv", "ds_dw", "ds_pw", "pool", "dense", "logits", "output"]


def test_an_operator_that_stays_float(calibrated):
    graph = Graph(calibrated)
    kept = graph.name(graph.operators[1].outputs[0])
    small = Graph(quantize_except(calibrated, "separable", [kept]))
    kinds = [operator.kind for operator in small.operators]
    assert kinds[:5] == ["QUANTIZE", "CONV_2D", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "QUANTIZE"]
    assert small.is_float(small.operators[3].outputs[0])
    assert small.is_float(small.outputs[0])


def test_a_changed_constant_leaves_its_twins_alone(calibrated):
    graph = Graph(calibrated)
    _, weights, offsets = graph.operators[0].inputs
    twin = graph.operators[1].inputs[2]  # of the same size
    before = graph.constant(offsets)
    graph._tensors[twin].buffer = graph._tensors[offsets].buffer
    graph.set_constant(twin, before + 1)
    np.testing.assert_array_equal(graph.constant(offsets), before)
    again = Graph(graph.pack())
    np.testing.assert_array_equal(again.constant(twin), before + 1)
    np.testing.assert_array_equal(again.constant(weights), graph.constant(weights))
    assert again.constant(again.inputs[0]) is None


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 20])
def test_what_is_no_network(damage):
    with refuses(ModelError, "TFLite"):
        Graph(damage)
