# SPDX-License-Identifier: Apache-2.0
"""DiffRes: merge the frames that matter little, and learn which those are.

Liu et al., "Learning the Spectrogram Temporal Resolution for Audio Classification", AAAI 2024.

Scores s of T frames, in [0, 1] and of sum <= t, cut the line from 0 to t into T pieces in order.
Piece j ends at the cumulative sum c[j]; what of it lies between i and i + 1 is the weight W[i, j]
of input frame j in output frame i. That is equation 5 with Algorithm 1: the algorithm takes from
the frame that crosses a border just what the row before still lacks. As no piece is longer than
one, each lies in one row or in two neighbouring ones, so that two weights a frame say all that the
t x T matrix does, and warping takes time and memory of O(T).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras, tf
from m3net_tf.layers.precision import Float32Layer
from m3net_tf.models.diffres.time_pooling import check_frames_in, check_frames_out
from m3net_tf.positions import positional_encoding

LOGARITHMS = {"ln": 1.0, "db": 10.0 / math.log(10.0)}
"""Units of the features in one unit of the natural logarithm."""


def frames_after(frames: int, reduction: float) -> int:
    """Frames t = floor((1 - reduction) T) that are left of T, at least one.

    Raises:
        ConfigError: ``reduction`` is not between 0 and 1.
    """
    if not 0 < reduction < 1:
        raise ConfigError(f"reduction is {reduction}: give a share of the frames between 0 and 1")
    # A tenth of 1000 is 100, not 99.999...
    return max(1, math.floor((1 - reduction) * frames + 1e-6))


def rescale_scores(scores: tf.Tensor, frames_out: int) -> tf.Tensor:
    """Scores whose sum is t, or less where one of them would exceed 1 (section 2.2.1).

    The paper's s = s~ / max(s~, 1) is read as: where an element of a clip is above 1, the clip
    is divided by its largest. So its frames keep their proportions.

    Args:
        scores: positive scores of shape (batch, T).
        frames_out: t.

    Returns:
        Scores in [0, 1] of the same shape, each clip's sum <= t.
    """
    # Divided by the largest first, so that scores of any size, zeros too, stay finite.
    largest = tf.reduce_max(scores, axis=1, keepdims=True)
    tiny = np.finfo(scores.dtype.as_numpy_dtype).tiny
    # Clips without any score at all are rated evenly.
    shares = tf.where(largest > tiny, scores / tf.maximum(largest, tiny), tf.ones_like(scores))
    scaled = shares * (frames_out / tf.reduce_sum(shares, axis=1, keepdims=True))
    return scaled / tf.maximum(tf.reduce_max(scaled, axis=1, keepdims=True), 1.0)


def warp_weights(
    scores: tf.Tensor, frames_out: int, fill_rows: bool = True
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp matrix as two weights a frame (equations 5 and 9 to 12; see the module).

    Args:
        scores: rescaled scores of shape (batch, T).
        frames_out: rows t of the matrix.
        fill_rows: False leaves Algorithm 1 out: each frame goes whole into the row in which it
            ends (equation 5 alone; the ablation of figure 8).

    Returns:
        ``row`` (int32), ``here`` and ``next_row``, each of shape (batch, T): frame j has weight
        ``here`` in row ``row`` and ``next_row`` in the row after it.
    """
    # Double precision: a sum of 3000 scores would lose those below 1e-4.
    ends = tf.cumsum(tf.cast(scores, tf.float64), axis=1)
    # What rounding put above t is cut off; the gradient is that of the sum all the same.
    ends -= tf.stop_gradient(tf.maximum(ends - float(frames_out), 0.0))
    starts = tf.pad(ends[:, :-1], [[0, 0], [1, 0]])
    last = tf.constant(frames_out - 1, tf.float64)
    if fill_rows:
        row = tf.minimum(tf.floor(starts), last)
        here = tf.minimum(ends, row + 1.0) - starts
        # Rectified: at 0, where a row is just full, its gradient is 0 and that of ``here`` 1.
        next_row = tf.nn.relu(ends - (row + 1.0))
    else:
        # A sum that rounding left just above a whole number still belongs to the row below.
        row = tf.clip_by_value(tf.math.ceil(ends - 1e-6) - 1.0, 0.0, last)
        here, next_row = ends - starts, tf.zeros_like(ends)
    return (
        tf.cast(tf.stop_gradient(row), tf.int32),
        tf.cast(here, scores.dtype),
        tf.cast(next_row, scores.dtype),
    )


def warp_matrix(scores: tf.Tensor, frames_out: int, fill_rows: bool = True) -> tf.Tensor:
    """The warp matrix itself, for figures and tests; :func:`warp` does without.

    Args:
        scores: rescaled scores of shape (batch, T).
        frames_out: rows t.
        fill_rows: apply Algorithm 1.

    Returns:
        W of shape (batch, t, T). Rows sum to 1 up to the one in which the scores end.
    """
    row, here, next_row = warp_weights(scores, frames_out, fill_rows)
    rows = tf.range(frames_out)[None, :, None]
    own = tf.where(rows == row[:, None], here[:, None], 0.0)
    return own + tf.where(rows == row[:, None] + 1, next_row[:, None], 0.0)


def warp(
    frames: tf.Tensor,
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    frames_out: int,
    maxima: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum, and maximum, over the weighted frames of each row (equation 6), in O(T).

    Args:
        frames: shape (batch, T, columns).
        weights: what :func:`warp_weights` returned.
        frames_out: rows t.
        maxima: how many of the columns, from the first, get a maximum as well; they must not be
            negative.

    Returns:
        Sums of shape (batch, t, columns) and maxima of shape (batch, t, maxima); zero in rows
        without frames.
    """
    row, here, next_row = weights
    batch, columns = tf.shape(frames)[0], frames.shape[2]
    clip = tf.range(batch)[:, None] * frames_out
    # The weight that spills over the last row is zero; its index has to be valid all the same.
    rows = tf.concat([row, tf.minimum(row + 1, frames_out - 1)], axis=1) + clip  # (batch, 2 T)
    weighted = tf.concat([frames * here[..., None], frames * next_row[..., None]], axis=1)
    sums = tf.math.unsorted_segment_sum(weighted, rows, batch * frames_out)
    sums = tf.reshape(sums, (-1, frames_out, columns))
    if not maxima:
        return sums, sums[..., :0]
    # Rows without a frame come out as the lowest number there is.
    largest = tf.math.unsorted_segment_max(weighted[..., :maxima], rows, batch * frames_out)
    return sums, tf.reshape(tf.maximum(largest, 0.0), (-1, frames_out, maxima))


def activeness(scores: tf.Tensor, empty: tf.Tensor, reduction: float) -> tf.Tensor:
    """How much the scores of non-empty frames differ (equation 4).

    Args:
        scores: rescaled scores of shape (batch, T).
        empty: which frames are empty, bool, of the same shape.
        reduction: delta.

    Returns:
        rho of each clip, shape (batch,): the scores' standard deviation over delta; 0 where all
        frames are empty.
    """
    active = tf.cast(~empty, scores.dtype)
    count = tf.reduce_sum(active, axis=1)
    mean = tf.math.divide_no_nan(tf.reduce_sum(scores * active, axis=1), count)
    spread = tf.reduce_sum(tf.square(scores - mean[:, None]) * active, axis=1)
    return tf.sqrt(tf.math.divide_no_nan(spread, count)) / reduction


def guide_loss(
    scores: tf.Tensor, empty: tf.Tensor, reduction: float, threshold: float = 0.5
) -> tf.Tensor:
    """Penalty on scores of empty frames (equation 7).

    The paper prints a minus sign in front, which would reward high scores of empty frames against
    its own text; this one penalises them.

    Args:
        scores: rescaled scores of shape (batch, T).
        empty: which frames are empty, bool, of the same shape.
        reduction: delta.
        threshold: lambda, from which on scores over delta are penalised.

    Returns:
        Loss of each clip, shape (batch,), 0 or above; 0 for clips without empty frames.
    """
    chosen = tf.cast(empty, scores.dtype)
    excess = tf.nn.relu(scores / reduction - threshold)
    count = tf.reduce_sum(chosen, axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(excess * chosen, axis=1), count)


class _LogFeatures(Float32Layer):
    """A layer that needs mel powers and gets features: logarithms mapped onto [-1, 1)."""

    why_float32 = "mel powers do not fit into half precision"

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

    def _power(self, features: tf.Tensor) -> tf.Tensor:
        return tf.exp((features + 1.0) * self._step + self._lowest)

    def _features(self, power: tf.Tensor) -> tf.Tensor:
        floored = tf.math.log(tf.maximum(power, math.exp(self._lowest)))
        return (floored - self._lowest) / self._step - 1.0

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        own = {key: getattr(self, key) for key in ("feature_min", "feature_max", "log")}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("m3net_tf")
class FrameScores(_LogFeatures):
    """Rescale the frames' scores, and add the guide loss to the network's losses.

    A frame is empty where the root mean square of its mel powers is below ``energy_floor``.

    Args:
        reduction: share of the frames that is to go, delta.
        guide_weight: weight of the guide loss; 0 leaves it out (the ablation of figure 8).
        guide_threshold: the guide loss's lambda.
        energy_floor: epsilon of equations 4 and 7, in the unit of the mel powers.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < reduction < 1:
            raise ConfigError(f"reduction is {reduction}: give a share between 0 and 1")
        for name, value in (("guide_weight", guide_weight), ("energy_floor", energy_floor)):
            if value < 0:
                raise ConfigError(f"{name} is {value}: give 0 or above")
        self.reduction = reduction
        self.guide_weight = guide_weight
        self.guide_threshold = guide_threshold
        self.energy_floor = energy_floor

    def empty(self, features: tf.Tensor) -> tf.Tensor:
        """Which frames of features (batch, F, T, 1) are empty: bool, shape (batch, T)."""
        energy = tf.reduce_mean(tf.square(self._power(features[..., 0])), axis=1)
        return energy < self.energy_floor**2

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Rescale."""
        features, scores = inputs
        scores = rescale_scores(scores, frames_after(features.shape[2], self.reduction))
        if self.guide_weight:
            empty = self.empty(tf.stop_gradient(features))
            loss = guide_loss(scores, empty, self.reduction, self.guide_threshold)
            self.add_loss(self.guide_weight * tf.reduce_mean(loss))
        return scores

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        own = ("reduction", "guide_weight", "guide_threshold", "energy_floor")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


@keras.utils.register_keras_serializable("m3net_tf")
class FrameWarp(_LogFeatures):
    """Warp frames by their scores: mean, maximum and resolution encoding as channels.

    Mean and maximum are those of mel powers, whose logarithm goes out in the input's own range;
    the encoding is the warp matrix times a positional encoding (section 2.2.2).

    Args:
        frames_out: frames t that go out.
        fill_rows: False leaves out Algorithm 1 (the ablation of figure 8).
        maximum: False leaves out the maximum (the ablation of figure 8).
        encoding: False leaves out the resolution encoding (the ablation of figure 8).
        feature_min: value, after the logarithm, of the feature -1.
        feature_max: value of the feature 127/128.
        log: unit of both, ``ln`` or ``db``.

    Shapes:
        [features (batch, F, T, 1), rescaled scores (batch, T)] to (batch, F, t, 3), or fewer
        channels where some are left out.

    Raises:
        ConfigError: the features have more than one channel or fewer frames than are to go out.
    """

    def __init__(
        self,
        frames_out: int,
        fill_rows: bool = True,
        maximum: bool = True,
        encoding: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.frames_out = check_frames_out(frames_out)
        self.fill_rows = fill_rows
        self.maximum = maximum
        self.encoding = encoding

    def build(self, input_shape: list[tf.TensorShape]) -> None:
        """Check the input's form and tabulate the positional encoding."""
        _, bins, frames, channels = input_shape[0]
        if channels != 1:
            raise ConfigError(f"DiffRes warps a map with 1 channel, not {channels}")
        check_frames_in(self.frames_out, frames)
        self._positions = positional_encoding(frames, bins)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Warp."""
        features, scores = inputs
        bins = features.shape[1]
        power = tf.transpose(self._power(features[..., 0]), (0, 2, 1))  # (batch, T, F)
        weights = warp_weights(scores, self.frames_out, self.fill_rows)
        columns = power
        if self.encoding:
            positions = tf.broadcast_to(self._positions, tf.shape(power))
            columns = tf.concat([power, positions], axis=2)  # (batch, T, 2 F)
        sums, maxima = warp(columns, weights, self.frames_out, bins if self.maximum else 0)
        channels = [self._features(sums[..., :bins])]  # (batch, t, F)
        if self.maximum:
            channels.append(self._features(maxima))
        if self.encoding:
            channels.append(sums[..., bins:])
        maps = [tf.transpose(channel, (0, 2, 1)) for channel in channels]  # (batch, F, t)
        return tf.stack(maps, axis=-1)  # (batch, F, t, channels)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer."""
        own = ("frames_out", "fill_rows", "maximum", "encoding")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
