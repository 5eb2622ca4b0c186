# SPDX-License-Identifier: Apache-2.0
"""Multi-scale audio context embedding module (MACEM) of the bilateral raw-audio network.

Sun et al. 2025 (network.py), section 3.1.1, equations 1 to 4. Sequences are maps of one row,
(batch, 1, time, channel).
"""

from m3net_tf.networks.layers.precision import average_pooling
from m3net_tf.networks.models.bilateral.sequence import LeakySum, conv1d, leaky_relu
from m3net_tf.system.keras import keras, tf

KERNELS = (1, 7, 15)
WIDE_KERNEL = 7
REDUCTION, FEWEST = 8, 4
"""Compression of the scores' hidden layer (the paper: "compression"), and its fewest channels: with
a single channel whose ReLU is inactive, all clips would get equal scores."""


def audio_context_embedding(x: tf.Tensor, kind: str, name: str = "macem") -> tf.Tensor:
    """MACEM-A (equations 1 to 3) or MACEM-B (equation 4 for the first): H to Q, (batch, 1, T, C).

    Kind ``a`` concatenates the three scales and reduces them to C channels; ``b`` sums them.
    """
    channels = x.shape[-1]
    scales = []
    for kernel in KERNELS:
        scale = conv1d(x, channels, kernel, name=f"{name}_scale{kernel}")
        scales.append(leaky_relu(scale, f"{name}_scale{kernel}_lrelu"))
    if kind == "a":
        joined = keras.layers.Concatenate(name=f"{name}_join")(scales)  # (1, T, 3C)
        m = conv1d(joined, channels, WIDE_KERNEL, name=f"{name}_narrow")  # (1, T, C)
    else:
        m = keras.layers.Add(name=f"{name}_sum")(scales)
    m = keras.layers.ReLU(name=f"{name}_m")(m)
    weighed = weigh_channels(m, name)  # M times M'
    skip = conv1d(x, channels, WIDE_KERNEL, name=f"{name}_skip")
    return LeakySum(name=f"{name}_q")([weighed, skip])  # equation 3


def compressed_pools(x: tf.Tensor, name: str) -> tf.Tensor:
    """Mean and maximum over time, each followed by two 1 x 1 convolutions with ReLU between.

    (batch, 1, T, C) to (batch, 1, 2, C). Both share the convolutions, as in CBAM: they form a
    sequence of two steps.
    """
    channels = x.shape[-1]
    average = average_pooling(x, x.shape[1:3], f"{name}_avg")
    largest = keras.layers.MaxPooling2D(x.shape[1:3], name=f"{name}_max")(x)
    pools = keras.layers.Concatenate(axis=2, name=f"{name}_pools")([average, largest])
    hidden = conv1d(
        pools, max(channels // REDUCTION, FEWEST), name=f"{name}_squeeze"
    )  # (1, 2, C/8)
    hidden = keras.layers.ReLU(name=f"{name}_relu")(hidden)
    return conv1d(hidden, channels, name=f"{name}_expand")  # (1, 2, C)


def weigh_channels(x: tf.Tensor, name: str) -> tf.Tensor:
    """X times the scores of its channels (equations 2 and 6): the sigmoid of the sum of both paths.

    (batch, 1, T, C) in and out.
    """
    paths = compressed_pools(x, f"{name}_channels")  # (1, 2, C)
    crops = {"average": ((0, 0), (0, 1)), "largest": ((0, 0), (1, 0))}
    steps = [
        keras.layers.Cropping2D(crop, name=f"{name}_channels_{path}")(paths)
        for path, crop in crops.items()
    ]
    summed = keras.layers.Add(name=f"{name}_channels_sum")(steps)  # (1, 1, C)
    scores = keras.layers.Activation("sigmoid", name=f"{name}_channels_scores")(summed)
    return keras.layers.Multiply(name=f"{name}_weighed")([x, scores])
