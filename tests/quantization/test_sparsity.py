# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from quantization_helpers import CLASSES, clips, separable

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.quantization.compression import compression
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.sparsity import prune
from m3net_tf.quantization.wrapping import Wrapped
from m3net_tf.system.keras import keras, tf

CALIBRATION = clips(16)
KERNELS = ("stem_conv", "ds_pw", "dense")
STEPS = 4


def trained(wrapped: Wrapped) -> keras.Model:
    """A few steps towards random targets."""
    maps = tf.constant(dequantize_features(CALIBRATION))
    targets = tf.one_hot(np.arange(len(CALIBRATION)) % CLASSES, CLASSES)
    weights = wrapped.model.trainable_variables
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(weights)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            answers = wrapped.model(maps, training=True)
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(targets, answers))
        gradients = tape.gradient(loss, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))

    wrapped.begin()
    for _ in range(STEPS):
        step()
    wrapped.close_epoch()
    return wrapped.strip()


@pytest.fixture(scope="module")
def pruned() -> keras.Model:
    return trained(prune(separable(), 0.75, STEPS))


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: model.get_layer(name).kernel.numpy() for name in KERNELS}


def test_pruning_reaches_its_share_in_convolutions(pruned):
    for name, kernel in kernels(pruned).items():
        assert (kernel == 0).mean() == pytest.approx(0.75, abs=1 / kernel.size), name
    assert (pruned.get_layer("ds_dw").depthwise_kernel.numpy() != 0).all()
    before = kernels(separable())
    assert all((kernels(pruned)[name] != before[name]).any() for name in KERNELS)


def test_a_pruned_network_is_smaller_after_gzip(pruned):
    sizes = {}
    for key, entry in {"plain": separable(), "pruned": pruned}.items():
        tflite = Quantizer(entry, CALIBRATION).quantize(Method()).network.tflite
        sizes[key] = compression([tflite])
    layers = {entry["layer"]: entry for entry in sizes["pruned"]["layers"]}
    assert set(layers) == {*KERNELS, "ds_dw"}
    assert all(layers[name]["zero_share"] >= 0.74 for name in KERNELS)
    assert layers["ds_pw"]["weights"] == 64
    assert sizes["plain"]["zero_share"] < 0.1 < sizes["pruned"]["zero_share"]
    assert sizes["plain"]["gzip_bytes"] > sizes["pruned"]["gzip_bytes"]
    whole = compression([tflite, tflite])
    assert whole["gzip_bytes"] == 2 * sizes["pruned"]["gzip_bytes"]
    assert whole["zero_share"] == pytest.approx(sizes["pruned"]["zero_share"])
