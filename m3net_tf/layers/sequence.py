# SPDX-License-Identifier: Apache-2.0
"""Layers over a sequence that is kept as a map of one row, shape (batch, 1, time, channel).

TFLite Micro knows no 1-D convolution; one of kernel (1, k) over such a map is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from m3net_tf.keras import keras, tf
from m3net_tf.layers.convolution import NORM_MOMENTUM
from m3net_tf.layers.mirror import Mirror

LEAK = 0.01
"""Slope of LeakyReLU below zero: PyTorch's, in which the networks that use it were written."""


def conv1d(
    x: tf.Tensor,
    filters: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    name: str,
) -> tf.Tensor:
    """Convolution along time: (batch, 1, T, C) to (batch, 1, ceil(T / stride), filters)."""
    return keras.layers.Conv2D(
        filters,
        (1, kernel),
        (1, stride),
        padding="same",
        dilation_rate=(1, dilation),
        name=name,
    )(x)


def leaky_relu(x: tf.Tensor, name: str) -> tf.Tensor:
    """LeakyReLU with :data:`LEAK`."""
    return keras.layers.LeakyReLU(LEAK, name=name)(x)


@keras.utils.register_keras_serializable("m3net_tf")
class LeakySum(keras.layers.Layer):
    """LeakyReLU, with :data:`LEAK`, of the sum of two maps.

    Not an ``Add`` and a ``LeakyReLU``: behind a convolution TensorFlow's graph optimiser fuses
    these three in inference and loses the slope (seen in 2.21), so a trained network would give
    other answers than in training. TFLite's converter makes a LEAKY_RELU of this form, with the
    small multiple first.

    Shapes:
        two of (batch, frequency, time, channels) to one of the same shape.
    """

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Add and rectify."""
        total = inputs[0] + inputs[1]
        return tf.maximum(total * LEAK, total)


def conv1d_block(
    x: tf.Tensor, filters: int, kernel: int = 3, *, stride: int = 1, name: str
) -> tf.Tensor:
    """Convolution along time, batch normalisation, LeakyReLU.

    Args:
        x: sequence of shape (batch, 1, T, channels).
        filters: channels out.
        kernel: extent in time.
        stride: step in time.
        name: prefix of the layers' names.

    Returns:
        Sequence of shape (batch, 1, ceil(T / stride), filters).
    """
    x = conv1d(x, filters, kernel, stride=stride, name=f"{name}_conv")
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return leaky_relu(x, f"{name}_lrelu")


def bidirectional_lstm(x: tf.Tensor, units: int, name: str = "bilstm") -> tf.Tensor:
    """BiLSTM: one LSTM from the first step to the last and one the other way, joined.

    The second one runs forward over the reversed sequence, and its result is reversed back: so
    both become TFLite's UNIDIRECTIONAL_SEQUENCE_LSTM, the only LSTM that TFLite Micro has. They
    are joined by padding each with zeros and adding, not by a concatenation: TFLite would give
    both the scale of what they are joined to, but their states another one, and the int8 LSTM,
    which takes these for the same, would go astray.

    An int8 LSTM keeps its state from one inference to the next: who runs it resets the
    interpreter's variables before each clip.

    Args:
        x: sequence of shape (batch, 1, T, channels). For int8 let it come from a convolution or an
            activation: a pooling's result must have its input's scale, while TFLite gives the
            reversed copy one of its own and REVERSE_V2 converts nothing.
        units: channels of each direction.
        name: prefix of the layers' names.

    Returns:
        Sequence of shape (batch, 1, T, 2 * units), the forward direction's channels first.
    """
    steps, channels = x.shape[2:]
    directions = []
    for direction, place in (("forward", (0, units)), ("backward", (units, 0))):
        part = f"{name}_{direction}"
        turned = x if direction == "forward" else Mirror(time=True, name=f"{part}_turn")(x)
        rows = keras.layers.Reshape((steps, channels), name=f"{part}_steps")(turned)
        rows = keras.layers.LSTM(units, return_sequences=True, name=f"{part}_lstm")(rows)
        states = keras.layers.Reshape((1, steps, units), name=f"{part}_row")(rows)
        if direction == "backward":
            states = Mirror(time=True, name=f"{part}_return")(states)
        image = keras.layers.Reshape((steps, units, 1), name=f"{part}_image")(states)
        padding = keras.layers.ZeroPadding2D(((0, 0), place), name=f"{part}_pad")
        directions.append(padding(image))  # (batch, T, 2 units, 1)
    joined = keras.layers.Add(name=f"{name}_join")(directions)
    return keras.layers.Reshape((1, steps, 2 * units), name=f"{name}_row")(joined)
