# SPDX-License-Identifier: Apache-2.0
"""Guided aggregation module (GAM) of the bilateral raw-audio network, and its alternatives.

Sun et al. 2025 (network.py), section 3.3, equations 10 and 11, and table 7. Sequences are maps of
one row, (batch, 1, time, channel).
"""

from m3net_tf.networks.layers.precision import average_pooling
from m3net_tf.networks.models.bilateral.sequence import conv1d, leaky_relu
from m3net_tf.system.keras import keras, tf


def guided_aggregation(semantic: tf.Tensor, detail: tf.Tensor, name: str = "gam") -> tf.Tensor:
    """Weight the channels of the semantic branch by the detail branch: O = S D' + S.

    S (batch, 1, T, C) and D (batch, 1, any length, C) to O of S's shape. The equations give D' one
    value per channel but do not define the reduction over time. Here D is averaged first, as in the
    other modules.
    """
    channels = semantic.shape[-1]
    d = average_pooling(detail, detail.shape[1:3], f"{name}_avg")
    for index in (1, 2):
        d = leaky_relu(conv1d(d, channels, name=f"{name}_conv{index}"), f"{name}_lrelu{index}")
    scores = keras.layers.Activation("sigmoid", name=f"{name}_scores")(d)  # (batch, 1, 1, C)
    guided = keras.layers.Multiply(name=f"{name}_guided")([semantic, scores])
    return keras.layers.Add(name=f"{name}_out")([guided, semantic])


def fuse(semantic: tf.Tensor, detail: tf.Tensor, kind: str, name: str = "fusion") -> tf.Tensor:
    """Join S and D, both (batch, 1, T, C), as one of the rows of table 7.

    ``gam`` (:func:`guided_aggregation`), ``sum``, or ``concat``, which gives 2C channels.
    """
    if kind == "gam":
        return guided_aggregation(semantic, detail, name)
    join = keras.layers.Add if kind == "sum" else keras.layers.Concatenate
    return join(name=f"{name}_{kind}")([semantic, detail])
