# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from quantization_helpers import CLASSES, SHAPE, clips, outputs, separable, settle, unbalance

from m3net_tf.networks.layers import classifier, conv_block
from m3net_tf.networks.models import build_model
from m3net_tf.quantization.bias_correction import correct_biases
from m3net_tf.quantization.comparison import compare_tensors
from m3net_tf.quantization.diffres import FloatNetwork
from m3net_tf.quantization.equalization import equalize
from m3net_tf.quantization.methods import Quantized
from m3net_tf.quantization.observation import observe, watch
from m3net_tf.quantization.ptq import calibrate, quantize_calibrated
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.keras import keras
from m3net_tf.tflite.read import read_graph

CALIBRATION = clips(32)
HELD_OUT = clips(64, seed=9)


def sqnr_db(calibrated: bytes, layer: str) -> float:
    """Signal to noise of a layer's output when the network is int8."""
    small = quantize_calibrated(calibrated, "network")
    quantized = Quantized(Int8Network(small), FloatNetwork((calibrated,)), ())
    tensors = compare_tensors(quantized, HELD_OUT)
    return next(tensor["sqnr_db"] for tensor in tensors if tensor["layer"] == layer)


@pytest.fixture(scope="module")
def unbalanced() -> bytes:
    model = separable()
    unbalance(model, "stem_bn", "ds_dw")
    unbalanced = calibrate(model, CALIBRATION)
    balanced = calibrate(separable(), CALIBRATION)
    np.testing.assert_allclose(
        outputs(unbalanced, HELD_OUT), outputs(balanced, HELD_OUT), atol=1e-5
    )
    return unbalanced


def test_float_stays_and_int8_gains(unbalanced):
    float_outputs = outputs(unbalanced, HELD_OUT)
    equalized, layers = equalize(unbalanced, CALIBRATION)
    np.testing.assert_allclose(outputs(equalized, HELD_OUT), float_outputs, atol=1e-4)
    assert "stem_conv" in layers
    assert sqnr_db(equalized, "ds_dw") > sqnr_db(unbalanced, "ds_dw") + 6
    assert sqnr_db(equalized, "dense") > sqnr_db(unbalanced, "dense") + 3
    first = read_graph(equalized).operations[0].output
    peak = observe(equalized, CALIBRATION)[first.index].channel_peak
    assert peak.max() / peak.min() < 16  # was above 64


def test_bias_correction_takes_the_mean_error_back(unbalanced):
    float_means = watch_means(unbalanced)
    errors = []
    for network in (unbalanced, correct_biases(unbalanced, CALIBRATION, "network")[0]):
        reached = watch_means(quantize_calibrated(network, "network"))
        errors.append(
            np.mean([np.abs(reached[name] - mean).mean() for name, mean in float_means.items()])
        )
    assert errors[1] < errors[0] / 2


def watch_means(tflite: bytes) -> dict[str, np.ndarray]:
    """Mean of each channel behind each convolution."""
    graph = read_graph(tflite)
    made = {op.output.index: graph.keras_layer(op) for op in graph.operations if "CONV" in op.kind}
    seen = [
        {made[t]: v.reshape(-1, v.shape[-1]).mean(0) for t, v in values.items()}
        for values in watch(tflite, CALIBRATION, made)
    ]
    return {name: np.mean([operator[name] for operator in seen], 0) for name in seen[0]}


def test_mirror_attention_is_scaled_as_a_whole():
    """Mirrors, concatenation and sums have one factor a channel; the attention's gate has none."""
    arguments = {
        "sfp": [{"filters": 8, "kernel": (3, 3), "strides": (2, 2)}],
        "tail": [{"filters": 8}],
        "depthwise_norm": True,
    }
    keras.utils.set_random_seed(5)
    model = settle(
        build_model("m3net", "mcu", input_shape=SHAPE, classes=CLASSES, overrides=arguments)
    )
    calibrated = calibrate(model, CALIBRATION)
    equalized, layers = equalize(calibrated, CALIBRATION)
    float_outputs = outputs(calibrated, HELD_OUT)
    np.testing.assert_allclose(outputs(equalized, HELD_OUT), float_outputs, atol=1e-4)
    assert {"sfp1_pw", "mfp_align_pw", "mfp_out_pw", "mfp_out_dw"} <= set(layers)
    assert not {"dfp_cb_pw", "dfp_eca", "dense"} & set(layers)


@pytest.mark.parametrize("activation", ["relu6", "sigmoid", "leaky_relu"])
def test_only_activations_that_let_a_factor_through(activation):
    keras.utils.set_random_seed(7)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(6, 3, name="first")(inputs)
    if activation == "leaky_relu":
        x = keras.layers.LeakyReLU(0.1)(x)
    else:
        x = keras.layers.Activation(_relu6 if activation == "relu6" else activation)(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="second")(x)
    model = keras.Model(inputs, classifier(x, CLASSES), name="plain")
    calibrated = calibrate(model, CALIBRATION)
    equalized, layers = equalize(calibrated, CALIBRATION)
    float_outputs = outputs(calibrated, HELD_OUT)
    np.testing.assert_allclose(outputs(equalized, HELD_OUT), float_outputs, atol=1e-4)
    assert ("first" in layers) == (activation == "leaky_relu")
    assert "second" in layers  # ReLU, then a pooling, then the classifier


def _relu6(x):
    return keras.activations.relu(x, max_value=6.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"), [("ds_cnn", "mcu"), ("bc_resnet", "tau1"), ("spectromasknet", "mcu")]
)
def test_float_of_all_networks_stays(name, preset):
    model = settle(build_model(name, preset))
    features = np.random.default_rng(0).integers(-128, 128, (8, *model.input_shape[1:]))
    features = features.astype(np.int8)
    calibrated = calibrate(model, features)
    equalized, layers = equalize(calibrated, features)
    assert layers
    float_outputs = outputs(calibrated, features)
    np.testing.assert_allclose(outputs(equalized, features), float_outputs, atol=1e-4)


def test_a_tensor_that_two_kinds_of_layers_read_is_left():
    """A sigmoid beside a convolution: a factor passes through only one of them."""
    keras.utils.set_random_seed(8)
    inputs = keras.Input(SHAPE)
    x = conv_block(inputs, 6, name="shared")
    gate = keras.layers.Activation("sigmoid")(x)
    y = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="after")(x)
    model = keras.Model(inputs, classifier(keras.layers.Multiply()([y, gate]), CLASSES))
    calibrated = calibrate(model, CALIBRATION)
    equalized, layers = equalize(calibrated, CALIBRATION)
    float_outputs = outputs(calibrated, HELD_OUT)
    np.testing.assert_allclose(outputs(equalized, HELD_OUT), float_outputs, atol=1e-4)
    assert "after" in layers and "shared" not in layers
