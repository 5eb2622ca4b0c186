# SPDX-License-Identifier: Apache-2.0
"""Softmax and its logarithm: tables of exponentials, and for int16 of reciprocals.

The kernel of int16 inputs interpolates in tables of 513 entries.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler import arithmetic
from m3net_tf.compiler.arithmetic import quantize_factor, scale
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import INT8_MAX, INT8_MIN, INT16_MAX, is_wide, require
from m3net_tf.compiler.structures import (
    Array,
    Factor,
    LogSoftmax,
    Softmax,
    Softmax16,
    Structure,
)
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation, Tensor

_INTEGER_BITS = 5  # of the exponents
_STEPS = 512
_LARGEST_DEPTH = 1 << 16  # items of a row of int16: the sum of their exponentials fits 32 bits
_LARGEST_SUM = 1 << 12  # items of a row of int8 whose sum has no limit, for the same reason
_RANGE = np.float32(65535)
_REACH = 10.0  # below the largest input; exponentials of smaller inputs are 0
_NEAR = 1e-3  # how near the scale of an int16 output must be

Single = npt.NDArray[np.float32]


def softmax(lowering: Lowering, op: Operation) -> None:
    """SOFTMAX and LOG_SOFTMAX over the last dimension."""
    source = op.input(0)
    view = lowering.packed_input(op, lowering.read(source))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    depth = source.shape[-1] if source.shape else 1
    kernel, make = _KERNELS[op.kind, source.dtype, op.output.dtype]
    layer = make(op, source.size // depth, depth)
    slack = {0: 0} if source.dtype == op.output.dtype else {}
    lowering.call(op, kernel, [layer, view, target], [view], target, slack=slack)


def _layer(op: Operation, rows: int, depth: int) -> Structure:
    if is_wide(op):
        fits = op.output.zero_point == -1 - INT16_MAX and _is_near(op.output, 2.0**-16)
        require(op, fits, "has an output scale other than 2^-16 and -32768", QUANTISE)
        require(op, depth < _LARGEST_SUM, "has rows of too many items", REPLACE)
    else:
        fits = op.output.zero_point == INT8_MIN and op.output.scale == np.float32(1 / 256)
        require(op, fits, "has an output scale other than 1/256 and -128", QUANTISE)
    return _shares(rows, depth, _input_factor(op))


def _log_layer(op: Operation, rows: int, depth: int) -> Structure:
    fits = op.output.zero_point == INT8_MAX and op.output.scale == np.float32(1 / 16)
    require(op, fits, "has an output scale other than 1/16 and 127", QUANTISE)
    require(op, depth < _LARGEST_SUM, "has rows of too many items", REPLACE)
    factor = _input_factor(op)
    inverse = quantize_factor((1 << (31 - factor.shift)) / factor.multiplier)
    return LogSoftmax(_shares(rows, depth, factor), factor, inverse)


def _input_factor(op: Operation) -> Factor:
    """From steps of the input to numbers with few integer bits."""
    beta = float(np.float32(op.options.get("beta", 1)))
    largest = float((1 << 31) - 1)
    real = min(beta * float(op.input(0).scale) * (1 << (31 - _INTEGER_BITS)), largest)
    require(op, real > 1, "has an input scale too small", QUANTISE)
    return quantize_factor(real)


def _shares(rows: int, depth: int, factor: Factor) -> Softmax:
    """Exponentials of 0, -1, ... steps of the input, up to the last one above 0."""
    reach = 31 * (1 << (31 - _INTEGER_BITS)) // 2**factor.shift
    steps = -np.arange(min(reach, 255) + 1)
    table = arithmetic.exponential(scale(steps, factor), _INTEGER_BITS)
    return Softmax(Array("exponentials", "int32_t", table), rows, depth, len(table))


def _layer_16(op: Operation, rows: int, depth: int) -> Structure:
    require(op, _is_near(op.output, 2.0**-15), "has an output scale other than 2^-15", QUANTISE)
    require(op, depth < _LARGEST_DEPTH, "has rows of too many items", REPLACE)
    beta = float(np.float32(op.options["beta"]))
    factor = quantize_factor(float(op.input(0).scale) * beta / (_REACH / 65535))
    exponentials = _table(np.exp, np.float32(_REACH) / _RANGE, 32767)
    reciprocals = _table(lambda x: 1 / (1 + x), np.float32(1) / _RANGE, -32768)
    return Softmax16(
        exponentials=Array("exponentials", "int16_t", exponentials),
        reciprocals=Array("reciprocals", "int16_t", reciprocals),
        rows=rows,
        depth=depth,
        factor=factor,
    )


def _is_near(tensor: Tensor, scale: float) -> bool:
    return abs(float(tensor.scale) / scale - 1) <= _NEAR


def _table(
    function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    scale: np.float32,
    zero_point: int,
) -> npt.NDArray[np.int64]:
    """A function at 513 inputs from end to end, in units of 2^-15.

    Each entry is moved by half of the interpolation error in the middle of the next step. As in
    TensorFlow Lite, all steps of the computation are in single precision.
    """
    lowest = scale * np.float32(-32768 - zero_point)
    highest = scale * np.float32(32767 - zero_point)
    step = (highest - lowest) / np.float32(_STEPS)
    output_scale = np.float32(2) / _RANGE
    ends = output_scale * np.float32(-32768), output_scale * np.float32(32767)
    units = np.float32(65536) / (ends[1] - ends[0])

    def at(inputs: Single) -> Single:
        values: Single = function(inputs.astype(np.float64)).astype(np.float32) * units
        return values

    indices = np.arange(_STEPS, dtype=np.float32)
    here = _round(at(lowest + indices * step))
    middle = _round(at(lowest + indices * step + step / np.float32(2)))
    beyond = at(lowest + (indices + np.float32(1)) * step)
    error = _round((beyond + here) / np.float32(2)) - middle
    last = _round(at(np.array([highest], np.float32)))
    entries = np.concatenate([here - _round(error / np.float32(2)), last])
    saturated: npt.NDArray[np.float32] = np.clip(entries, -32768, 32767)
    return saturated.astype(np.int64)


def _round(values: Single) -> Single:
    """The nearest whole numbers, halves away from zero."""
    return np.copysign(np.floor(np.abs(values) + np.float32(0.5)), values).astype(np.float32)


#: Kernel, and what makes its constants, by the operator and the types of input and output.
_KERNELS = {
    ("LOG_SOFTMAX", "int8", "int8"): ("log_softmax", _log_layer),
    ("SOFTMAX", "int8", "int8"): ("softmax", _layer),
    ("SOFTMAX", "int8", "int16"): ("softmax_to_16", _layer),
    ("SOFTMAX", "int16", "int16"): ("softmax_16", _layer_16),
}
