# SPDX-License-Identifier: Apache-2.0
"""A linear classifier in int8, whose logits are the board's, byte for byte."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.special

from m3net_tf.compiler.arithmetic import quantize_factor, scale
from m3net_tf.compiler.structures import Factor

Int8 = npt.NDArray[np.int8]
_LARGEST_BIAS = 1 << 30


@dataclasses.dataclass(frozen=True)
class Int8Head:
    """A dense layer with int8 weights that have a scale for each class.

    Attributes:
        weights: int8, shape (channels, classes).
        bias: int32, with the share of the embedding's zero point, shape (classes,).
        factors: of each class, from sums of products to steps of the logits.
        step: of the logits.
        zero_point: of the logits.
    """

    weights: Int8
    bias: npt.NDArray[np.int64]
    factors: tuple[Factor, ...]
    step: float
    zero_point: int

    def logits(self, embeddings: Int8) -> Int8:
        """int8 logits, shape (n, classes), of int8 embeddings, shape (n, channels)."""
        sums = embeddings.astype(np.int64) @ self.weights.astype(np.int64) + self.bias
        scaled = [scale(sums[:, place], factor) for place, factor in enumerate(self.factors)]
        return np.clip(np.stack(scaled, axis=1) + self.zero_point, -128, 127).astype(np.int8)

    def scores(self, embeddings: Int8) -> npt.NDArray[np.float64]:
        """Softmax of the logits in steps of 1/256, shape (n, classes).

        Where a share is close to the middle of a step, the engine's may be one step away.
        """
        logits = self.step * (self.logits(embeddings).astype(np.float64) - self.zero_point)
        shares = scipy.special.softmax(logits, axis=1)
        return np.asarray(np.minimum(np.round(256 * shares), 255) / 256)


def int8_head(
    weights: npt.NDArray[np.floating],
    bias: npt.NDArray[np.floating],
    embeddings: Int8,
    quantization: tuple[float, int],
) -> Int8Head:
    """Quantise a linear classifier as the converter quantises a dense layer.

    Args:
        weights: of real embeddings, shape (channels, classes).
        bias: shape (classes,).
        embeddings: of windows whose logits give the range, int8 of shape (n, channels).
        quantization: their scale and zero point.
    """
    step, zero_point = quantization
    real = step * (embeddings.astype(np.float64) - zero_point) @ weights + bias
    low = min(float(real.min()), 0.0)
    high = max(float(real.max()), 0.0)
    logit_step = (high - low) / 255 or 1.0
    largest = np.abs(weights).max(axis=0) / 127
    steps = np.maximum(largest, np.abs(bias) / step / _LARGEST_BIAS)
    steps = np.where(steps > 0, steps, 1.0)
    rounded = np.round(weights / steps).astype(np.int8)
    own_bias = np.round(bias / (step * steps)).astype(np.int64)
    return Int8Head(
        rounded,
        own_bias - zero_point * rounded.astype(np.int64).sum(axis=0),
        tuple(quantize_factor(step * float(each) / logit_step) for each in steps),
        logit_step,
        int(np.clip(round(-128 - low / logit_step), -128, 127)),
    )
