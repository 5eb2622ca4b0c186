# SPDX-License-Identifier: Apache-2.0
"""Shorter requantisation with the DSP extension, where it is proved to give the same bytes.

TensorFlow Lite rounds the product of a sum and a multiplier, and what is left of it after a shift.
A brief channel takes one product and one shift that is the same for all channels::

    output = saturate((multiplier * (sum + added) / 2^(32 - scale) + offset) >> shift)

The product is rounded, `added` lies in the bias. Both functions of the sum are monotone, so they
are equal for all sums if each output begins at the same sum. :func:`brief_layer` searches a
multiplier, an offset and an added number for which all outputs do that a channel's sums can have.

Only layers whose zero point is -128, as after ReLU, are tried. With others TensorFlow Lite rounds
halves of negative sums the other way, which moves where their outputs begin.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.arithmetic import Integers, scale
from m3net_tf.compiler.limits import may_search
from m3net_tf.compiler.operators.common import INT8_MAX, INT8_MIN
from m3net_tf.compiler.structures import Convolution, Factor, row_parts
from m3net_tf.compiler.weights import GROUP

_REACH = 1 << 23  # of sums, so that an upper channel's one has 24 bits
_MULTIPLIERS = np.arange(-128, 129)
_BEST = 8
_OFFSETS = (1 << 12, 1 << 16)
_STEPS = 1 << 13  # for :func:`.may_search`, of a channel


class _Form(NamedTuple):
    """How a kernel computes outputs: sums are shifted left, products right (M3NET_BRIEF_*)."""

    left: int
    right: int
    multiplier_bits: int = 31


# In C the depthwise form is also m3net_requantize_narrow(), which rounds negative sums. A kernel
# doubles the multiplier instead of the sums.
_DEPTHWISE = _Form(1, 3, 30)
_LOWER, _UPPER = _Form(0, 4), _Form(8, 12)


class _Constants(NamedTuple):
    multiplier: int
    offset: int
    added: int


@dataclasses.dataclass(frozen=True)
class _Channel:
    """A channel whose sums lie between two numbers."""

    least: int
    most: int
    factor: Factor
    zero_point: int

    def outputs(self, sums: npt.ArrayLike) -> Integers:
        """The outputs by TensorFlow Lite's arithmetic."""
        values = scale(sums, self.factor) + self.zero_point
        return np.asarray(np.clip(values, INT8_MIN, INT8_MAX), np.int64)

    def starts(self) -> tuple[Integers, Integers]:
        """Each output but the least one, and the least sum that gives it."""
        first, last = self.outputs([self.least, self.most]).tolist()
        outputs = np.arange(first + 1, last + 1)
        below, above = np.full(len(outputs), self.least), np.full(len(outputs), self.most)
        while (above - below > 1).any():
            middle = (below + above) // 2
            reached = self.outputs(middle) >= outputs
            above = np.where(reached, middle, above)
            below = np.where(reached, below, middle)
        return outputs, above


def usual_layer(layer: Convolution) -> Convolution:
    """The layer with constants for TensorFlow Lite's arithmetic alone."""
    usual, _ = row_parts(layer.channels)
    channels = dataclasses.replace(layer.channels, values=usual)
    return dataclasses.replace(layer, channels=channels, brief=False) if layer.brief else layer


def brief_layer(layer: Convolution, kernel: str) -> Convolution:
    """The layer with constants for both forms, or for one if a channel has no brief ones.

    Args:
        kernel: the name of its kernel, as of :attr:`.Call.function`.
    """
    layer, count = usual_layer(layer), layer.output.channels
    depthwise = kernel.startswith("convolve_depthwise")
    if not (depthwise or kernel == "convolve") or count % GROUP:
        return layer
    if not (layer.narrow and layer.full):
        return layer
    rows = layer.channels.values
    channels = _channels(layer)
    if any(each.zero_point != INT8_MIN for each in channels if each.factor.multiplier):
        return layer
    forms = [_DEPTHWISE] if depthwise else [_LOWER, _UPPER]
    if layer.alike and layer.pixels == 1 and not depthwise:  # the first channel's stand for all
        ends = [each.least for each in channels], [each.most for each in channels]
        every = dataclasses.replace(channels[0], least=min(ends[0]), most=max(ends[1]))
        found = [_constants(every, _LOWER)] * count
    else:
        found = []
        for number, channel in enumerate(channels):
            found.append(_constants(channel, forms[number % len(forms)]))
            if found[-1] is None:
                return layer
    brief = [
        (row[0] + each.added, each.multiplier, each.offset, 0, forms[number % len(forms)].right)
        for number, (row, each) in enumerate(zip(rows.tolist(), found, strict=True))
        if each is not None
    ]
    if len(brief) < count:
        return layer
    both = np.concatenate([rows, np.array(brief, np.int64)], axis=1)
    return dataclasses.replace(
        layer, channels=dataclasses.replace(layer.channels, values=both), brief=True
    )


def _channels(layer: Convolution) -> list[_Channel]:
    """The channels with the ranges of their sums, for any int8 inputs."""
    weights = layer.weights.values.reshape(-1, layer.weights.values.shape[2])
    upper, lower = np.maximum(weights, 0).sum(axis=1), np.minimum(weights, 0).sum(axis=1)
    bias, multiplier, offset, _, right = layer.channels.values.T
    least = bias + INT8_MIN * upper + INT8_MAX * lower
    most = bias + INT8_MAX * upper + INT8_MIN * lower
    return [
        _Channel(low, high, Factor(factor, -shift), place >> shift)
        for low, high, factor, shift, place in zip(
            *(each.tolist() for each in (least, most, multiplier, right, offset)), strict=True
        )
    ]


def _constants(channel: _Channel, form: _Form) -> _Constants | None:
    """Constants with which all outputs begin at the same sums; None if none are found."""
    half = 1 << (form.right - 1)
    if not channel.factor.multiplier:
        return _Constants(0, (channel.zero_point << form.right) + half, 0)
    if max(-channel.least, channel.most) >= _REACH or not may_search(_STEPS):
        return None
    outputs, starts = channel.starts()
    first = int(channel.outputs(channel.least))
    if not len(outputs):
        return _Constants(0, (first << form.right) + half, 0)
    unit = 32 + form.right - form.left
    real = channel.factor.multiplier * 2.0 ** (channel.factor.shift - 31 + unit)
    multipliers = round(real) + _MULTIPLIERS
    multipliers = multipliers[(multipliers > 0) & (multipliers < 1 << form.multiplier_bits)]
    # An output begins at (output - offset) * 2^unit / multiplier - added, rounded up.
    places = outputs * 2.0**unit / multipliers[:, None] - starts
    lower, upper = places.max(axis=1), places.min(axis=1) + 1
    best = np.argsort(lower - upper)[:_BEST]
    best = best[upper[best] > lower[best]]
    # A negative sum must give -128, for the kernels that round it down.
    least_added = -(channel.least if first > INT8_MIN else int(starts[0]))
    for count in _OFFSETS:
        for index in best.tolist() if may_search(count) else ():
            multiplier, width = int(multipliers[index]), upper[index] - lower[index]
            middle = (lower[index] + upper[index]) / 2
            step = 2.0 ** (32 - form.left) / multiplier
            offsets = round(middle / step - 0.5) + np.arange(-count, count + 1)
            rest = middle - (offsets + 0.5) * step
            added = np.rint(rest)
            fits = (np.abs(rest - added) < 0.49 * width) & (added >= least_added)
            fits &= (channel.least + added > -_REACH) & (channel.most + added < _REACH)
            fitting = np.flatnonzero(fits)
            for place in fitting[np.argsort(np.abs(added[fitting]))[:2]].tolist():
                found = _Constants(multiplier, int(offsets[place]), int(added[place]))
                if _is_equal(found, form, channel, first, outputs, starts):
                    return found
    return None


def _is_equal(
    constants: _Constants,
    form: _Form,
    channel: _Channel,
    first: int,
    outputs: Integers,
    starts: Integers,
) -> bool:
    """Whether a brief channel gives the same outputs for all sums, in whole numbers.

    That is so if the least sum gives the same output, and each next output begins where it must.
    """
    if abs(constants.offset) >= 1 << 29:
        return False

    def brief(sums: Integers) -> Integers:
        # Below 2^62: sums have 23 bits, the multiplier 31. The result of 32 bits does not wrap.
        shifted = (sums + constants.added) << form.left
        values = ((shifted * constants.multiplier + (1 << 31)) >> 32) + constants.offset
        return np.asarray(np.clip(values >> form.right, INT8_MIN, INT8_MAX), np.int64)

    ends = np.array([channel.least, channel.most])
    return bool(
        (brief(ends) == channel.outputs(ends)).all()
        and brief(ends)[0] == first
        and (brief(starts) == outputs).all()
        and (brief(starts - 1) == outputs - 1).all()
    )
