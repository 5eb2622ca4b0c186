# SPDX-License-Identifier: Apache-2.0
"""DiffRes: merge unimportant frames, with learnt importance.

Liu et al., "Learning the Spectrogram Temporal Resolution for Audio Classification", AAAI 2024.

Scores s of T frames, in [0, 1] with sum <= t, divide the interval from 0 to t into T consecutive
pieces. Piece j ends at the cumulative sum c[j]. Its length between i and i + 1 is the weight
W[i, j] of input frame j in output frame i. This is equation 5 with Algorithm 1, which fills each
row with part of the frame that crosses its border. No piece is longer than 1, so each is in one
row or in two neighbouring ones. Therefore two weights per frame replace the t x T matrix, and
warping takes O(T) time and memory.
"""

import math
import numbers
from typing import Any

import numpy as np

from m3net_tf.networks.layers.diffres.released import (
    fill_scores,
    quietest_frames,
    released_guide_loss,
    require_reading,
)
from m3net_tf.networks.layers.diffres.time_pooling import mean_over_frames
from m3net_tf.networks.layers.precision import Float32Layer
from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

LOGARITHMS = {"ln": 1.0, "db": 10.0 / math.log(10.0)}
"""Feature units per unit of the natural logarithm."""


def frames_after(frames: int, reduction: float) -> int:
    """Remaining frames t = floor((1 - reduction) T), at least one.

    Raises:
        ConfigError: ``reduction`` is not between 0 and 1.
    """
    if not isinstance(reduction, numbers.Real) or not 0 < reduction < 1:
        raise ConfigError(f"reduction is {reduction!r}: give a share of the frames between 0 and 1")
    # Avoids 99.999... instead of 100 for a tenth of 1000.
    return max(1, math.floor((1 - reduction) * frames + 1e-6))


def require_one_channel(channels: int) -> None:
    """Check the number of a map's channels.

    Raises:
        ConfigError: there are several.
    """
    if channels != 1:
        raise ConfigError(f"DiffRes needs a map with 1 channel, not {channels}")


def rescale_scores(scores: tf.Tensor, frames_out: int) -> tf.Tensor:
    """Scale scores to the sum t, or to less if one of them would exceed 1 (section 2.2.1).

    The paper's s = s~ / max(s~, 1) is interpreted as follows: if an element of a clip is above 1,
    the clip is divided by its largest element. So its frames keep their proportions. Positive
    scores (batch, T) to scores in [0, 1] of the same shape, each clip's sum <= t.
    """
    # Divide by the largest first, so that scores of any size, including zero, stay finite.
    largest = tf.reduce_max(scores, axis=1, keepdims=True)
    tiny = np.finfo(scores.dtype.as_numpy_dtype).tiny
    # In clips whose scores are all zero, all frames get equal scores.
    shares = tf.where(largest > tiny, scores / tf.maximum(largest, tiny), tf.ones_like(scores))
    scaled = shares * (frames_out / tf.reduce_sum(shares, axis=1, keepdims=True))
    return scaled / tf.maximum(tf.reduce_max(scaled, axis=1, keepdims=True), 1.0)


def warp_weights(
    scores: tf.Tensor, frames_out: int, fill_rows: bool = True
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp matrix as two weights per frame (equations 5 and 9 to 12; see the module).

    Args:
        scores: rescaled scores of shape (batch, T).
        frames_out: rows t of the matrix.
        fill_rows: False omits Algorithm 1: each frame goes completely into the row in which it
            ends (equation 5 alone; the ablation of figure 8).

    Returns:
        ``row`` (int32), ``weight`` and ``next_weight``, each of shape (batch, T): frame j has
        weight ``weight`` in row ``row`` and ``next_weight`` in the following row.
    """
    # Double precision: in single precision a sum of 3000 scores would lose those below 1e-4.
    ends = tf.cumsum(tf.cast(scores, tf.float64), axis=1)
    # Rounding may exceed t: the excess is cut off, but the gradient of the sum remains.
    ends -= tf.stop_gradient(tf.maximum(ends - float(frames_out), 0.0))
    starts = tf.pad(ends[:, :-1], [[0, 0], [1, 0]])
    last = tf.constant(frames_out - 1, tf.float64)
    if fill_rows:
        row = tf.minimum(tf.floor(starts), last)
        weight = tf.minimum(ends, row + 1.0) - starts
        # Where a row is exactly full, relu's gradient is 0 and the gradient of ``weight`` is 1.
        next_weight = tf.nn.relu(ends - (row + 1.0))
    else:
        # A sum that rounding puts just above a whole number belongs to the row below.
        row = tf.clip_by_value(tf.math.ceil(ends - 1e-6) - 1.0, 0.0, last)
        weight = ends - starts
        next_weight = tf.zeros_like(ends)
    return (
        tf.cast(tf.stop_gradient(row), tf.int32),
        tf.cast(weight, scores.dtype),
        tf.cast(next_weight, scores.dtype),
    )


def warp_matrix(scores: tf.Tensor, frames_out: int, fill_rows: bool = True) -> tf.Tensor:
    """The warp matrix W (batch, t, T), for figures and tests; :func:`warp` does not need it.

    Arguments as in :func:`warp_weights`. Rows sum to 1, up to the row in which the scores end.
    """
    row, weight, next_weight = warp_weights(scores, frames_out, fill_rows)
    rows = tf.range(frames_out)[None, :, None]
    first = tf.where(rows == row[:, None], weight[:, None], 0.0)
    return first + tf.where(rows == row[:, None] + 1, next_weight[:, None], 0.0)


def warp(
    frames: tf.Tensor,
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    frames_out: int,
    maxima: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum and maximum over the weighted frames of each row (equation 6), in O(T).

    Args:
        frames: shape (batch, T, columns).
        weights: result of :func:`warp_weights`.
        frames_out: rows t.
        maxima: number of columns, from the first, for which the maximum is computed; their values
            must not be negative.

    Returns:
        Sums of shape (batch, t, columns) and maxima of shape (batch, t, maxima); zero in rows
        without frames.
    """
    row, weight, next_weight = weights
    batch = tf.shape(frames)[0]
    columns = frames.shape[2]
    clip = tf.range(batch)[:, None] * frames_out
    # The weight after the last row is zero, but its index must be valid.
    rows = tf.concat([row, tf.minimum(row + 1, frames_out - 1)], axis=1) + clip  # (batch, 2 T)
    weighted = tf.concat([frames * weight[..., None], frames * next_weight[..., None]], axis=1)
    sums = tf.math.unsorted_segment_sum(weighted, rows, batch * frames_out)
    sums = tf.reshape(sums, (-1, frames_out, columns))
    if not maxima:
        return sums, sums[..., :0]
    # Rows without frames get the lowest representable number.
    largest = tf.math.unsorted_segment_max(weighted[..., :maxima], rows, batch * frames_out)
    return sums, tf.reshape(tf.maximum(largest, 0.0), (-1, frames_out, maxima))


def activeness(scores: tf.Tensor, empty: tf.Tensor, reduction: float) -> tf.Tensor:
    """How much the scores of non-empty frames differ (equation 4): rho of each clip, (batch,).

    Rescaled scores and bools ``empty``, both (batch, T). rho is the scores' standard deviation
    divided by delta, ``reduction``; 0 if all frames are empty.
    """
    mean = mean_over_frames(scores, ~empty)
    variance = mean_over_frames(tf.square(scores - mean[:, None]), ~empty)
    return tf.sqrt(variance) / reduction


def guide_loss(
    scores: tf.Tensor, empty: tf.Tensor, reduction: float, threshold: float = 0.5
) -> tf.Tensor:
    """Penalty on scores of empty frames (equation 7): each clip's loss, shape (batch,).

    The paper's equation has a minus sign, which would reward high scores of empty frames and
    contradicts its text; this loss penalises them. Rescaled scores and bools ``empty`` have the
    shape (batch, T). Scores divided by delta, ``reduction``, are penalised above lambda,
    ``threshold``. It is 0 for clips without empty frames.
    """
    return mean_over_frames(tf.nn.relu(scores / reduction - threshold), empty)


class _LogFeatures(Float32Layer):
    """A layer that converts features, logarithms mapped to [-1, 1), to mel powers."""

    why_float32 = "mel powers exceed the range of half precision"

    def __init__(
        self, feature_min: float = -14.0, feature_max: float = 5.0, log: str = "ln", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if log not in LOGARITHMS:
            raise ConfigError(f"log is {log!r}: choose one of {', '.join(LOGARITHMS)}")
        if not feature_min < feature_max:
            raise ConfigError(
                f"feature_min and feature_max are {feature_min} and {feature_max}: min must be "
                "below max"
            )
        self.feature_min = feature_min
        self.feature_max = feature_max
        self.log = log
        self._step = (feature_max - feature_min) / 255.0 * 128.0 / LOGARITHMS[log]
        self._lowest = feature_min / LOGARITHMS[log]  # ln power of the feature -1

    def power_of(self, features: tf.Tensor) -> tf.Tensor:
        """Power of each point of a map in the network's range."""
        return tf.exp((features + 1.0) * self._step + self._lowest)

    def features_of(self, power: tf.Tensor) -> tf.Tensor:
        """The map of powers, the inverse of :meth:`power_of`."""
        floored = tf.math.log(tf.maximum(power, math.exp(self._lowest)))
        return (floored - self._lowest) / self._step - 1.0


@keras.utils.register_keras_serializable("m3net_tf")
class FrameScores(_LogFeatures):
    """Rescale the frames' scores and add the guide loss to the network's losses.

    A frame is empty if the root mean square of its mel powers is below ``energy_floor``. The
    released code has other formulas for all three (:mod:`.released`).

    Args:
        reduction: share of the frames that is removed, delta.
        guide_weight: weight of the guide loss; 0 omits it (the ablation of figure 8).
        guide_threshold: lambda of the guide loss.
        energy_floor: epsilon of equations 4 and 7, in the unit of the mel powers.
        reading: ``paper``, or ``released``, which ignores ``guide_threshold`` and ``energy_floor``.
        feature_min: value, after the logarithm, of the feature -1.
        feature_max: value of the feature 127/128.
        log: unit of both, ``ln`` or ``db``.

    Shapes:
        [features (batch, F, T, 1), scores (batch, T)] to rescaled scores (batch, T).

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(
        self,
        reduction: float,
        guide_weight: float = 1.0,
        guide_threshold: float = 0.5,
        energy_floor: float = 1e-4,
        reading: str = "paper",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reading = require_reading(reading)
        frames_after(1, reduction)  # checks it
        for name, value in (("guide_weight", guide_weight), ("energy_floor", energy_floor)):
            if value < 0:
                raise ConfigError(f"{name} is {value}: give 0 or above")
        self.reduction = reduction
        self.guide_weight = guide_weight
        self.guide_threshold = guide_threshold
        self.energy_floor = energy_floor

    def empty(self, features: tf.Tensor) -> tf.Tensor:
        """Which frames of features (batch, F, T, 1) are empty: bool, shape (batch, T)."""
        power = self.power_of(features[..., 0])
        if self.reading == "released":
            return quietest_frames(power)
        return tf.reduce_mean(tf.square(power), axis=1) < self.energy_floor**2

    def guide_loss(self, scores: tf.Tensor, empty: tf.Tensor) -> tf.Tensor:
        """Guide loss of each clip, shape (batch,), without its weight."""
        if self.reading == "released":
            return released_guide_loss(scores, empty, self.reduction)
        return guide_loss(scores, empty, self.reduction, self.guide_threshold)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        features, scores = inputs
        frames_out = frames_after(features.shape[2], self.reduction)
        scores = rescale_scores(scores, frames_out)
        if self.reading == "released":
            scores = fill_scores(scores, frames_out)
        if self.guide_weight:
            loss = self.guide_loss(scores, self.empty(tf.stop_gradient(features)))
            self.add_loss(self.guide_weight * tf.reduce_mean(loss))
        return scores


@keras.utils.register_keras_serializable("m3net_tf")
class FrameWarp(_LogFeatures):
    """Warp frames by their scores: mean, maximum and resolution encoding as channels.

    Mean and maximum are computed over mel powers and output as logarithms in the input's range;
    the encoding is the warp matrix times a positional encoding (section 2.2.2).

    Args:
        frames_out: number t of output frames, at most T.
        fill_rows: False omits Algorithm 1 (the ablation of figure 8).
        maximum: False omits the maximum (the ablation of figure 8).
        encoding: False omits the resolution encoding (the ablation of figure 8).
        maximum_scale: factor on the maximum, 1/(1 - delta) in the released code.
        feature_min: value, after the logarithm, of the feature -1.
        feature_max: value of the feature 127/128.
        log: unit of both, ``ln`` or ``db``.

    Shapes:
        [features (batch, F, T, 1), rescaled scores (batch, T)] to (batch, F, t, 3), with fewer
        channels if some are omitted.

    Raises:
        ConfigError: the features have more than one channel.
    """

    def __init__(
        self,
        frames_out: int,
        fill_rows: bool = True,
        maximum: bool = True,
        encoding: bool = True,
        maximum_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.maximum_scale = maximum_scale
        self.frames_out = frames_out
        self.fill_rows = fill_rows
        self.maximum = maximum
        self.encoding = encoding

    def build(self, input_shape: list[tf.TensorShape]) -> None:
        """Check the input's shape and precompute the positional encoding."""
        _, bins, frames, channels = input_shape[0]
        require_one_channel(channels)
        self._positions = positional_encoding(frames, bins)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        features, scores = inputs
        bins = features.shape[1]
        power = tf.transpose(self.power_of(features[..., 0]), (0, 2, 1))  # (batch, T, F)
        weights = warp_weights(scores, self.frames_out, self.fill_rows)
        columns = power
        if self.encoding:
            positions = tf.broadcast_to(self._positions, tf.shape(power))
            columns = tf.concat([power, positions], axis=2)  # (batch, T, 2 F)
        sums, maxima = warp(columns, weights, self.frames_out, bins if self.maximum else 0)
        channels = [self.features_of(sums[..., :bins])]  # (batch, t, F)
        if self.maximum:
            channels.append(self.features_of(maxima * self.maximum_scale))
        if self.encoding:
            channels.append(sums[..., bins:])
        maps = [tf.transpose(channel, (0, 2, 1)) for channel in channels]  # (batch, F, t)
        return tf.stack(maps, axis=-1)  # (batch, F, t, channels)
