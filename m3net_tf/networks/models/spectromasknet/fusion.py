# SPDX-License-Identifier: Apache-2.0
"""Learnt weighted sum of two branches."""

from collections.abc import Sequence
from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.keras import keras, tf


@keras.utils.register_keras_serializable("m3net_tf")
class WeightedFusion(Layer):
    """F = lambda F_G + (1 - lambda) F_L with a learnt scalar.

    SpectroMaskNet, "Feature fusion strategy". The L2 penalty is one of the model's losses.

    Args:
        start: initial value of lambda.
        l2: factor of the penalty lambda^2; 0 for none.

    Shapes:
        Two tensors of one shape to one of the same shape.
    """

    def __init__(self, start: float = 0.5, l2: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.l2 = l2

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        self.weight = self.add_weight(
            "lambda",
            (),
            initializer=keras.initializers.Constant(self.start),
            regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
        )
        super().build(input_shape)

    def learnt(self) -> dict[str, float]:
        """Learnt values for the training log."""
        return {"lambda": float(self.weight.numpy())}

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        first, second = inputs
        weight = tf.cast(self.weight, first.dtype)
        return weight * first + (1.0 - weight) * second
