# SPDX-License-Identifier: Apache-2.0
"""Unary operators with int16 inputs, or outputs wider than a byte, which do not fit a table."""

import math

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor
from m3net_tf.compiler.calls import loops
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import INT16_MAX, item_range, quantized, require
from m3net_tf.compiler.structures import (
    Array,
    Factor,
    Loop,
    Rescaling,
    Root,
    Sigmoid,
    Structure,
)
from m3net_tf.tflite.graph import QUANTISE, Operation

_IDENTITY = Factor(1 << 30, 1)
_ENTRIES = 256  # of the logistic function's table
_ENTRIES_OF_ONE = 24  # entries up to an input of 1
_STEPS_OF_ONE = 4096 * 3  # steps of an input of 1, of which the table has every 512th or 256th
_NEAR = 1e-3  # distance of a scale's logarithm from an integer
_KERNELS = {"LOGISTIC": "logistic_16", "RSQRT": "inverse_root_16", "TANH": "tanh_16"}


def function(lowering: Lowering, op: Operation) -> None:
    """ABS, LEAKY_RELU, LOGISTIC, QUANTIZE, RELU, RELU6, RSQRT and TANH of wide tensors."""
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    make = {"RSQRT": _root, "LOGISTIC": _sigmoid, "TANH": _sigmoid}.get(op.kind, _rescaling)
    for loop in loops(target, [view]):
        lowering.call(
            op,
            _KERNELS.get(op.kind, "rescale"),
            [make(op, loop.layer), *loop.inputs, loop.output],
            loop.inputs,
            loop.output,
            slack={0: 0} if loop.layer.first == loop.layer.output else {},
            note=shapes_note([view], target),
        )


def _rescaling(op: Operation, loop: Loop) -> Structure:
    positive = negative = double_factor(op)
    minimum, maximum = item_range(op.output)
    is_mirrored = False
    if op.kind == "RELU":
        positive = negative = single_factor(op)
        minimum = op.output.zero_point
    elif op.kind == "RELU6":
        positive = negative = _IDENTITY
        minimum = op.input(0).zero_point
        maximum = six(op)
    elif op.kind == "ABS":
        positive = single_factor(op)
    elif op.kind == "LEAKY_RELU":
        positive, negative = leaky_factors(op)
        is_mirrored = op.options["alpha"] < 0
    return Rescaling(
        loop=loop,
        positive=positive,
        negative=negative,
        input_offset=-op.input(0).zero_point,
        output_offset=op.output.zero_point,
        minimum=minimum,
        maximum=maximum,
        input_bytes=op.input(0).item_bytes,
        output_bytes=op.output.item_bytes,
        mirrored=is_mirrored,
        absolute=op.kind == "ABS",
    )


def _root(op: Operation, loop: Loop) -> Structure:
    return Root(loop, root_factor(op))


def root_factor(op: Operation) -> Factor:
    """Factor from the reciprocal root of the input to the output."""
    root = np.float32(np.sqrt(op.input(0).scale))
    return quantize_factor(1.0 / float(np.float32(root * op.output.scale)))


def double_factor(op: Operation) -> Factor:
    """Factor from input to output, in double precision."""
    return quantize_factor(float(op.input(0).scale) / float(op.output.scale))


def single_factor(op: Operation) -> Factor:
    """Factor from input to output, in single precision."""
    return quantize_factor(float(np.float32(op.input(0).scale / op.output.scale)))


def leaky_factors(op: Operation) -> tuple[Factor, Factor]:
    """Factors of a leaky ReLU for positive inputs and, negated, for negative inputs."""
    slope = np.float32(op.input(0).scale * np.float32(op.options["alpha"]))
    return single_factor(op), quantize_factor(abs(float(np.float32(slope / op.output.scale))))


def six(op: Operation) -> int:
    """The number 6, quantised as the input, or the largest item if that is below 6."""
    source = op.input(0)
    return min(quantized(6.0, source), item_range(source)[1])


def logistic_table() -> Array:
    """Logistic function of 0, 1/24, ... to 255/24, in units of 2^-16.

    Entries are moved by half of the error that interpolation would have in the middle of a step.
    The last one is the limit.
    """
    halves = 65536 / (1 + np.exp(-np.arange(2 * _ENTRIES + 1) / (2 * _ENTRIES_OF_ONE)))
    here, middle, beyond = halves[:-1:2], halves[1::2], halves[2::2]
    entries = np.floor(here + (middle - (here + beyond) / 2) / 2 + 0.5).astype(np.int64)
    entries[-1] = 65535
    return Array("logistic", "uint16_t", entries)


def _sigmoid(op: Operation, loop: Loop) -> Structure:
    require(
        op, _power_of_two(op.output.scale) == -15, "has an output scale other than 2^-15", QUANTISE
    )
    return Sigmoid(loop, logistic_table(), *_table_steps(op))


def _power_of_two(scale: np.float32) -> int | None:
    """The exponent of a scale that is a power of two within TensorFlow Lite's tolerance."""
    exponent = math.log2(scale)
    return round(exponent) if abs(exponent - round(exponent)) < _NEAR else None


def _table_steps(op: Operation) -> tuple[int, int]:
    """15-bit multiplier and shift from inputs to steps of the table."""
    power = _power_of_two(op.input(0).scale)
    if power == -12 or (power == -11 and op.kind == "TANH"):
        return 3 << (power + 12), 0
    multiplier = float(op.input(0).scale) * _STEPS_OF_ONE
    require(op, multiplier < 2 * INT16_MAX, "has an input scale too large", QUANTISE)
    shift = 0
    while multiplier <= INT16_MAX / 2 and shift <= 30:
        shift += 1
        multiplier *= 2
    return int(multiplier), shift
