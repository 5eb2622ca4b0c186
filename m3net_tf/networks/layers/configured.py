# SPDX-License-Identifier: Apache-2.0
"""Bases of layers: of the networks' own, and of those for networks of others."""

import inspect
from typing import Any

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, require_keras_2, tf
from m3net_tf.system.keras_internals import refuse_layers_of_keras_3

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Configured:
    """Adds to a layer's configuration the arguments of its constructor and of its bases.

    Each argument is an attribute of the same name. Stands before Keras's class among the bases.
    """

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the layer."""
        config: dict[str, object] = super().get_config()  # type: ignore[misc]
        for kind in reversed(type(self).__mro__):
            if issubclass(kind, Configured) and "__init__" in vars(kind):
                _, *arguments = inspect.signature(vars(kind)["__init__"]).parameters.values()
                names = [argument.name for argument in arguments if argument.kind in _NAMED]
                config |= {name: getattr(self, name) for name in names}
        return config


class Layer(Configured, keras.layers.Layer):  # type: ignore[misc]
    """Base of the networks' layers."""


class MapLayer(keras.layers.Layer):  # type: ignore[misc]
    """Base of layers for networks of others: says in one line what does not fit."""

    channels = "channels"  # how an error names their number

    def __init__(self, *, name: str | None, trainable: bool, dtype: Any) -> None:
        require_keras_2(type(self).__name__, dtype)
        refuse_layers_of_keras_3()
        super().__init__(name=name, trainable=trainable, dtype=dtype)

    def __call__(self, inputs: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Apply the layer to a map of Keras 2, or to an array."""
        require_keras_2(type(self).__name__, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def require_map(self, shape: Any) -> None:
        """Check the input's shape.

        Raises:
            ConfigError: it is not the shape of one map whose sizes are known.
        """
        try:
            sizes = tf.TensorShape(shape).as_list()
        except (TypeError, ValueError):  # several inputs, or no known rank
            sizes = []
        if len(sizes) != 4 or None in sizes[1:]:
            raise ConfigError(
                f"{type(self).__name__} was given {shape}, not one map (batch, bins, frames, "
                f"{self.channels}) of known sizes: add keras.layers.Reshape in front of it, or "
                "name all sizes in keras.Input"
            )
