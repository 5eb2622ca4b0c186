# SPDX-License-Identifier: Apache-2.0
"""Networks and clips that the quantisation tests share."""

import numpy as np

from m3net_tf.networks.layers import classifier, conv_block, ds_conv
from m3net_tf.quantization.observation import open_fast
from m3net_tf.runtime.interpreter import run_raw
from m3net_tf.system.keras import keras

SHAPE = (12, 16, 1)
CLASSES = 4


def clips(count: int, seed: int = 0) -> np.ndarray:
    """int8 features, smooth enough for a network to distinguish them."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 60, (count, SHAPE[0] // 4, SHAPE[1] // 4, 1))
    maps = np.repeat(np.repeat(coarse, 4, 1), 4, 2) + rng.normal(0, 10, (count, *SHAPE))
    return np.clip(np.round(maps), -128, 127).astype(np.int8)


def settle(model: keras.Model, seed: int = 1) -> keras.Model:
    """Give each normalisation its own statistics, factors and offsets."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0, 0.3, size))
            layer.moving_mean.assign(rng.normal(0, 0.2, size))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, size))
    return model


def separable() -> keras.Model:
    """Convolution, depthwise, pointwise, classifier: each with normalisation and ReLU."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    x = conv_block(inputs, 8, (3, 3), (2, 2), name="stem")
    x = ds_conv(x, 8, name="ds", depthwise_norm=True)
    return settle(keras.Model(inputs, classifier(x, CLASSES), name="separable"))


def unbalance(model: keras.Model, norm: str, reader: str, reach: float = 64.0) -> np.ndarray:
    """Scale the channels behind a normalisation, and back in the depthwise layer that reads them.

    In float nothing changes; in int8 the small channels lose most of their steps.
    """
    norm_layer = model.get_layer(norm)
    depthwise = model.get_layer(reader)
    factors = np.geomspace(1 / reach, 1, norm_layer.gamma.shape[0]).astype(np.float32)
    norm_layer.gamma.assign(norm_layer.gamma * factors)
    norm_layer.beta.assign(norm_layer.beta * factors)
    kernel = depthwise.depthwise_kernel
    kernel.assign(kernel / factors[None, None, :, None])
    return factors


def outputs(tflite: bytes, features: np.ndarray) -> np.ndarray:
    """Outputs of a network by the optimised kernels, in its own scale."""
    return run_raw(open_fast(tflite), features)
