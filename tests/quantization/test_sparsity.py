# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from quantization_helpers import CLASSES, clips, separable

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.quantization.compression import compression
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.sparsity import cluster, prune, scale_channels
from m3net_tf.quantization.wrapping import Wrapped
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.scoring.evaluation import predict

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


def test_channels_are_scaled_without_a_change_of_answers():
    model = separable()
    scaled = scale_channels(model)
    np.testing.assert_allclose(predict(scaled, CALIBRATION), predict(model, CALIBRATION), atol=1e-6)
    peaks = {
        name: np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0)
        for name, kernel in kernels(scaled).items()
    }
    np.testing.assert_allclose(peaks["stem_conv"], 1, rtol=1e-6)
    np.testing.assert_allclose(peaks["ds_pw"], 1, rtol=1e-6)
    # No normalisation follows the classifier.
    np.testing.assert_array_equal(kernels(scaled)["dense"], kernels(model)["dense"])
    assert np.abs(kernels(model)["stem_conv"]).max() != pytest.approx(1)


def test_clusters_of_a_pruned_network_in_int8(pruned):
    centroids = 6
    model = trained(cluster(pruned, centroids, keep_zeros=True))
    for name, kernel in kernels(model).items():
        assert len(np.unique(kernel)) <= centroids, name
        assert (kernel[kernels(pruned)[name] == 0] == 0).all(), name
    sizes = {}
    for key, entry in {"plain": separable(), "pruned": pruned, "clustered": model}.items():
        tflite = Quantizer(entry, CALIBRATION).quantize(Method()).network.tflite
        sizes[key] = compression([tflite])
    layers = {entry["layer"]: entry for entry in sizes["clustered"]["layers"]}
    assert set(layers) == {*KERNELS, "ds_dw"}
    # A channel's largest weight is one of two centroids, so there are two scales at most.
    assert all(layers[name]["values"] <= 2 * centroids for name in ("stem_conv", "ds_pw"))
    assert all(layers[name]["zero_share"] >= 0.74 for name in KERNELS)
    assert layers["ds_pw"]["weights"] == 64
    assert sizes["plain"]["zero_share"] < 0.1 < sizes["pruned"]["zero_share"]
    assert sizes["plain"]["gzip_bytes"] > sizes["pruned"]["gzip_bytes"]
    whole = compression([tflite, tflite])
    assert whole["gzip_bytes"] == 2 * sizes["clustered"]["gzip_bytes"]
    assert whole["zero_share"] == pytest.approx(sizes["clustered"]["zero_share"])


def test_small_kernels_are_not_clustered():
    model = trained(cluster(separable(), 64))
    sizes = {name: np.unique(kernel).size for name, kernel in kernels(model).items()}
    assert sizes["stem_conv"] <= 64 < 72  # its weights
    assert sizes["dense"] == 32  # all of them
