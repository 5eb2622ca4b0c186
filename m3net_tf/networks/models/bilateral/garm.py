# SPDX-License-Identifier: Apache-2.0
"""Global audio refinement module (GARM) of the bilateral raw-audio network.

Sun et al. 2025 (network.py), section 3.2.1, equations 5 to 9. Sequences are maps of one row,
(batch, 1, time, channel).
"""

from m3net_tf.networks.models.bilateral.macem import WIDE_KERNEL, compressed_pools, weigh_channels
from m3net_tf.networks.models.bilateral.sequence import LeakySum, conv1d, leaky_relu
from m3net_tf.system.keras import keras, tf

SCALES = ((1, 1), (15, 3), (15, 9))
"""Kernel and dilation of the three convolutions of equation 5."""


def audio_refinement(x: tf.Tensor, name: str = "garm") -> tf.Tensor:
    """Sum three dilated scales, weigh the channels twice, add the convolved input.

    H to Q, both (batch, 1, T, C).
    """
    channels = x.shape[-1]
    scales = []
    for kernel, dilation in SCALES:
        part = f"{name}_scale{dilation}"
        scale = conv1d(x, channels, kernel, dilation=dilation, name=part)
        scales.append(leaky_relu(scale, f"{part}_lrelu"))
    summed = keras.layers.Add(name=f"{name}_sum")(scales)
    k = conv1d(summed, channels, name=f"{name}_mix")  # equation 5
    k = keras.layers.ReLU(name=f"{name}_k")(k)
    n = weigh_channels(k, name)  # equations 6 and 7
    paths = compressed_pools(n, f"{name}_refined")
    joined = keras.layers.Reshape((1, 1, 2 * channels), name=f"{name}_refined_join")(paths)
    halved = conv1d(joined, channels, WIDE_KERNEL, name=f"{name}_refined_halve")  # (1, 1, C)
    scores = keras.layers.Activation("sigmoid", name=f"{name}_refined_scores")(halved)
    refined = keras.layers.Multiply(name=f"{name}_refined_weighed")([n, scores])  # equation 8
    skip = conv1d(x, channels, WIDE_KERNEL, name=f"{name}_skip")
    return LeakySum(name=f"{name}_q")([refined, skip])  # equation 9
