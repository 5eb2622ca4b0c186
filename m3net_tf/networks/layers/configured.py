# SPDX-License-Identifier: Apache-2.0
"""Layers whose configuration is their arguments."""

import inspect

from m3net_tf.system.keras import keras

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
