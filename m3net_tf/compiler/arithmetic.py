# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite's fixed-point arithmetic, bit-exact.

All functions take arrays or numbers and compute in int64, so that only the modelled operations wrap
or saturate.
"""

import math

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.structures import Factor

Integers = npt.NDArray[np.int64]
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def quantize_factor(real: float) -> Factor:
    """The 31-bit multiplier and the shift nearest to a real factor.

    Raises:
        OverflowError: the factor is so large that no output would be meaningful.
    """
    if real == 0:
        return Factor(0, 0)
    fraction, shift = math.frexp(real)
    multiplier = int(round_half_away(fraction * 2.0**31))
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return Factor(0, 0)
    if shift > 30:
        raise OverflowError(f"a scale is {real:g} times another")
    return Factor(multiplier, shift)


def round_half_away(value: float) -> float:
    """The nearest integer, ties away from zero."""
    return math.copysign(math.floor(abs(value) + 0.5), value)


def wrap(value: npt.ArrayLike) -> Integers:
    """Integers as int32, with wrap-around."""
    wide = np.asarray(value, np.int64)
    return ((wide - INT32_MIN) & 0xFFFFFFFF) + INT32_MIN


def product(a: npt.ArrayLike, b: npt.ArrayLike) -> Integers:
    """``a * b / 2^31`` rounded to nearest, ties up, and saturated; int32 arguments."""
    result = (np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << 30)) >> 31
    saturated: Integers = np.minimum(result, INT32_MAX)  # INT32_MIN * INT32_MIN
    return saturated


def divide(value: npt.ArrayLike, bits: int | Integers) -> Integers:
    """``value / 2^bits`` rounded to nearest, ties away from zero."""
    wide = np.asarray(value, np.int64)
    mask = (1 << bits) - 1
    threshold = (mask >> 1) + (wide < 0)
    return (wide >> bits) + ((wide & mask) > threshold)


def scale(value: npt.ArrayLike, factor: Factor) -> Integers:
    """``value`` times a factor: MultiplyByQuantizedMultiplier."""
    shifted = wrap(np.asarray(value, np.int64) << max(factor.shift, 0))
    return divide(product(shifted, factor.multiplier), max(-factor.shift, 0))


def short_multiplier(factor: Factor) -> int:
    """A factor's multiplier in units of 2^-15, rounded and saturated."""
    return min((factor.multiplier + (1 << 15)) >> 16, (1 << 15) - 1)


def short_product(a: npt.ArrayLike, b: npt.ArrayLike) -> Integers:
    """``a * b / 2^15`` rounded to nearest, ties up, and saturated; int16 arguments."""
    result = (np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << 14)) >> 15
    saturated: Integers = np.minimum(result, (1 << 15) - 1)
    return saturated


def _enlarge(value: Integers, bits: int) -> Integers:
    """A saturating left shift to int32."""
    threshold = (1 << (31 - bits)) - 1
    shifted = np.where(value > threshold, INT32_MAX, value << bits)
    return np.where(value < -threshold, INT32_MIN, shifted)


_EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def exponential(value: npt.ArrayLike, integer_bits: int) -> Integers:
    """exp(value), in units of 2^-31, for int32 values in fixed point of at most 0.

    They have ``integer_bits`` before the binary point without the sign, at most 5.
    """
    wide = np.asarray(value, np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    remainder = (wide & (quarter - 1)) - quarter
    result = _exponential_of_quarter(_enlarge(remainder, integer_bits))
    rest = remainder - wide
    for exponent, factor in zip(range(-2, 5), _EXPONENTIALS, strict=True):
        if integer_bits > exponent:
            is_set = (rest & (1 << (fraction_bits + exponent))) != 0
            result = np.where(is_set, product(result, factor), result)
    return np.where(wide == 0, INT32_MAX, result)


def _exponential_of_quarter(value: Integers) -> Integers:
    """exp(value) for values from -1/4 to 0, in units of 2^-31, by a Taylor series around -1/8."""
    at_eighth, third = 1895147668, 715827883
    x = value + (1 << 28)
    square = product(x, x)
    cube = product(square, x)
    fourth = divide(product(square, square), 2)
    rest = divide(product(fourth + cube, third) + square, 1)
    return wrap(at_eighth + product(at_eighth, x + rest))


def _newton_reciprocal(value: Integers) -> Integers:
    """2 / (1 + x) with two integer bits, for x in units of 2^-31."""
    half_denominator = (value + INT32_MAX + 1) // 2
    guess = wrap(1515870810 + product(half_denominator, -1010580540))
    for _ in range(3):
        rest = wrap((1 << 29) - product(half_denominator, guess))
        guess = wrap(guess + _enlarge(product(guess, rest), 2))
    return guess


def reciprocal(value: int) -> int:
    """1 / value of a positive int32, times the power of two that is at most value, times 2^31."""
    bits = value.bit_length()
    fraction = np.asarray((value << (32 - bits)) - (1 << 31), np.int64)
    return int(_enlarge(_newton_reciprocal(fraction), 1))


def logistic(value: npt.ArrayLike, integer_bits: int) -> Integers:
    """1 / (1 + exp(-x)), in units of 2^-31."""
    wide = np.asarray(value, np.int64)
    positive = _enlarge(_newton_reciprocal(exponential(-np.abs(wide), integer_bits)), 1)
    result = np.where(wide > 0, positive, INT32_MAX - positive)
    return np.where(wide == 0, 1 << 30, result)


def tanh(value: npt.ArrayLike, integer_bits: int) -> Integers:
    """Hyperbolic tangent, in units of 2^-31."""
    wide = np.asarray(value, np.int64)
    exponentials = exponential(-np.abs(wide), integer_bits + 1)
    positive = _enlarge(wrap(_newton_reciprocal(exponentials) - (1 << 29)), 2)
    return np.where(wide == 0, 0, np.where(wide < 0, -positive, positive))


def inverse_root(value: int) -> Factor:
    """1 / sqrt(value) of a positive int32, by Newton's method."""
    if value <= 1:
        return Factor(INT32_MAX, 0)
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    fixed = value >> 1
    half = int(divide(fixed, 1))
    x = 1 << 28
    for _ in range(5):
        cube = int(_enlarge(product(product(x, x), x), 6))
        difference = wrap(product((1 << 28) + (1 << 27), x) - product(half, cube))
        x = int(_enlarge(difference, 3))
    result = int(product(x, 1518500250))
    if shift < 0:
        result = int(wrap(result << -shift))
        shift = 0
    return Factor(result, -shift)
