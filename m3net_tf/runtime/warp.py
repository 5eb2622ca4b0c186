# SPDX-License-Identifier: Apache-2.0
"""DiffRes's warp between two int8 networks, in integer arithmetic.

It is bit-exact with ``firmware/core/warp.c``. Inputs are int8 features and int8 scores of frames;
the output is the classifier's int8 map of mean, maximum and resolution encoding. The float layer
(:class:`m3net_tf.networks.layers.diffres.warp.FrameWarp`) differs only in the final rounding.

Scores p of T frames, 0 to 255, become pieces of t p units, and each of the t output rows has
``whole = max(sum(p), t max(p))`` units: the rescaling of section 2.2.1 without a division. So a
frame's weight in a row is an integer number of units. Powers are integers from a table of 256, sums
are exact in 64 bits, and the logarithm is computed once per output value.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.errors import ModelError

Int8 = npt.NDArray[np.int8]

LOG2_CELLS = 128
"""Cells of the table of logarithms; linear interpolation is exact to 2e-5 octaves."""
_FRACTION_BITS = 16  # of logarithms
_POSITION_ONE = 1 << 15
_LEAST_POWER_BITS = 6  # of the lowest power, which the table then rounds by less than one per cent
_MOST_UNITS_BITS = 20  # of a row, so that sums of positions fit 32 bits
_CLIPS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class WarpConfig:
    """Configuration of a warp, from the trained layer.

    Attributes:
        frames_in: number of input frames T.
        frames_out: number of output frames t.
        ln_min: natural logarithm of the mel power of int8 feature -128.
        ln_max: natural logarithm of the mel power of int8 feature 127.

    Raises:
        ModelError: the sums would exceed 64 bits, or low powers would lose too much precision.
    """

    bins: int
    frames_in: int
    frames_out: int
    ln_min: float
    ln_max: float

    def __post_init__(self) -> None:
        if not 1 <= self.frames_out <= self.frames_in:
            raise ModelError(
                f"a warp cannot convert {self.frames_in} frames to {self.frames_out}: train with "
                "model.reduction between 0 and 1"
            )
        if self._units_bits > _MOST_UNITS_BITS:
            raise ModelError(
                f"{self.frames_in} frames are too many for the warp on a device: train on at most "
                f"{(1 << _MOST_UNITS_BITS) // 255}"
            )
        if self.top_bits - (self.ln_max - self.ln_min) / math.log(2) < _LEAST_POWER_BITS:
            raise ModelError(
                f"the range of the features, {self.ln_min:.4g} to {self.ln_max:.4g} after the "
                "logarithm, is too wide for the warp on a device: narrow frontend.feature_min and "
                "feature_max"
            )

    @property
    def _units_bits(self) -> int:
        """Bits of the largest number of units in a row."""
        return (255 * self.frames_in).bit_length()

    @property
    def top_bits(self) -> int:
        """Base-2 logarithm of the power of feature 127."""
        return 64 - self._units_bits

    @property
    def gain(self) -> int:
        """Feature steps per octave, times 65536."""
        octaves = (self.ln_max - self.ln_min) / math.log(2)
        return round(255.0 / octaves * (1 << _FRACTION_BITS))

    @functools.cached_property
    def powers(self) -> npt.NDArray[np.uint64]:
        """Mel powers of the features -128 to 127, shape (256,)."""
        below_top = (255 - np.arange(256)) * ((self.ln_max - self.ln_min) / 255.0)
        # Round to 32 bits first: the last bits of an exponential differ between computers.
        mantissa, exponent = np.frexp(np.exp(-below_top))
        mantissa = np.round(mantissa * 2.0**32)
        return np.asarray(np.round(np.ldexp(mantissa, exponent + self.top_bits - 32)), np.uint64)

    @functools.cached_property
    def positions(self) -> npt.NDArray[np.int16]:
        """Positional encoding, 32768 for 1, shape (frames_in, bins)."""
        encoding = positional_encoding(self.frames_in, self.bins).astype(np.float64)
        most = _POSITION_ONE - 1
        return np.clip(np.round(encoding * _POSITION_ONE), -most, most).astype(np.int16)


@functools.cache
def log2_table() -> npt.NDArray[np.uint32]:
    """log2(1 + i / LOG2_CELLS) times 65536, shape (LOG2_CELLS + 1,)."""
    cells = np.arange(LOG2_CELLS + 1) / LOG2_CELLS
    return np.round(np.log2(1 + cells) * (1 << _FRACTION_BITS)).astype(np.uint32)


def warp_int8(config: WarpConfig, features: Int8, scores: Int8) -> Int8:
    """Merge frames by their scores.

    Args:
        features: int8 features, shape (clips, bins, frames_in, 1).
        scores: the frames' int8 scores before rescaling (scale 1/256, zero point -128), shape
            (clips, frames_in).

    Returns:
        Mean, maximum and resolution encoding, int8 of scale 1/128, shape
        (clips, bins, frames_out, 3).
    """
    starts = range(0, len(features), _CLIPS_AT_ONCE)
    parts = [slice(start, start + _CLIPS_AT_ONCE) for start in starts]
    return np.concatenate([_warp(config, features[part], scores[part]) for part in parts])


def _warp(config: WarpConfig, features: Int8, scores: Int8) -> Int8:
    units = scores.astype(np.int64) + 128  # (clips, T)
    units[(units == 0).all(1)] = 1  # equal scores for clips whose scores are all zero
    out = config.frames_out
    whole = np.maximum(units.sum(1), out * units.max(1))[:, None]
    ends = out * units.cumsum(1)
    starts = ends - out * units
    row = np.minimum(starts // whole, out - 1)
    weight_here = np.minimum(ends, (row + 1) * whole) - starts
    weight_next = ends - starts - weight_here

    clips = np.arange(len(units))[:, None]
    next_row = np.minimum(row + 1, out - 1)
    frames = features[..., 0].transpose(0, 2, 1).astype(np.int64)  # (clips, T, bins)
    power = config.powers[frames + 128]
    shape = (len(units), out, config.bins)
    sums, largest = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    encoding = np.zeros(shape, np.int64)
    for target, weight in ((row, weight_here), (next_row, weight_next)):
        weighted = power * weight[..., None].astype(np.uint64)
        np.add.at(sums, (clips, target), weighted)
        np.maximum.at(largest, (clips, target), weighted)
        np.add.at(encoding, (clips, target), config.positions * weight[..., None])
    # Rounded to nearest; the offset keeps the dividend positive.
    step = (_POSITION_ONE >> 7) * whole[..., None]
    encoded = np.minimum((encoding + step // 2 + 128 * step) // step, 255) - 128
    channels = [_features(config, sums, whole), _features(config, largest, whole), encoded]
    return np.stack(channels, axis=-1).transpose(0, 2, 1, 3).astype(np.int8)


def _log2(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """log2 of positive integers, times 65536, interpolated linearly in the table."""
    exponent = np.zeros(values.shape, np.int64)
    mantissa = values.copy()
    for shift in (32, 16, 8, 4, 2, 1):  # normalise: shift the leading bit to the top
        low = mantissa < np.uint64(1) << np.uint64(64 - shift)
        mantissa = np.where(low, mantissa << np.uint64(shift), mantissa)
        exponent += np.where(low, 0, shift)
    cell = (mantissa >> np.uint64(56)).astype(np.int64) & (LOG2_CELLS - 1)
    fraction = (mantissa >> np.uint64(40)).astype(np.int64) & 0xFFFF
    table = log2_table().astype(np.int64)
    line = table[cell] + ((table[cell + 1] - table[cell]) * fraction >> 16)
    return np.asarray((exponent << _FRACTION_BITS) + line, np.int64)


def _features(
    config: WarpConfig, sums: npt.NDArray[np.uint64], whole: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """int8 features of sums of powers times units."""
    octaves = _log2(np.maximum(sums, np.uint64(1)))
    octaves -= _log2(whole.astype(np.uint64))[..., None] + (config.top_bits << _FRACTION_BITS)
    # Steps above the lowest feature, rounded to nearest if not negative.
    steps = octaves * config.gain + (255 << 32) + (1 << 31)
    features = np.where(steps > 0, np.minimum(steps >> 32, 255), 0) - 128
    return np.where(sums > 0, features, -128)
