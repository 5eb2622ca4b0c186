# SPDX-License-Identifier: Apache-2.0
"""Compression of energies: PCEN or a logarithm."""

import math

from m3net_tf.networks.layers.precision import Float32Layer
from m3net_tf.networks.models.learnable_frontend.filterbank import Between
from m3net_tf.system.keras import keras, tf

ENERGY_FLOOR = 1e-7
"""Floor of mean energies in a window; LEAF's code uses 1e-5 for sums over windows of sum ~200."""

#: Of PCEN: initial value as in LEAF, smallest and largest value.
_PARAMETERS = {
    "alpha": (0.96, 0.0, 1.0),
    "smoothing": (0.04, 0.0, 1.0),
    "delta": (2.0, 1e-3, math.inf),
    "root": (2.0, 1.0, math.inf),
}


@keras.utils.register_keras_serializable("m3net_tf")
class PCEN(Float32Layer):
    """Per-channel energy normalisation with four learnt parameters per row.

    Wang et al., "Trainable Frontend for Robust and Far-Field Keyword Spotting", ICASSP 2017, learnt
    as in LEAF (section 3.3): (E / M^alpha + delta)^(1/root) - delta^(1/root), where
    M[t] = (1 - s) M[t - 1] + s E[t] starts at the first frame. Constraints: alpha and s in [0, 1],
    root >= 1, delta > 0.

    Shapes:
        energies (batch, bins, frames, 1) to a map of the same shape.
    """

    why_float32 = "energies of quiet sounds underflow in half precision"

    def build(self, input_shape: tf.TensorShape) -> None:
        self._parameters = {
            name: self.add_weight(
                name,
                (input_shape[1], 1, 1),
                initializer=keras.initializers.Constant(start),
                constraint=Between(*span),
            )
            for name, (start, *span) in _PARAMETERS.items()
        }
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Divide by the smoothed energy, then compress."""
        parameters = self._parameters
        energy = tf.maximum(inputs, ENERGY_FLOOR)
        smooth = exponential_average(energy, parameters["smoothing"])
        gain = tf.pow(smooth, -parameters["alpha"])
        delta, exponent = parameters["delta"], 1.0 / parameters["root"]
        return tf.pow(energy * gain + delta, exponent) - tf.pow(delta, exponent)


def exponential_average(x: tf.Tensor, smoothing: tf.Tensor) -> tf.Tensor:
    """M[t] = (1 - s) M[t - 1] + s x[t] with M[0] = x[0], in log2 T steps over all frames at once.

    x and M have the shape (batch, bins, T, 1), s, ``smoothing``, (bins, 1, 1).
    """
    average = tf.concat([x[:, :, :1], smoothing * x[:, :, 1:]], axis=2)
    keep, reach, frames = 1.0 - smoothing, 1, x.shape[2]
    while reach < frames:  # an average covers the last ``reach`` frames; double that
        earlier = tf.pad(average[:, :, :-reach], [[0, 0], [0, 0], [reach, 0], [0, 0]])
        average += keep * earlier
        keep, reach = keep * keep, 2 * reach
    return average


@keras.utils.register_keras_serializable("m3net_tf")
class LogEnergy(Float32Layer):
    """ln(E + :data:`ENERGY_FLOOR`) of energies.

    Shapes:
        (batch, bins, frames, 1) in and out.
    """

    why_float32 = "energies of quiet sounds underflow in half precision"

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.math.log(inputs + ENERGY_FLOOR)
