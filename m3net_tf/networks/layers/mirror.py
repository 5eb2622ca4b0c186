# SPDX-License-Identifier: Apache-2.0
"""Reversal of a time-frequency map."""

from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

FREQUENCY_AXIS, TIME_AXIS = 1, 2


@keras.utils.register_keras_serializable("m3net_tf")
class Mirror(Layer):
    """Reverse a map along time, frequency or both; the layer is its own inverse.

    HMF (time), VMF (frequency) and CSF (both) of M3Net, section 2.2, equations 2, 3 and 5.

    Args:
        time: reverse the frames (HMF).
        frequency: reverse the bins (VMF).

    Shapes:
        (batch, frequency, time, channels) in and out.

    Raises:
        ConfigError: neither axis is chosen, or the input does not have four dimensions.
    """

    def __init__(self, *, time: bool = False, frequency: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (time or frequency):
            raise ConfigError("Mirror reverses nothing: set time, frequency or both")
        self.time = time
        self.frequency = frequency

    def build(self, input_shape: tf.TensorShape) -> None:
        """Check the input's shape."""
        if len(input_shape) != 4:
            raise ConfigError(
                f"Mirror was given {input_shape}, not a map (batch, bins, frames, channels): add "
                "keras.layers.Reshape in front of it"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # One operator for both axes: with two, the converter reuses VMF's map for the first one,
        # which keeps a whole map in the arena until DFP.
        chosen = {FREQUENCY_AXIS: self.frequency, TIME_AXIS: self.time}
        return tf.reverse(inputs, [axis for axis, reverses in chosen.items() if reverses])
