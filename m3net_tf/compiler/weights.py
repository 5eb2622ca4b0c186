# SPDX-License-Identifier: Apache-2.0
"""Weights and channels of convolutions.

Weights are written in groups of channels; macros of firmware/engine/weights.h put a group into the
order in which the target's kernels read it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.arithmetic import scale, wrap
from m3net_tf.compiler.structures import Array, Factor, round_up

GROUP = 4  # channels that a kernel computes at once
PAIR = 2  # items that one SMLAD multiplies
LARGEST_INPUT = 128  # absolute value of an int8 item
PLAIN_BLOCK = "m3net_plain_block"
WINOGRAD_BLOCK = "m3net_winograd_block"
BLOCKS = ("m3net_block", PLAIN_BLOCK, WINOGRAD_BLOCK)
"""Types of items of arrays of a convolution's weights."""

_TWIN_BITS = 8  # M3NET_TWIN_BITS

Weights = npt.NDArray[np.int64]


def convolution_blocks(weights: Weights) -> Array:
    """Weights of a convolution, shape (output channels, items of a window).

    With the DSP extension, two channels' weights for an item are one number of 16 bits: the lower
    one plus 256 times the upper one. An upper one of -128 beside a negative one does not fit: such
    weights are ``plain``.

    Returns:
        Array of ``m3net_block`` or ``m3net_plain_block``, values of shape (groups of four channels,
        4, items). Missing channels and items, up to a multiple of four, have zeros.
    """
    blocks = _grouped("m3net_block", weights, 2 * PAIR)
    lower, upper = blocks.values[:, 0::2], blocks.values[:, 1::2]
    twins = lower + (upper << _TWIN_BITS)
    fits = twins.min() >= -(1 << 15)
    return blocks if fits else dataclasses.replace(blocks, ctype=PLAIN_BLOCK)


_TRANSFORM = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.int64
)
"""24 G of Winograd's F(4, 3): six numbers of three weights."""


def winograd_items(groups: Weights) -> Weights:
    """Weights of 3 x 3 windows, transformed by row for firmware/engine/winograd.c.

    Args:
        groups: values of :func:`convolution_blocks`, shape (groups of channels, 4, items).

    Returns:
        Shape (groups, pairs of items of the windows' columns, 48): for each of six products a pair
        of each of four channels. Pairs are the first and the third of four items, and the others.
    """
    count, channels, items = groups.shape
    fours = groups.reshape(count, channels, 3, 3, items // 36, 2, PAIR)  # rows, columns, fours
    # Axes: group, channel, row, four, item of a pair, pair, product.
    products = np.einsum("gcrxfij,kx->grfjkci", fours, _TRANSFORM)
    transformed: Weights = products.reshape(count, items // 6, 6 * channels * PAIR)
    return transformed


def depthwise_taps(weights: Weights) -> Array:
    """Weights of a depthwise convolution, shape (taps, channels).

    Returns:
        Array of ``m3net_tap``, values of shape (groups of four channels, 4, taps), with zeros as
        in :func:`convolution_blocks`; the number of taps is even.
    """
    return _grouped("m3net_tap", weights.T, PAIR)


def _grouped(ctype: str, weights: Weights, multiple: int) -> Array:
    """Weights of shape (channels, items) in groups of channels, padded with zeros."""
    channels, items = weights.shape
    padded = np.zeros((round_up(channels, GROUP), round_up(items, multiple)), np.int64)
    padded[:channels, :items] = weights
    groups = padded.reshape(-1, GROUP, padded.shape[1])
    return Array("weights", ctype, groups)


def convolution_bytes(weights: Weights) -> Array:
    """Weights of a convolution of int16 inputs, shape (output channels, items of a window).

    Returns:
        Array of ``int8_t``: for each four channels, for each pair of items, the pair of the first
        two channels and then of the other two, item by item, with zeros as in
        :func:`convolution_blocks`.
    """
    channels, items = weights.shape
    padded = np.zeros((round_up(channels, GROUP), round_up(items, PAIR)), np.int64)
    padded[:channels, :items] = weights
    groups = padded.reshape(-1, 2, GROUP // 2, padded.shape[1] // PAIR, PAIR)
    return plain_bytes(groups.transpose(0, 3, 1, 4, 2))


def plain_bytes(weights: Weights) -> Array:
    """Weights of one byte in the given order."""
    return Array("weights", "int8_t", weights.reshape(-1))


def long_channel_rows(bias: Weights, factors: list[Factor]) -> Array:
    """Bias and requantisation of int16 outputs: an array of ``m3net_channel_16``."""
    rows = [
        (int(start), factor.multiplier, factor.shift)
        for start, factor in zip(bias, factors, strict=True)
    ]
    return Array("channels", "m3net_channel_16", np.array(rows, np.int64))


def channel_rows(
    bias: Weights, factors: list[Factor], spread: Weights, zero_point: int
) -> tuple[Array, bool]:
    """Bias and requantisation of int8 outputs, one row for each channel.

    Args:
        bias: initial value of each channel's accumulator.
        factors: factors from accumulators to outputs.
        spread: largest absolute value of what is added to each accumulator.
        zero_point: zero point of the output.

    Returns:
        Array of ``m3net_channel``, and whether all channels take the short form.
    """
    channels = [
        _Channel(int(start), int(most), factor, zero_point).simplified()
        for start, most, factor in zip(bias, spread, factors, strict=True)
    ]
    narrow = all(channel.is_narrow for channel in channels)
    rows = [
        (
            int(wrap(each.bias)),
            each.factor.multiplier,
            *_shifts(each.factor, each.zero_point, narrow),
        )
        for each in channels
    ]
    missing = round_up(len(rows), GROUP) - len(rows)
    rows += [(0, 0, 0, 0, 0)] * missing
    return Array("channels", "m3net_channel", np.array(rows, np.int64)), narrow


@dataclasses.dataclass(frozen=True)
class _Channel:
    """An int8 output channel; see :func:`channel_rows`."""

    bias: int
    spread: int
    factor: Factor
    zero_point: int

    @property
    def _reach(self) -> int:
        """Largest absolute value of the sum."""
        return abs(self.bias) + self.spread

    def simplified(self) -> _Channel:
        """The same outputs by a factor of zero if all are equal, as with weights of zero."""
        if self._reach << max(self.factor.shift, 0) >= 1 << 31:
            return self
        ends = np.array([self.bias - self.spread, self.bias + self.spread])
        outputs = np.clip(scale(ends, self.factor) + self.zero_point, -128, 127).tolist()
        if outputs[0] != outputs[1]:
            return self
        return _Channel(0, self.spread, Factor(0, -1), outputs[0])

    @property
    def is_narrow(self) -> bool:
        """Whether no step of the short requantisation can overflow, so that it is exact."""
        left, right = max(self.factor.shift, 0), max(-self.factor.shift, 0)
        if right < 1 or right > 30:
            return False
        doubled = self._reach << (left + 1)
        offset = abs((1 << (right - 1)) + self.zero_point * (1 << right))
        return doubled < 1 << 31 and (doubled >> 1) + 1 + offset < 1 << 31


def _shifts(factor: Factor, zero_point: int, narrow: bool) -> tuple[int, int, int]:
    """Offset, left and right shift of a channel.

    Narrow layers have no left shift. Theirs moves an output of 32 bits to the highest byte.
    """
    left, right = max(factor.shift, 0), max(-factor.shift, 0)
    if narrow:
        return (1 << (right - 1)) + zero_point * (1 << right), 24 - right, right
    return zero_point, left, right
