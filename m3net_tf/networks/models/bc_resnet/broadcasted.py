# SPDX-License-Identifier: Apache-2.0
"""Broadcasted residual learning: temporal features, averaged over frequency, are broadcast back.

Kim et al., "Broadcasted Residual Learning for Efficient Keyword Spotting", Interspeech 2021.
"""

from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.networks.layers.precision import average_pooling
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

_EPSILON = 1e-3  # added to the variance, as in Keras's normalisation


@keras.utils.register_keras_serializable("m3net_tf")
class SubSpectralNorm(Layer):
    """Batch normalisation of each channel in each of several frequency bands.

    Chang et al., "SubSpectral Normalization for Neural Audio Data Processing", ICASSP 2021, with a
    scale and shift for each channel and band. If the number of bands does not divide the bins,
    some bands have one bin more than others.

    Args:
        bands: number of frequency bands.

    Shapes:
        (batch, frequency, time, channels) in and out.

    Raises:
        ConfigError: the map has fewer bins than ``bands``.
    """

    def __init__(self, bands: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bands = bands

    def build(self, input_shape: tf.TensorShape) -> None:
        """Assign the bins to bands; create scale, shift and statistics of each band and channel."""
        bins, channels = input_shape[1], input_shape[-1]
        if bins < self.bands:
            raise ConfigError(
                f"a map of {bins} bins cannot have {self.bands} bands: give fewer bands or more "
                "bins"
            )
        self._band_of_bin = np.arange(bins) * self.bands // bins
        member = np.equal.outer(np.arange(self.bands), self._band_of_bin)
        self._average = (member / member.sum(1, keepdims=True)).astype(np.float32)  # (bands, bins)
        shape = (self.bands, channels)
        self.gamma = self.add_weight("gamma", shape, initializer="ones")
        self.beta = self.add_weight("beta", shape, initializer="zeros")
        running = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
            "experimental_autocast": False,
        }
        self.moving_mean = self.add_weight("moving_mean", shape, initializer="zeros", **running)
        self.moving_variance = self.add_weight(
            "moving_variance", shape, initializer="ones", **running
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalise by the batch's statistics in training, otherwise by the running statistics."""
        x = tf.cast(inputs, tf.float32)  # half precision is too narrow for squares
        if training and self.trainable:
            bin_mean, bin_variance = tf.nn.moments(x, (0, 2))  # (F, channels)
            mean = tf.matmul(self._average, bin_mean)  # (bands, channels)
            spread = bin_variance + tf.square(bin_mean - tf.gather(mean, self._band_of_bin))
            variance = tf.matmul(self._average, spread)
            for old, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                old.assign(NORM_MOMENTUM * old + (1.0 - NORM_MOMENTUM) * new)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = tf.cast(self.gamma, tf.float32) * tf.math.rsqrt(variance + _EPSILON)
        shift = tf.cast(self.beta, tf.float32) - mean * scale
        scale, shift = (
            tf.gather(table, self._band_of_bin)[:, None] for table in (scale, shift)
        )  # (F, 1, channels)
        return tf.cast(x * scale + shift, inputs.dtype)


def broadcasted_residual(
    x: tf.Tensor,
    filters: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bands: int = 5,
    dropout: float = 0.1,
    name: str = "bc",
) -> tf.Tensor:
    """BC-ResBlock (sections 2.2 and 2.3): y = x + f2(x) + BC(f1(mean over frequency of f2(x))).

    If the number of channels changes, this is the transition block: it starts with a 1 x 1
    convolution and has no skip.

    Args:
        x: map of shape (batch, F, T, channels).
        stride: stride in frequency; 1 unless the number of channels changes.
        dilation: dilation of f1's convolution in time.
        bands: bands of the sub-spectral normalisation.
        dropout: share of f1's channels dropped in training.

    Returns:
        Map of shape (batch, ceil(F / stride), T, filters).
    """
    skip = x if x.shape[-1] == filters else None
    if skip is None:
        x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_in_conv")(x)
        x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_in_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_in_relu")(x)
    x = keras.layers.DepthwiseConv2D((3, 1), padding="same", use_bias=False, name=f"{name}_f2_dw")(
        x
    )
    if stride > 1:
        # Keras and TensorFlow require equal strides in both directions: drop the other rows here.
        x = keras.layers.MaxPooling2D((1, 1), (stride, 1), name=f"{name}_f2_rows")(x)
    f2 = SubSpectralNorm(bands, name=f"{name}_f2_ssn")(x)  # (F / stride, T, filters)

    y = average_pooling(f2, (f2.shape[1], 1), f"{name}_mean")  # (1, T, filters)
    y = keras.layers.DepthwiseConv2D(
        (1, 3), padding="same", dilation_rate=(1, dilation), use_bias=False, name=f"{name}_f1_dw"
    )(y)
    y = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_f1_bn")(y)
    y = keras.layers.Activation("swish", name=f"{name}_f1_swish")(y)
    y = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_f1_pw")(y)
    if dropout:
        y = keras.layers.SpatialDropout2D(dropout, name=f"{name}_f1_dropout")(y)

    total = keras.layers.Add(name=f"{name}_broadcast")([f2, y])
    if skip is not None:
        total = keras.layers.Add(name=f"{name}_skip")([total, skip])
    return keras.layers.ReLU(name=f"{name}_relu")(total)
