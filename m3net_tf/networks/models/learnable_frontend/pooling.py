# SPDX-License-Identifier: Apache-2.0
"""Low-pass filtering and downsampling of a filter bank's rows to frames."""

import math
from typing import Any

import numpy as np

from m3net_tf.networks.layers.precision import Float32Layer
from m3net_tf.networks.models.learnable_frontend.filterbank import Between
from m3net_tf.system.keras import keras, tf


@keras.utils.register_keras_serializable("m3net_tf")
class LowpassPooling(Float32Layer):
    """Weighted mean over windows at a hop: low-pass filter and downsampling of each row in one.

    - ``gaussian``: a Gaussian per row with learnt deviation, from one sample to a quarter of the
      window, initially a fifth of the window (LEAF, section 3.2, and its code).
    - ``hann_squared``: one fixed squared Hann window for all rows (TD-filterbanks).

    Args:
        shape: ``gaussian`` or ``hann_squared``.

    Shapes:
        (batch, bins, samples, 1) to (batch, bins, frames, 1), with one frame per complete window.
    """

    why_float32 = "energies of quiet sounds underflow in half precision"

    def __init__(
        self,
        window_samples: int = 400,
        hop_samples: int = 160,
        shape: str = "gaussian",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.shape = shape
        self._time = np.arange(window_samples, dtype=np.float32) - (window_samples - 1) / 2

    def build(self, input_shape: tf.TensorShape) -> None:
        """Count the frames; create the deviations as shares of half a window."""
        _, bins, samples, _ = input_shape
        self._frames = 1 + (samples - self.window_samples) // self.hop_samples
        if self.shape == "gaussian":
            low = 2.0 / self.window_samples  # a sample
            self.deviations = self.add_weight(
                "deviations",
                (bins,),
                initializer=keras.initializers.Constant(0.4),
                constraint=Between(low, 0.5),
            )
        super().build(input_shape)

    def taps(self) -> tf.Tensor:
        """The windows, shape (bins or 1, window_samples)."""
        if self.shape == "gaussian":
            deviation = self.deviations[:, None] * (self.window_samples / 2)
            height = 1.0 / (math.sqrt(2.0 * math.pi) * deviation)
            return height * tf.exp(-0.5 * tf.square(self._time / deviation))
        window = np.cos(math.pi * self._time / self.window_samples) ** 4
        return tf.constant((window / window.sum())[None], tf.float32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pool: sum over each hop's samples for each position of the hop in a window."""
        x = inputs[..., 0]  # (batch, bins, samples)
        bins, samples = x.shape[1:]
        positions = -(-self.window_samples // self.hop_samples)  # hops in a window
        hops = self._frames + positions - 1
        taps = tf.pad(
            self.taps(), [[0, 0], [0, positions * self.hop_samples - self.window_samples]]
        )
        taps = tf.reshape(taps, (-1, positions, self.hop_samples))
        taps = tf.broadcast_to(taps, (bins, positions, self.hop_samples))
        covered = hops * self.hop_samples
        x = tf.pad(x[..., :covered], [[0, 0], [0, 0], [0, max(0, covered - samples)]])
        x = tf.reshape(x, (-1, bins, hops, self.hop_samples))
        # Not matmul: TensorFlow 2.21's writes out of bounds when it broadcasts a single matrix.
        sums = tf.einsum("bnhs,nps->bnhp", x, taps)  # (batch, bins, hops, positions)
        return tf.add_n(
            [
                sums[:, :, position : position + self._frames, position, None]
                for position in range(positions)
            ]
        )

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        del input_shape
        return math.prod(output_shape[1:]) * self.window_samples
