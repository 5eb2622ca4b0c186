# SPDX-License-Identifier: Apache-2.0
"""Views of a map that are not mirrors: controls of the mirror attention."""

from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.mirror import FREQUENCY_AXIS, TIME_AXIS
from m3net_tf.system.keras import keras, tf


@keras.utils.register_keras_serializable("m3net_tf")
class Rearranged(Layer):
    """Rearrange the frames, the bins or both of a map, in the same way for every map.

    It takes the place of :class:`m3net_tf.networks.layers.Mirror`: no weights, no arithmetic.

    Args:
        kind: ``shuffle``, a fixed random order, which has other neighbours than the map; or
            ``shift``, by half of the axis, around its end, which keeps the neighbours.
        time: rearrange the frames.
        frequency: rearrange the bins.

    Shapes:
        (batch, frequency, time, channels) in and out.
    """

    def __init__(
        self, kind: str, *, time: bool = False, frequency: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.time = time
        self.frequency = frequency

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for axis, chosen in ((FREQUENCY_AXIS, self.frequency), (TIME_AXIS, self.time)):
            if chosen:
                inputs = tf.gather(inputs, self._order(inputs.shape[axis], axis), axis=axis)
        return inputs

    def _order(self, size: int, axis: int) -> npt.NDArray[np.int64]:
        if self.kind == "shift":
            return np.roll(np.arange(size), size // 2)
        return np.random.default_rng(axis).permutation(size)
