# SPDX-License-Identifier: Apache-2.0
"""Layers over a sequence stored as a map of one row, shape (batch, 1, time, channel).

TFLite Micro has no 1-D convolution; a 2-D one with kernel (1, k) over such a map is equivalent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.networks.layers.mirror import Mirror
from m3net_tf.system.keras import keras, tf

LEAK = 0.01
"""Slope of LeakyReLU below zero: PyTorch's default, which the original networks used."""


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
class LeakySum(Layer):
    """LeakyReLU, with :data:`LEAK`, of the sum of two maps.

    It replaces ``Add`` and ``LeakyReLU``: after a convolution TensorFlow's graph optimiser fuses
    these three in inference and loses the slope (observed in 2.21), so inference would differ from
    training. TFLite's converter turns this form, with the small multiple first, into a LEAKY_RELU.

    Shapes:
        two of (batch, frequency, time, channels) to one of the same shape.
    """

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        total = inputs[0] + inputs[1]
        return tf.maximum(total * LEAK, total)


def conv1d_block(
    x: tf.Tensor, filters: int, kernel: int = 3, *, stride: int = 1, name: str
) -> tf.Tensor:
    """Convolution along time, batch normalisation, LeakyReLU: shapes as in :func:`conv1d`."""
    x = conv1d(x, filters, kernel, stride=stride, name=f"{name}_conv")
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return leaky_relu(x, f"{name}_lrelu")


def bidirectional_lstm(x: tf.Tensor, units: int, name: str = "bilstm") -> tf.Tensor:
    """BiLSTM: two LSTMs in opposite directions, with concatenated outputs.

    The second LSTM runs forwards over the reversed sequence, and its output is reversed back. So
    both become TFLite's UNIDIRECTIONAL_SEQUENCE_LSTM, the only LSTM of TFLite Micro. The outputs
    are joined by zero padding and addition, not by a concatenation: TFLite would give both outputs
    the scale of the concatenation but their states another one, and the int8 LSTM, which assumes
    equal scales, would compute wrong values.

    An int8 LSTM keeps its state between inferences: the caller must reset the interpreter's
    variables before each clip.

    Args:
        x: sequence of shape (batch, 1, T, channels). For int8 it must come from a convolution or an
            activation: a pooling's output must have its input's scale, but TFLite gives the
            reversed copy a different scale, and REVERSE_V2 does not convert between scales.
        units: channels of each direction.

    Returns:
        Sequence of shape (batch, 1, T, 2 * units), the forward direction's channels first.
    """
    steps, channels = x.shape[2:]
    directions = []
    for direction, padded_units in (("forward", (0, units)), ("backward", (units, 0))):
        part = f"{name}_{direction}"
        ordered = x if direction == "forward" else Mirror(time=True, name=f"{part}_turn")(x)
        rows = keras.layers.Reshape((steps, channels), name=f"{part}_steps")(ordered)
        rows = keras.layers.LSTM(units, return_sequences=True, name=f"{part}_lstm")(rows)
        states = keras.layers.Reshape((1, steps, units), name=f"{part}_row")(rows)
        if direction == "backward":
            states = Mirror(time=True, name=f"{part}_return")(states)
        image = keras.layers.Reshape((steps, units, 1), name=f"{part}_image")(states)
        padding = keras.layers.ZeroPadding2D(((0, 0), padded_units), name=f"{part}_pad")
        directions.append(padding(image))  # (batch, T, 2 units, 1)
    joined = keras.layers.Add(name=f"{name}_join")(directions)
    return keras.layers.Reshape((1, steps, 2 * units), name=f"{name}_row")(joined)


@keras.utils.register_keras_serializable("m3net_tf")
class UnrolledBiLSTM(Layer):
    """Unrolled BiLSTM with both directions in one state.

    TFLite's and TFLite Micro's int8 LSTMs round differently; the operators of this layer give the
    same bytes in both. The number of operators grows with the number of steps, so the layer is for
    short sequences. Its weights have the order and the initialisers of Keras's
    ``Bidirectional(LSTM)``. It has no state that must be reset.

    Args:
        units: channels of each direction.

    Shapes:
        (batch, 1, T, channels) to (batch, 1, T, 2 * units), the forward direction's channels
        first; T must be known when the network is built.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create both directions' weights; gates in Keras's order: input, forget, cell, output."""
        channels, units = input_shape[-1], self.units
        self.directions = []
        for name in ("forward", "backward"):
            kernel = self.add_weight(f"{name}_kernel", (channels, 4 * units))
            recurrent = self.add_weight(
                f"{name}_recurrent", (units, 4 * units), initializer="orthogonal"
            )
            forget = np.repeat([0.0, 1.0, 0.0, 0.0], units)
            bias = self.add_weight(
                f"{name}_bias", (4 * units,), initializer=keras.initializers.Constant(forget)
            )
            self.directions.append((kernel, recurrent, bias))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Run both directions, the backward one over the mirrored sequence."""
        steps, units = inputs.shape[2], self.units
        kernels, recurrents, biases = (
            [tf.cast(weight, inputs.dtype) for weight in kind]
            for kind in zip(*self.directions, strict=True)
        )
        both = tf.concat([inputs, tf.reverse(inputs, [2])], -1)  # (batch, 1, T, 2 channels)
        projected = tf.nn.conv2d(both, _side_by_side(kernels), 1, "VALID") + _gates(biases)
        recurrent = _side_by_side(recurrents)
        cell = state = None
        states = []
        for gates in tf.split(projected, steps, axis=2):  # (batch, 1, 1, 8 units)
            if state is not None:
                gates = gates + tf.nn.conv2d(state, recurrent, 1, "VALID")
            shares, candidates = tf.split(gates, [6 * units, 2 * units], -1)
            shares = tf.sigmoid(shares)
            candidates = tf.tanh(candidates)
            if cell is None:  # no cell to keep; an unused forget gate would have no int8 form
                take, show = shares[..., : 2 * units], shares[..., 4 * units :]
                cell = take * candidates
            else:
                take, keep, show = tf.split(shares, 3, -1)
                cell = keep * cell + take * candidates
            state = show * tf.tanh(cell)  # (batch, 1, 1, 2 units)
            states.append(state)
        joined = tf.concat(states, 2)
        forward, backward = tf.split(joined, 2, -1)
        return tf.concat([forward, tf.reverse(backward, [2])], -1)

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of one inference in both directions' matrices."""
        del output_shape
        _, _, steps, channels = input_shape
        return 2 * steps * (channels + self.units) * 4 * self.units


def _gates(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Reorder the last axes to input, forget, output, cell gates, each forward then backward."""
    directions = [tf.split(value, 4, -1) for value in values]
    return tf.concat([weights[gate] for gate in (0, 1, 3, 2) for weights in directions], -1)


def _side_by_side(matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """A kernel that applies two matrices of one shape to two concatenated inputs."""
    zeros = tf.zeros_like(matrices[0])
    rows = [_gates([matrices[0], zeros]), _gates([zeros, matrices[1]])]
    return tf.concat(rows, 0)[None, None]
