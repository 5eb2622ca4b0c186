# SPDX-License-Identifier: Apache-2.0
"""Private names of Keras and TensorFlow: the package uses them only through this module.

They may change with each release of TensorFlow; tests of training, of random layers and of
quantisation cover each of them.
"""

import functools
import sys
import types
from typing import Any

from tf_keras.src.layers.core.tf_op_layer import KerasOpDispatcher

from m3net_tf.system.keras import keras, keras_3_error, tf

_SYMBOLIC = keras.__internal__.KerasTensor


@functools.cache
def refuse_layers_of_keras_3() -> None:
    """Let a layer of Keras 3 fail on a symbolic tensor of Keras 2.

    Keras 2 would record each operation of such a layer, but not its weights: the network would look
    complete, and neither train nor save them.
    """
    handle = KerasOpDispatcher.handle

    def checked(dispatcher: KerasOpDispatcher, operation: Any, args: Any, kwargs: Any) -> Any:
        tensors = [x for x in tf.nest.flatten([args, kwargs]) if isinstance(x, _SYMBOLIC)]
        if tensors and _keras_3_calls():
            # Keras 3 would wrap the line in others without the attribute.
            error = keras_3_error("a layer of Keras 3 was called on a tensor of Keras 2")
            error._keras_call_info_injected = True  # type: ignore[attr-defined]
            raise error
        return handle(dispatcher, operation, args, kwargs)

    KerasOpDispatcher.handle = checked


def _keras_3_calls() -> bool:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("keras."):
            return True
        frame = frame.f_back
    return False


class RandomLayer(keras.__internal__.layers.BaseRandomLayer):  # type: ignore[misc]
    """Base of a layer that draws random numbers; it takes a ``seed``."""

    def uniform(self, shape: tf.TensorShape | tf.Tensor | tuple[int, ...]) -> tf.Tensor:
        """Draw float32 numbers from 0 to 1."""
        return self._random_generator.random_uniform(shape, dtype=tf.float32)

    def normal(
        self, shape: tf.TensorShape | tf.Tensor | tuple[int, ...], stddev: float, dtype: tf.DType
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
