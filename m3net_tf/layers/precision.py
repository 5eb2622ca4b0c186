# SPDX-License-Identifier: Apache-2.0
"""Layers that leave mixed precision aside."""

from __future__ import annotations

from typing import Any

from m3net_tf.keras import keras


class Float32Layer(keras.layers.Layer):
    """A layer that computes in single precision whatever the policy.

    Its inputs are cast on the way in; the next layer casts what it gets by its own policy.

    Attributes:
        why_float32: what half precision would break; each such layer says it.
    """

    why_float32 = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer; the type is none of them."""
        config = super().get_config()
        config.pop("dtype")
        return config
