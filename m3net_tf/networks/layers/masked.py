# SPDX-License-Identifier: Apache-2.0
"""Means and normalisation for padded batches, which use only each clip's own frames."""

from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.precision import mean_pool
from m3net_tf.system.keras import keras, tf


def map_mean(
    x: tf.Tensor,
    valid: tf.Tensor | None = None,
    axes: tuple[int, ...] = (1, 2),
    training: bool | None = None,
) -> tf.Tensor:
    """Mean over axes of a map whose padded frames are zero; the axes are kept with size 1.

    Args:
        x: map of shape (batch, F, T, channels), zero in padded frames.
        valid: (batch, 1, T, 1), 1 for a clip's own frames; default: all frames count.
        axes: 1 (frequency), 2 (time) or both.
    """
    bins, frames = (x.shape[axis] if axis in axes else 1 for axis in (1, 2))
    if training or None in (bins, frames):
        mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    else:  # on a device a pooling is much faster than a mean
        mean = mean_pool(x, (bins, frames))
    if valid is not None and 2 in axes:
        mean /= tf.reduce_mean(tf.cast(valid, x.dtype), axis=2, keepdims=True)
    return mean


@keras.utils.register_keras_serializable("m3net_tf")
class FrameMask(Layer):
    """Mask of the frames of a padded map that belong to its clip.

    Args:
        step: frames of the clip per frame of the map, the product of the strides so far.

    Shapes:
        Map (batch, F, T, channels) and lengths of the clips in frames, (batch, 1) or (batch,), to
        (batch, 1, T, 1): 1 for the first ceil(length / step) frames, then 0.
    """

    def __init__(self, step: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def call(self, inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Compare each frame's index with the length; an empty clip counts as one frame."""
        own_frames = tf.maximum(-(-tf.cast(tf.reshape(lengths, (-1, 1)), tf.int32) // self.step), 1)
        valid = tf.range(tf.shape(inputs)[2])[None] < own_frames  # (batch, T)
        return tf.cast(valid, inputs.dtype)[:, None, :, None]


@keras.utils.register_keras_serializable("m3net_tf")
class MapMean(Layer):
    """Mean over frequency, time or both, without padded frames.

    Args:
        frequency: average over the bins.
        time: average over the frames.

    Shapes:
        (batch, F, T, channels), zero in padded frames, to the same with size 1 along the averaged
        axes; ``valid`` is (batch, 1, T, 1).
    """

    def __init__(self, *, frequency: bool = True, time: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frequency = frequency
        self.time = time

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        axes = tuple(axis for axis, chosen in ((1, self.frequency), (2, self.time)) if chosen)
        return map_mean(inputs, valid, axes, training)


@keras.utils.register_keras_serializable("m3net_tf")
class CentredBins(Layer):
    """Each bin of a map without its mean over the clip's own frames.

    Shapes:
        (batch, F, T, channels) in and out, zero in padded frames; ``valid`` is (batch, 1, T, 1).
    """

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Add the negative mean: int8 sums are rounded equally everywhere, differences are not."""
        centred = inputs + map_mean(inputs * -1.0, valid, (2,), training)
        return centred if valid is None else centred * valid


@keras.utils.register_keras_serializable("m3net_tf")
class GroupNorm(Layer):
    """Group normalisation that ignores padded frames and uses operators with int8 kernels.

    Wu and He, "Group Normalization", ECCV 2018, equations 2 to 6. Maps stay four-dimensional: the
    mean over a group's channels is a 1 x 1 convolution with a constant kernel.

    Args:
        groups: number of groups, lowered to the next divisor of the number of channels.
        epsilon: added to the variance.

    Shapes:
        (batch, F, T, channels) in and out; ``valid`` is (batch, 1, T, 1). Frames where it is 0 do
        not count, and their outputs are zero.
    """

    def __init__(self, groups: int = 4, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = input_shape[-1]
        groups = next(n for n in range(min(self.groups, channels), 0, -1) if channels % n == 0)
        size = channels // groups
        self.spread = np.kron(np.eye(groups), np.full((size, size), 1 / size))[None, None]
        self.gamma = self.add_weight("gamma", (channels,), initializer="ones")
        self.beta = self.add_weight("beta", (channels,), initializer="zeros")
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Normalise each group of channels of each map; set padded frames to zero."""
        x = tf.cast(inputs, tf.float32)  # half precision is too narrow for squares
        if valid is not None:
            valid = tf.cast(valid, tf.float32)
            x *= valid
        spread = tf.constant(self.spread, tf.float32)
        # Add the negative mean: TFLite and TFLite Micro round int8 sums equally, but not
        # differences.
        minus_mean = tf.nn.conv2d(map_mean(x, valid, training=training), -spread, 1, "VALID")
        centred = x + minus_mean
        if valid is not None:
            centred *= valid
        power = centred * centred
        extent = power.shape[1]
        if not training and extent is not None:
            # An int8 pooling keeps its input's scale, which the largest square determines, so small
            # variances would round to zero. A mean by convolution has its own scale.
            kernel = tf.fill((extent, 1, power.shape[-1], 1), 1.0 / extent)
            power = tf.nn.depthwise_conv2d(power, kernel, (1, 1, 1, 1), "VALID")
        power = map_mean(power, valid, training=training)
        variance = tf.nn.conv2d(power, spread, 1, "VALID")  # (batch, 1, 1, channels)
        scale = tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, tf.float32)
        outputs = centred * scale + tf.cast(self.beta, tf.float32)
        if valid is not None:
            outputs *= valid
        return tf.cast(outputs, inputs.dtype)


@keras.utils.register_keras_serializable("m3net_tf")
class PointNorm(Layer):
    """Layer normalisation over the channels of each point, with operators that have int8 kernels.

    Ba et al., "Layer Normalization", as ConvNeXt and NAFNet use it on maps. Keras's own layer
    becomes transpositions and means on a device.

    Args:
        epsilon: added to the variance.

    Shapes:
        (batch, F, T, channels) in and out.
    """

    def __init__(self, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        self.gamma = self.add_weight("gamma", (input_shape[-1],), initializer="ones")
        self.beta = self.add_weight("beta", (input_shape[-1],), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = tf.cast(inputs, tf.float32)  # half precision is too narrow for squares
        channels = x.shape[-1]
        average = tf.fill((1, 1, channels, 1), 1.0 / channels)
        centred = x + tf.nn.conv2d(x, -average, 1, "VALID")  # as in GroupNorm; (batch, F, T, 1)
        variance = tf.nn.conv2d(centred * centred, average, 1, "VALID")
        outputs = centred * tf.math.rsqrt(variance + self.epsilon)
        outputs = outputs * tf.cast(self.gamma, tf.float32) + tf.cast(self.beta, tf.float32)
        return tf.cast(outputs, inputs.dtype)
