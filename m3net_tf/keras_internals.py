# SPDX-License-Identifier: Apache-2.0
"""Private names of Keras and TensorFlow: the package uses them only through this module.

They may change with each release of TensorFlow; tests of training, of random layers and of
quantisation cover each of them.
"""

from __future__ import annotations

from m3net_tf.keras import keras, tf


class RandomLayer(keras.__internal__.layers.BaseRandomLayer):
    """Base of a layer that draws random numbers; it takes a ``seed``."""

    def uniform(self, shape: tf.TensorShape | tf.Tensor | tuple) -> tf.Tensor:
        """Draw float32 numbers from 0 to 1."""
        return self._random_generator.random_uniform(shape, dtype=tf.float32)

    def normal(
        self, shape: tf.TensorShape | tf.Tensor | tuple, stddev: float, dtype: tf.DType
    ) -> tf.Tensor:
        """Draw numbers of mean 0 and this standard deviation."""
        return self._random_generator.random_normal(shape, stddev=stddev, dtype=dtype)


def random_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of a network that draw random numbers, Keras's own among them."""
    base = keras.__internal__.layers.BaseRandomLayer
    return [layer for layer in model.layers if isinstance(layer, base)]


def reseed(layer: keras.layers.Layer, seed: int) -> None:
    """Restart the random numbers of one of :func:`random_layers`."""
    layer._random_generator._generator.reset_from_seed(seed)


def loss_scale_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """The loss scale of half precision and its counter; empty without half precision."""
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return []
    scale = optimizer._loss_scale
    return [scale._current_loss_scale, scale._counter]


def only_calibrate(converter: tf.lite.TFLiteConverter) -> None:
    """Let a converter write a float network with calibrated ranges instead of an int8 one."""
    converter._experimental_calibrate_only = True
