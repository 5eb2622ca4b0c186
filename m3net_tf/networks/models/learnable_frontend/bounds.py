# SPDX-License-Identifier: Apache-2.0
"""Range constraint for learnt parameters of a front end."""

from __future__ import annotations

from m3net_tf.system.keras import keras, tf


class Between(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps weights within a range."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        """Clip the parameters to the range."""
        return tf.clip_by_value(weights, self.low, self.high)
