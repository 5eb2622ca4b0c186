# SPDX-License-Identifier: Apache-2.0
"""The tensors that each operator takes: their number and types, and the shapes of its outputs.

Each operator of a file is checked against its form before all passes. Passes, lowering and kernels
rely on that check: a kernel never writes beyond the tensor that a shape describes.
"""

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from m3net_tf.compiler.operators.common import require, window_counts
from m3net_tf.tflite.graph import REPLACE, Operation, Tensor

Shape = tuple[int, ...]


class Role(enum.Enum):
    """The use of an input."""

    ITEMS = "items of the output's type, or of the first input's if the form has types"
    WEIGHTS = "int8 constants"
    BIAS = "one constant for each channel of the output; may be missing"
    VALUE = "one constant of the output's type"
    NUMBERS = "whole constants, such as axes and sizes"
    OTHER = "what the lowering checks, or nothing reads; may be missing"


@dataclasses.dataclass(frozen=True)
class Form:
    """The tensors of an operator.

    Attributes:
        roles: roles of its inputs.
        shapes: computes the shapes of its outputs; raises ModelError where inputs do not fit.
        repeats: whether any number of inputs has the first role.
        types: for each type of its inputs, the types that its outputs may have; if None, all have
            one type.
    """

    roles: Sequence[Role]
    shapes: Callable[[Operation], list[Shape]]
    repeats: bool = False
    types: Mapping[str, Sequence[str]] | None = None


def require_form(op: Operation) -> None:
    """Refuse an operator whose tensors do not match its form.

    Raises:
        ModelError: the message names operator, and tensor or shape.
    """
    form = FORMS[op.kind]
    roles = [form.roles[0]] * len(op.inputs) if form.repeats else form.roles
    if not 0 < len(op.inputs) <= len(roles):
        raise op.error(f"has {len(op.inputs)} inputs; it takes {len(roles)}")
    for index, role in enumerate(roles):
        tensor = op.inputs[index] if index < len(op.inputs) else None
        if tensor is not None or role not in (Role.BIAS, Role.OTHER):
            _require_role(op, op.input(index), role, form)
    for tensor in op.outputs:
        if form.types is None:
            _require_type(op, tensor)
        elif tensor.dtype not in form.types.get(op.input(0).dtype, ()):
            raise op.error(
                f"makes {tensor.dtype} of {op.input(0).dtype}, which is not supported", REPLACE
            )
    expected = form.shapes(op)
    actual = [tensor.shape for tensor in op.outputs]
    if len(actual) != len(expected):
        raise op.error(f"has {len(actual)} outputs, not {len(expected)}")
    for shape, wanted in zip(actual, expected, strict=True):
        require(op, shape == wanted, f"has the output shape {shape}, not {wanted}")


def _require_role(op: Operation, tensor: Tensor, role: Role, form: Form) -> None:
    is_constant, name = tensor.data is not None, tensor.name
    if role is Role.ITEMS:
        _require_type(op, tensor, op.output if form.types is None else op.input(0))
    elif role is Role.WEIGHTS:
        if not is_constant or tensor.dtype != "int8":
            raise op.error(f"has weights {name!r} that are not int8 constants")
    elif role is Role.BIAS:
        types = _bias_types(op)
        channels = op.output.shape[-1]
        if not is_constant or tensor.dtype not in types or tensor.size != channels:
            raise op.error(
                f"has a bias {name!r} that is not {channels} constants of {' or '.join(types)}"
            )
    elif role is Role.VALUE:
        _require_type(op, tensor)
        require(op, is_constant and tensor.size == 1, f"takes {name!r} as one constant")
    elif role is Role.NUMBERS:
        require(op, is_constant, f"computes its input {name!r}, which must be a constant")
        require(op, tensor.dtype in ("int32", "int64"), f"has {name!r} of {tensor.dtype}")


def _require_type(op: Operation, tensor: Tensor, like: Tensor | None = None) -> None:
    """Refuse a tensor of another type than ``like``, by default the output."""
    dtype = (like or op.output).dtype
    if tensor.dtype != dtype:
        types = " and of ".join(sorted((dtype, tensor.dtype), reverse=True))
        raise op.error(f"has tensors of {types}")


def _bias_types(op: Operation) -> tuple[str, ...]:
    if op.output.dtype != "int16":
        return ("int32",)
    # TensorFlow Lite Micro's kernels of int16 take only 64-bit biases for these.
    only_long = op.kind in ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
    return ("int64",) if only_long else ("int64", "int32")


def numbers(op: Operation, index: int) -> list[int]:
    """The integers of a constant input."""
    return [int(number) for number in op.constant(index).reshape(-1)]


def axis_of(op: Operation, axis: int, dimensions: int) -> int:
    """An axis as an index from 0.

    Raises:
        ModelError: there is no such axis.
    """
    require(op, -dimensions <= axis < dimensions, f"has the axis {axis}")
    return axis % dimensions


def _same(op: Operation) -> list[Shape]:
    return [op.input(0).shape]


def _broadcast(op: Operation) -> list[Shape]:
    first = op.input(0).shape
    second = op.input(1).shape
    try:
        return [np.broadcast_shapes(first, second)]
    except ValueError:
        raise op.error(f"has inputs of shapes {first} and {second}") from None


def _convolution(op: Operation) -> list[Shape]:
    source = op.input(0).shape
    weights = op.input(1).shape
    require(op, len(source) == len(weights) == 4, "has tensors that are not of four dimensions")
    channels, rows, columns, depth = weights
    if source[3] % depth or channels % (source[3] // depth):
        raise op.error(f"has weights of shape {weights}, which do not fit its input {source}")
    return [(source[0], *window_counts(op, rows, columns), channels)]


def _depthwise(op: Operation) -> list[Shape]:
    source = op.input(0).shape
    weights = op.input(1).shape
    require(op, len(source) == len(weights) == 4, "has tensors that are not of four dimensions")
    one, rows, columns, channels = weights
    if one != 1 or channels % source[3]:
        raise op.error(f"has weights of shape {weights}, which do not fit its input {source}")
    return [(source[0], *window_counts(op, rows, columns), channels)]


def _pooling(op: Operation) -> list[Shape]:
    source = op.input(0).shape
    options = op.options
    require(op, len(source) == 4, "has tensors that are not of four dimensions")
    counts = window_counts(op, options["filterHeight"], options["filterWidth"])
    return [(source[0], *counts, source[3])]


def _fully_connected(op: Operation) -> list[Shape]:
    source = op.input(0)
    weights = op.input(1).shape
    output = op.output
    require(op, len(weights) == 2, "has weights that are not of two dimensions")
    require(op, op.options.get("weightsFormat", 0) == 0, "has shuffled weights", REPLACE)
    channels, depth = weights
    if source.size % depth:
        raise op.error(f"has weights of shape {weights}, which do not fit its input {source.shape}")
    pixels = source.size // depth
    fits = output.shape[-1:] == (channels,) and output.size == pixels * channels
    return [output.shape if fits else (pixels, channels)]


def _matrices(op: Operation) -> list[Shape]:
    sides = []
    for index, option in enumerate(("adjX", "adjY")):
        shape = op.input(index).shape
        require(op, len(shape) >= 2, "multiplies a tensor of fewer than two dimensions")
        flipped = (*shape[:-2], shape[-1], shape[-2])
        sides.append(flipped if op.options.get(option) else shape)
    first, second = sides
    try:
        leading = np.broadcast_shapes(first[:-2], second[:-2])
    except ValueError:
        leading = None
    if leading is None or first[-1] != second[-2]:
        raise op.error(f"multiplies matrices of shapes {first} and {second}")
    return [(*leading, first[-2], second[-1])]


def _reduction(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    axes = {axis_of(op, axis, len(shape)) for axis in numbers(op, 1)}
    if op.options.get("keepDims"):
        return [tuple(1 if axis in axes else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _reshape(op: Operation) -> list[Shape]:
    source = op.input(0)
    output = op.output
    require(op, source.size == output.size, f"changes {source.size} items to {output.size}")
    return [output.shape]


def _ones(op: Operation) -> list[Shape]:
    """EXPAND_DIMS and SQUEEZE: dimensions of size 1 are added or removed."""
    sizes = [
        tuple(size for size in tensor.shape if size != 1) for tensor in (op.input(0), op.output)
    ]
    return [op.output.shape if sizes[0] == sizes[1] else sizes[0]]


def _transpose(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    order = numbers(op, 1)
    require(op, sorted(order) == list(range(len(shape))), f"has the permutation {order}")
    return [tuple(shape[axis] for axis in order)]


def _reverse(op: Operation) -> list[Shape]:
    for axis in numbers(op, 1):
        axis_of(op, axis, len(op.input(0).shape))
    return _same(op)


def _slice(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    starts = numbers(op, 1)
    sizes = numbers(op, 2)
    require(op, len(starts) == len(sizes) == len(shape), "lacks a start or a size for an axis")
    sizes = [
        whole - start if size == -1 else size
        for whole, start, size in zip(shape, starts, sizes, strict=True)
    ]
    for whole, start, size in zip(shape, starts, sizes, strict=True):
        require(op, start >= 0 < size and start + size <= whole, "reads outside its input")
    return [tuple(sizes)]


def strides_of(op: Operation) -> list[range]:
    """The slice along each dimension of a STRIDED_SLICE."""
    shape = op.input(0).shape
    options = op.options
    unsupported = ("ellipsisMask", "newAxisMask", "offset")
    require(
        op,
        not any(options.get(name) for name in unsupported),
        "has an ellipsis, a new dimension or an offset, which is not supported",
        REPLACE,
    )
    starts, stops, steps = (numbers(op, index) for index in (1, 2, 3))
    require(
        op, len(starts) == len(stops) == len(steps) <= len(shape), "does not have three equal lists"
    )
    chosen = []
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        require(op, step != 0, "has a step of zero")
        first = None if options["beginMask"] >> axis & 1 else start
        last = None if options["endMask"] >> axis & 1 else stop
        if options["shrinkAxisMask"] >> axis & 1:
            at = axis_of(op, 0 if first is None else first, shape[axis])
            chosen.append(range(at, at + 1))
        else:
            chosen.append(range(shape[axis])[slice(first, last, step)])
    require(op, all(len(taken) > 0 for taken in chosen), "has an empty output")
    return chosen


def _strided_slice(op: Operation) -> list[Shape]:
    chosen = strides_of(op)
    sizes = [*map(len, chosen), *op.input(0).shape[len(chosen) :]]
    mask = op.options["shrinkAxisMask"]
    return [tuple(size for axis, size in enumerate(sizes) if not mask >> axis & 1)]


def _split(op: Operation) -> list[Shape]:
    source, axis_index = (0, 2) if op.kind == "SPLIT_V" else (1, 0)
    shape = op.input(source).shape
    (number,) = numbers(op, axis_index)
    axis = axis_of(op, number, len(shape))
    count = len(op.outputs)
    sizes = numbers(op, 1) if op.kind == "SPLIT_V" else [shape[axis] // count] * count
    sizes = [shape[axis] - sum(sizes) - 1 if size == -1 else size for size in sizes]
    require(op, sum(sizes) == shape[axis], f"has parts that do not sum to {shape[axis]} items")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _concatenation(op: Operation) -> list[Shape]:
    shapes = [op.input(index).shape for index in range(len(op.inputs))]
    axis = axis_of(op, int(op.options["axis"]), len(shapes[0]))
    for shape in shapes:
        fits = len(shape) == len(shapes[0]) and all(
            size == first or place == axis
            for place, (size, first) in enumerate(zip(shape, shapes[0], strict=True))
        )
        require(op, fits, f"has an input of shape {shape}")
    return [(*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])]


def _pack(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    for index in range(len(op.inputs)):
        require(op, op.input(index).shape == shape, "has inputs of several shapes")
    axis = axis_of(op, int(op.options["axis"]), len(shape) + 1)
    return [(*shape[:axis], len(op.inputs), *shape[axis:])]


def _unpack(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    axis = axis_of(op, int(op.options["axis"]), len(shape))
    return [(*shape[:axis], *shape[axis + 1 :])] * shape[axis]


def _blocks(op: Operation) -> tuple[list[int], list[tuple[int, int]]]:
    """For each blocked dimension, the block's size and the padding before and after the image."""
    block, ends = numbers(op, 1), numbers(op, 2)
    require(
        op,
        0 < len(block) < len(op.input(0).shape) and len(ends) == 2 * len(block),
        "lacks a block's size or an end for a dimension",
    )
    require(op, min(block) > 0 and min(ends) >= 0, f"has the block {block} or the ends {ends}")
    return block, list(zip(ends[::2], ends[1::2], strict=True))


def _space_to_batch(op: Operation) -> list[Shape]:
    batch, *sizes = op.input(0).shape
    block, pads = _blocks(op)
    for axis, (step, pad) in enumerate(zip(block, pads, strict=True)):
        sizes[axis] += sum(pad)
        require(op, sizes[axis] % step == 0, "has an image that is not of whole blocks")
        sizes[axis] //= step
    return [(batch * math.prod(block), *sizes)]


def _batch_to_space(op: Operation) -> list[Shape]:
    batch, *sizes = op.input(0).shape
    block, crops = _blocks(op)
    require(op, batch % math.prod(block) == 0, "has batches that are not of whole blocks")
    for axis, (step, crop) in enumerate(zip(block, crops, strict=True)):
        sizes[axis] = sizes[axis] * step - sum(crop)
    return [(batch // math.prod(block), *sizes)]


def _pad(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    amounts = op.constant(1)
    require(op, amounts.shape == (len(shape), 2), "has a padding of another shape")
    require(op, bool((amounts >= 0).all()), "has a negative padding")
    pairs = zip(shape, amounts, strict=True)
    return [tuple(size + int(before) + int(after) for size, (before, after) in pairs)]


def _gather(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    indices = op.constant(1)
    axis = axis_of(op, int(op.options["axis"]), len(shape))
    require(
        op,
        not op.options.get("batchDims"),
        "has batches of indices, which is not supported",
        REPLACE,
    )
    require(op, bool((indices >= 0).all() and (indices < shape[axis]).all()), "reads outside")
    return [(*shape[:axis], *indices.shape, *shape[axis + 1 :])]


def _broadcast_to(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    wanted = tuple(numbers(op, 1))
    ends = zip(shape[::-1], wanted[::-1], strict=False)
    fits = len(shape) <= len(wanted) and all(size in (1, goal) for size, goal in ends)
    require(op, fits and min(wanted, default=1) > 0, f"repeats {shape} to {wanted}")
    return [wanted]


def _tile(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    times = numbers(op, 1)
    require(op, len(times) == len(shape) and min(times) > 0, "lacks a count for a dimension")
    return [tuple(size * count for size, count in zip(shape, times, strict=True))]


def _mirror_pad(op: Operation) -> list[Shape]:
    (padded,) = _pad(op)
    edge = 0 if op.options["mode"] else 1
    for size, amounts in zip(op.input(0).shape, op.constant(1), strict=True):
        require(op, max(amounts) <= size - edge, "has a padding larger than its input")
    return [padded]


def _resize(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    sizes = numbers(op, 1)
    require(op, len(shape) == 4, "has a tensor that is not of four dimensions")
    require(op, len(sizes) == 2 and min(sizes) > 0, "does not have a height and a width")
    return [(shape[0], *sizes, shape[3])]


def _space_to_depth(op: Operation) -> list[Shape]:
    batch, rows, columns, channels, block = _image_and_block(op)
    require(op, rows % block == columns % block == 0, "has an image that is not of whole blocks")
    return [(batch, rows // block, columns // block, channels * block * block)]


def _depth_to_space(op: Operation) -> list[Shape]:
    batch, rows, columns, channels, block = _image_and_block(op)
    require(op, channels % (block * block) == 0, "has channels that are not of whole blocks")
    return [(batch, rows * block, columns * block, channels // (block * block))]


def _image_and_block(op: Operation) -> tuple[int, ...]:
    shape = op.input(0).shape
    block = int(op.options["blockSize"])
    require(op, len(shape) == 4, "has a tensor that is not of four dimensions")
    require(op, block > 0, f"has the block {block}")
    return (*shape, block)


def _transposed_convolution(op: Operation) -> list[Shape]:
    weights = op.input(1).shape
    source = op.input(2).shape
    shape = op.output.shape  # TensorFlow Lite Micro does not read a computed one
    if op.input(0).data is not None:
        shape = tuple(numbers(op, 0))
    require(op, len(shape) == len(weights) == len(source) == 4, "does not have four dimensions")
    channels, rows, columns, depth = weights
    require(op, depth == source[3], f"has weights of shape {weights} for its input {source}")
    require(op, min(shape) > 0, f"has the shape {shape}")
    counts = window_counts(op, rows, columns, shape)
    require(op, counts == source[1:3], f"makes {shape} of its input {source}")
    return [(source[0], *shape[1:3], channels)]


def _select(op: Operation) -> list[Shape]:
    shapes = [op.input(index).shape for index in range(3)]
    require(op, op.input(0).dtype == "bool", f"has a condition of {op.input(0).dtype}")
    try:
        return [np.broadcast_shapes(*shapes)]
    except ValueError:
        raise op.error(f"has inputs of shapes {shapes[0]}, {shapes[1]} and {shapes[2]}") from None


def _search(op: Operation) -> list[Shape]:
    shape = op.input(0).shape
    axes = numbers(op, 1)
    require(op, len(axes) == 1, "does not have one axis")
    axis = axis_of(op, axes[0], len(shape))
    return [(*shape[:axis], *shape[axis + 1 :])]


def _lstm(op: Operation) -> list[Shape]:
    return [(*op.input(0).shape[:2], op.input(18).shape[-1])]


def _svdf(op: Operation) -> list[Shape]:
    filters = op.input(1).shape[0]
    rank = max(int(op.options["rank"]), 1)
    require(op, len(op.input(1).shape) == 2, "has weights that are not of two dimensions")
    return [(op.input(0).shape[0], filters // rank)]


_ITEMS, _NUMBERS = Role.ITEMS, Role.NUMBERS
_LAYER = (_ITEMS, Role.WEIGHTS, Role.BIAS)
_BINARY = Form((_ITEMS, _ITEMS), _broadcast)
_FUNCTION = Form((_ITEMS,), _same)
_REDUCTION = Form((_ITEMS, _NUMBERS), _reduction)

#: For each type of an input, the outputs that TensorFlow Lite Micro's kernels give.
_SHARES = {"int8": ("int8", "int16"), "int16": ("int16",)}
_REQUANTIZED = {
    "int8": ("int8", "uint8", "int16", "int32"),
    "int16": ("int8", "int16", "int32"),
    "int32": ("int8", "int16"),
    "uint8": ("int8",),
}

#: The form of each operator that a file may have, and of what passes/functions.py makes.
FORMS: dict[str, Form] = {
    **dict.fromkeys(("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL"), _BINARY),
    **dict.fromkeys(("SQUARED_DIFFERENCE", "SUB"), _BINARY),
    **dict.fromkeys(("ABS", "LEAKY_RELU", "LOGISTIC", "RELU", "RELU6", "RSQRT"), _FUNCTION),
    **dict.fromkeys(
        ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"),
        Form((_ITEMS, _ITEMS), _broadcast, types={"int8": ("bool",)}),
    ),
    **dict.fromkeys(
        ("ARG_MAX", "ARG_MIN"), Form((_ITEMS, _NUMBERS), _search, types={"int8": ("int32",)})
    ),
    **dict.fromkeys(("EXP", "GELU", "LOG", "RELU_0_TO_1", "RELU_N1_TO_1"), _FUNCTION),
    **dict.fromkeys(("ELU", "HARD_SWISH", "LOG_SOFTMAX", "L2_NORMALIZATION", "TANH"), _FUNCTION),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"), _REDUCTION),
    **dict.fromkeys(
        ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), Form((_ITEMS, _NUMBERS), _resize)
    ),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), Form((_ITEMS,), _pooling)),
    "BATCH_MATMUL": Form((_ITEMS, _ITEMS), _matrices),
    "BATCH_TO_SPACE_ND": Form((_ITEMS, _NUMBERS, _NUMBERS), _batch_to_space),
    "BROADCAST_TO": Form((_ITEMS, _NUMBERS), _broadcast_to),
    "ASSIGN_VARIABLE": Form((Role.OTHER, _ITEMS), _same),
    "CONCATENATION": Form((_ITEMS,), _concatenation, repeats=True),
    "CONV_2D": Form(_LAYER, _convolution),
    "DEPTH_TO_SPACE": Form((_ITEMS,), _depth_to_space),
    "DEPTHWISE_CONV_2D": Form(_LAYER, _depthwise),
    "EXPAND_DIMS": Form((_ITEMS, _NUMBERS), _ones),
    "FULLY_CONNECTED": Form(_LAYER, _fully_connected),
    "GATHER": Form((_ITEMS, _NUMBERS), _gather),
    "MIRROR_PAD": Form((_ITEMS, _NUMBERS), _mirror_pad),
    "PACK": Form((_ITEMS,), _pack, repeats=True),
    "PAD": Form((_ITEMS, _NUMBERS), _pad),
    "PADV2": Form((_ITEMS, _NUMBERS, Role.VALUE), _pad),
    "PRELU": Form((_ITEMS, Role.WEIGHTS), _broadcast),
    "QUANTIZE": Form((_ITEMS,), _same, types=_REQUANTIZED),
    "READ_VARIABLE": Form((Role.OTHER,), _same),
    "RESHAPE": Form((_ITEMS, Role.OTHER), _reshape),
    "REVERSE_V2": Form((_ITEMS, _NUMBERS), _reverse),
    "SELECT_V2": Form((Role.OTHER, _ITEMS, _ITEMS), _select),
    "SLICE": Form((_ITEMS, _NUMBERS, _NUMBERS), _slice),
    "SOFTMAX": Form((_ITEMS,), _same, types=_SHARES),
    "SPACE_TO_BATCH_ND": Form((_ITEMS, _NUMBERS, _NUMBERS), _space_to_batch),
    "SPACE_TO_DEPTH": Form((_ITEMS,), _space_to_depth),
    "SPLIT": Form((_NUMBERS, _ITEMS), _split),
    "SPLIT_V": Form((_ITEMS, _NUMBERS, _NUMBERS), _split),
    "SQUEEZE": Form((_ITEMS,), _ones),
    "STRIDED_SLICE": Form((_ITEMS, _NUMBERS, _NUMBERS, _NUMBERS), _strided_slice),
    "SVDF": Form((*_LAYER[:2], Role.OTHER, Role.BIAS, Role.OTHER), _svdf),
    "TABLE": _FUNCTION,
    "TILE": Form((_ITEMS, _NUMBERS), _tile),
    "TRANSPOSE": Form((_ITEMS, _NUMBERS), _transpose),
    "TRANSPOSE_CONV": Form((Role.OTHER, Role.WEIGHTS, _ITEMS, Role.BIAS), _transposed_convolution),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Form((_ITEMS, *[Role.OTHER] * 23), _lstm),
    "UNPACK": Form((_ITEMS,), _unpack),
}
