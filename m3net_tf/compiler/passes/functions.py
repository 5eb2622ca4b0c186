# SPDX-License-Identifier: Apache-2.0
"""Functions of one item that the converter left in float become tables.

The converter has no int8 form of NEG and SQUARE, which Keras 3 writes for its normalisations: it
puts DEQUANTIZE before them and QUANTIZE behind them. The outputs depend on one int8 number alone.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.operators.common import INT8_MAX, INT8_MIN
from m3net_tf.tflite.graph import Graph, Tensor

Floats = npt.NDArray[np.float32]


def quantize_functions(graph: Graph) -> int:
    """Replace each QUANTIZE behind such functions by a table of the int8 tensor before them."""
    known: dict[Tensor, tuple[Tensor, Floats]] = {}  # int8 tensor, and floats of its 256 numbers
    count = 0
    for op in graph.operations:
        source = op.inputs[0] if op.inputs else None
        if source is None:
            continue
        if op.kind == "DEQUANTIZE" and source.dtype == "int8" and len(source.scales) == 1:
            known[op.output] = source, source.scale * _steps(source.zero_point)
        elif source in known and op.kind in _FUNCTIONS:
            origin, values = known[source]
            known[op.output] = origin, _FUNCTIONS[op.kind](values)
        elif source in known and (op.kind, op.output.dtype) == ("QUANTIZE", "int8"):
            origin, values = known[source]
            op.kind, op.inputs = "TABLE", [origin]
            op.options = {"table": _quantized(values, op.output)}
            count += 1
    return count


def _steps(zero_point: int) -> Floats:
    return np.arange(INT8_MIN - zero_point, INT8_MAX + 1 - zero_point, dtype=np.float32)


def _quantized(values: Floats, output: Tensor) -> npt.NDArray[np.int8]:
    """Single-precision quotients, rounded with halves away from zero, as by TFLite Micro."""
    steps: npt.NDArray[np.float64] = (values / output.scale).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps) + output.zero_point
    return np.asarray(np.clip(rounded, INT8_MIN, INT8_MAX), np.int8)


def _rounded(function: Callable[..., npt.NDArray[np.float64]]) -> Callable[[Floats], Floats]:
    """A function in single precision, by way of double."""
    return lambda values: function(values.astype(np.float64)).astype(np.float32)


_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "CEIL": np.ceil,
    "COS": _rounded(np.cos),
    "ELU": lambda values: np.where(values < 0, _rounded(np.expm1)(np.minimum(values, 0)), values),
    "FLOOR": np.floor,
    "NEG": np.negative,
    "ROUND": np.rint,
    "SIN": _rounded(np.sin),
    "SQUARE": np.square,
}

#: Operators that may vanish between DEQUANTIZE and QUANTIZE, and DEQUANTIZE.
IN_FLOAT = frozenset(_FUNCTIONS) | {"DEQUANTIZE"}
