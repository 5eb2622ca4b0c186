# SPDX-License-Identifier: Apache-2.0
"""What the lowering of several operators shares."""

from __future__ import annotations

import numpy as np

from m3net_tf.compiler.arithmetic import round_half_away
from m3net_tf.compiler.calls import View
from m3net_tf.compiler.graph import Operation, Tensor

_SAME, _VALID = 0, 1  # schema.Padding
_INT16_MAX = (1 << 15) - 1
_RELU, _RELU_N1_TO_1, _RELU6 = 1, 2, 3  # schema.ActivationFunctionType
INT8_MIN, INT8_MAX = -128, 127
LARGEST_LONG_BIAS, LARGEST_LONG_SHIFT = 1 << 46, 7  # of 64-bit sums
_LIMITS = {"int8": (INT8_MIN, INT8_MAX), "int16": (-1 - _INT16_MAX, _INT16_MAX)}


def activation_range(op: Operation, output: Tensor) -> tuple[int, int]:
    """Smallest and largest output of an operator with a fused activation.

    Raises:
        ModelError: the activation is not one of the ReLU family.
    """
    activation = op.options.get("fusedActivationFunction", 0)
    limits: dict[int, tuple[float | None, float | None]] = {
        0: (None, None),
        _RELU: (0.0, None),
        _RELU_N1_TO_1: (-1.0, 1.0),
        _RELU6: (0.0, 6.0),
    }
    if activation not in limits:
        raise op.error(f"has the fused activation {activation}, which is not supported")
    lowest, highest = limits[activation]
    minimum, maximum = item_range(output)
    minimum = minimum if lowest is None else max(minimum, quantized(lowest, output))
    maximum = maximum if highest is None else min(maximum, quantized(highest, output))
    if minimum > maximum:
        raise op.error("has an activation outside the range of its output: quantise it again")
    return minimum, maximum


def item_range(tensor: Tensor) -> tuple[int, int]:
    """Smallest and largest item of an int8 or int16 tensor."""
    return _LIMITS[tensor.dtype]


def is_wide(op: Operation) -> bool:
    """Whether an operator computes int16 outputs."""
    return op.output.dtype == "int16"


def quantized(value: float, tensor: Tensor) -> int:
    """A real number in the steps of a tensor."""
    steps = round_half_away(float(np.float32(value) / tensor.scale))
    return tensor.zero_point + int(max(min(steps, 1e6), -1e6))


def image_members(op: Operation, view: View) -> dict[str, int]:
    """Members of ``m3net_image`` of a view of shape (batches, rows, columns, channels).

    Raises:
        ModelError: the image is too large.
    """
    if max(view.shape) > _INT16_MAX:
        raise op.error(f"has a dimension of {max(view.shape)}; at most {_INT16_MAX} is supported")
    _, rows, columns, channels = view.shape
    return {
        "rows": rows,
        "columns": columns,
        "channels": channels,
        "batch_step": view.strides[0],
        "row_step": view.strides[1],
        "column_step": view.strides[2],
    }


def image_pair(op: Operation, view: View, target: View) -> dict[str, dict[str, int]]:
    """Members of a layer for its input and its output.

    Raises:
        ModelError: they are too large.
    """
    return {"input": image_members(op, view), "output": image_members(op, target)}


def has_pixels(view: View) -> bool:
    """Whether the channels of a pixel lie side by side."""
    return len(view.shape) == 4 and (view.shape[3] == 1 or view.strides[3] == view.item)


def _window_steps(op: Operation, rows: int, columns: int) -> dict[str, int]:
    """Members of ``m3net_window`` but the padding.

    Raises:
        ModelError: one is not positive, or too large.
    """
    options = op.options
    window = {
        "rows": rows,
        "columns": columns,
        "row_stride": options["strideH"],
        "column_stride": options["strideW"],
        "row_dilation": options.get("dilationHFactor", 1),
        "column_dilation": options.get("dilationWFactor", 1),
    }
    if min(window.values()) < 1 or max(window.values()) > _INT16_MAX:
        raise op.error("has a window, stride or dilation outside 1 to 32767")
    require(op, options["padding"] in (_SAME, _VALID), "has an unknown padding")
    return window


def window_counts(op: Operation, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of the output of an operator with windows, from its four-dimensional input.

    Raises:
        ModelError: a window, stride or dilation is not positive, or too large.
    """
    window, shape = _window_steps(op, rows, columns), op.input(0).shape
    counts = []
    for size, length in (("row", shape[1]), ("column", shape[2])):
        stride = window[f"{size}_stride"]
        inside = (length - _reach(window, size)) // stride + 1
        counts.append(-(-length // stride) if op.options["padding"] == _SAME else inside)
    return counts[0], counts[1]


def _reach(window: dict[str, int], size: str) -> int:
    """Rows or columns from the first to the last of a window."""
    return (window[f"{size}s"] - 1) * window[f"{size}_dilation"] + 1


def window_members(
    op: Operation, rows: int, columns: int, input_shape: tuple[int, ...]
) -> dict[str, int]:
    """Members of ``m3net_window`` of an operator with strides and padding.

    Args:
        op: the operator, whose output has the shape that the windows give.
        rows: of the window.
        columns: of the window.
        input_shape: (batches, rows, columns, channels).

    Raises:
        ModelError: a stride is not positive, or a number is too large.
    """
    window = _window_steps(op, rows, columns)
    for name, size, axis in (("top", "row", 1), ("left", "column", 2)):
        span = (op.output.shape[axis] - 1) * window[f"{size}_stride"] + _reach(window, size)
        is_same = op.options["padding"] == _SAME
        window[name] = max(span - input_shape[axis], 0) // 2 if is_same else 0
    if "explicit_padding" in op.options:
        window["top"], window["left"] = op.options["explicit_padding"]
    require(op, max(window.values()) <= _INT16_MAX, "has a padding above 32767")
    return window


def require(op: Operation, condition: bool, what: str) -> None:
    """Refuse an operator.

    Raises:
        ModelError: the condition is false.
    """
    if not condition:
        raise op.error(what)
