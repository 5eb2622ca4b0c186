# SPDX-License-Identifier: Apache-2.0
"""What the lowering of several operators shares."""

import dataclasses

import numpy as np

from m3net_tf.compiler.arithmetic import round_half_away
from m3net_tf.compiler.calls import View
from m3net_tf.compiler.structures import Image, Window
from m3net_tf.tflite.graph import CONVERT, QUANTISE, REPLACE, Operation, Tensor

_SAME, _VALID = 0, 1  # schema.Padding
INT16_MAX = (1 << 15) - 1
_RELU, _RELU_N1_TO_1, _RELU6 = 1, 2, 3  # schema.ActivationFunctionType
INT8_MIN, INT8_MAX = -128, 127
LARGEST_LONG_BIAS, LARGEST_LONG_SHIFT = 1 << 46, 7  # of 64-bit sums
_LIMITS = {
    "int8": (INT8_MIN, INT8_MAX),
    "int16": (-1 - INT16_MAX, INT16_MAX),
    "int32": (-(1 << 31), (1 << 31) - 1),
}


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
        raise op.error(f"has the fused activation {activation}, which is not supported", REPLACE)
    lowest, highest = limits[activation]
    minimum, maximum = item_range(output)
    minimum = minimum if lowest is None else max(minimum, quantized(lowest, output))
    maximum = maximum if highest is None else min(maximum, quantized(highest, output))
    if minimum > maximum:
        raise op.error("has an activation outside the range of its output", QUANTISE)
    return minimum, maximum


def item_range(tensor: Tensor) -> tuple[int, int]:
    """Smallest and largest item of a tensor of int8, int16 or int32."""
    return _LIMITS[tensor.dtype]


def is_wide(op: Operation) -> bool:
    """Whether an operator computes int16 outputs."""
    return op.output.dtype == "int16"


def quantized(value: float, tensor: Tensor) -> int:
    """A real number quantised with a tensor's scale and zero point."""
    steps = round_half_away(float(np.float32(value) / tensor.scale))
    return tensor.zero_point + int(max(min(steps, 1e6), -1e6))


def image_of(op: Operation, view: View) -> Image:
    """``m3net_image`` of a view of shape (batches, rows, columns, channels).

    Raises:
        ModelError: the image is too large.
    """
    if max(view.shape) > INT16_MAX:
        raise op.error(
            f"has a dimension of {max(view.shape)}; at most {INT16_MAX} is supported", REPLACE
        )
    _, rows, columns, channels = view.shape
    return Image(rows, columns, channels, *view.strides[:3])


def has_pixels(view: View) -> bool:
    """Whether the channels of a pixel are contiguous."""
    return len(view.shape) == 4 and (view.shape[3] == 1 or view.strides[3] == view.item)


def _unpadded_window(op: Operation, rows: int, columns: int) -> Window:
    """The window of an operator without its padding.

    Raises:
        ModelError: one is not positive, or too large.
    """
    options = op.options
    sizes = (
        *(rows, columns, options["strideH"], options["strideW"]),
        *(options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)),
    )
    if min(sizes) < 1 or max(sizes) > INT16_MAX:
        raise op.error("has a window, stride or dilation outside 1 to 32767", REPLACE)
    require(op, options["padding"] in (_SAME, _VALID), "has an unknown padding")
    return Window(*sizes)


def window_counts(
    op: Operation, rows: int, columns: int, shape: tuple[int, ...] | None = None
) -> tuple[int, int]:
    """Rows and columns of windows of a size on the image of an operator.

    ``shape``, (batches, rows, columns, channels), is the image's; by default the first input's.

    Raises:
        ModelError: a window, stride or dilation is not positive, or too large.
    """
    window = _unpadded_window(op, rows, columns)
    _, height, width, _ = shape or op.input(0).shape
    if op.options["padding"] == _SAME:
        return -(-height // window.row_stride), -(-width // window.column_stride)
    return (
        (height - window.row_reach) // window.row_stride + 1,
        (width - window.column_reach) // window.column_stride + 1,
    )


def window_of(
    op: Operation,
    rows: int,
    columns: int,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...] | None = None,
) -> Window:
    """The window of an operator with strides and padding.

    Args:
        input_shape: (batches, rows, columns, channels).
        output_shape: shape of what the windows give; by default the first output's.

    Raises:
        ModelError: a stride is not positive, or a number is too large.
    """
    window = _unpadded_window(op, rows, columns)
    top = left = 0
    if "explicit_padding" in op.options:
        top, left = op.options["explicit_padding"]
    elif op.options["padding"] == _SAME:
        _, height, width, _ = output_shape or op.output.shape
        last_row, last_column = (height - 1) * window.row_stride, (width - 1) * window.column_stride
        top = max(last_row + window.row_reach - input_shape[1], 0) // 2
        left = max(last_column + window.column_reach - input_shape[2], 0) // 2
    require(op, max(top, left) <= INT16_MAX, "has a padding above 32767")
    return dataclasses.replace(window, top=top, left=left)


def require(op: Operation, condition: bool, what: str, step: str = CONVERT) -> None:
    """Refuse an operator.

    Raises:
        ModelError: the condition is false.
    """
    if not condition:
        raise op.error(what, step)
