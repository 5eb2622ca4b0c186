# SPDX-License-Identifier: Apache-2.0
"""Small files that ask the compiler for much: memory, time, calls or C."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import SAME, Item, Step, changed, write_model, write_network


def _whole(*values: int) -> Item:
    return Item((len(values),), values=np.array(values, np.int32))


def _item(*shape: int) -> Item:
    return Item(shape, 0.1, 0)


def _constant(*shape: int) -> Item:
    values = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) % 251 - 125
    return Item(shape, 0.1, 0, values.astype(np.int8))


def transposition(rank: int) -> bytes:
    """All dimensions of size 2 in another order: none can be joined."""
    order = [*range(0, rank, 2), *range(1, rank, 2)]
    shape = (2,) * rank
    return write_model("TRANSPOSE", [_item(*shape), _whole(*order)], [_item(*shape)])


def long_transposition(sizes: tuple[int, ...], order: tuple[int, ...]) -> bytes:
    """A transposition of which each copy takes few items."""
    target = tuple(sizes[axis] for axis in order)
    return write_model("TRANSPOSE", [_item(*sizes), _whole(*order)], [_item(*target)])


def same_input(count: int, lines: int = 4) -> bytes:
    """A concatenation of one tensor."""
    source = _item(1, lines, 1)
    options = schema.ConcatenationOptionsT(axis=2)
    target = _item(1, lines, count)
    return write_model("CONCATENATION", [source] * count, [target], options)


def chain(kind: str, count: int, shape: tuple[int, ...] = (1, 8, 8, 4)) -> bytes:
    """Operators one after the other."""
    options = {"ADD": schema.AddOptionsT(), "MUL": schema.MulOptionsT()}.get(kind)
    steps: list[Step] = []
    here = _item(*shape)
    for _ in range(count):
        after = _item(*shape)
        steps.append((kind, [here, here] if options else [here], [after], options))
        here = after
    return write_network(steps)


def fan(count: int, shape: tuple[int, ...] = (1, 8)) -> bytes:
    """Tensors that all live until the end."""
    source = _item(*shape)
    lines = [dataclasses.replace(source) for _ in range(count)]
    steps: list[Step] = []
    for number, line in enumerate(lines):
        other = lines[number - 1] if number else source
        steps.append(("ADD", [source, other], [line], schema.AddOptionsT()))
    here = lines[0]
    for line in lines[1:]:
        after = _item(*shape)
        steps.append(("ADD", [here, line], [after], schema.AddOptionsT()))
        here = after
    return write_network(steps)


def convolutions(count: int, lines: int = 32) -> bytes:
    """Convolutions one after the other, with few weights."""
    weights = Item((4, 3, 3, 4), 0.1, 0, np.ones((4, 3, 3, 4), np.int8))
    steps: list[Step] = []
    here = _item(1, lines, 8, 4)
    for _ in range(count):
        after = _item(1, lines, 8, 4)
        options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
        options.dilationHFactor = options.dilationWFactor = 1
        steps.append(("CONV_2D", [here, weights], [after], options))
        here = after
    return write_network(steps)


def residuals(count: int, channels: int = 64) -> bytes:
    """Residual blocks whose channels depend on each other from the last one to the first."""
    values = np.eye(channels, k=1, dtype=np.int8).reshape(channels, 1, 1, channels)
    weights = Item(values.shape, 0.1, 0, values)
    steps: list[Step] = []
    here = _item(1, 1, 1, channels)
    for _ in range(count):
        options = schema.Conv2DOptionsT(padding=SAME, strideH=1, strideW=1)
        options.dilationHFactor = options.dilationWFactor = 1
        block = _item(1, 1, 1, channels)
        after = _item(1, 1, 1, channels)
        steps.append(("CONV_2D", [here, weights], [block], options))
        steps.append(("ADD", [here, block], [after], schema.AddOptionsT()))
        here = after
    return write_network(steps)


def wide_window(lines: int, taps: int, dilation: int = 1) -> bytes:
    """A depthwise convolution whose window is as long as its input."""
    weights = Item((1, taps, 1, 1), 0.1, 0, np.ones((1, taps, 1, 1), np.int8))
    options = schema.DepthwiseConv2DOptionsT(
        padding=SAME, strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=dilation
    )
    options.dilationWFactor = 1
    shape = (1, lines, 2, 1)
    return write_model("DEPTHWISE_CONV_2D", [_item(*shape), weights], [_item(*shape)], options)


def large(kind: str, items: int) -> bytes:
    """One operator of large tensors."""
    return chain(kind, 1, (1, items))


def fills(count: int, items: int) -> bytes:
    """Constants that the file does not hold."""
    here = _item(1, items)
    steps: list[Step] = []
    for number in range(count):
        value = Item((), 0.1, 0, values=np.array(number, np.int8))
        filled = _item(1, items)
        after = _item(1, items)
        steps.append(("FILL", [_whole(1, items), value], [filled], None))
        steps.append(("ADD", [here, filled], [after], schema.AddOptionsT()))
        here = after
    return write_network(steps)


def doubled(times: int) -> bytes:
    """A constant that doubles with each operator."""
    here = _constant(1, 4)
    size = 4
    steps: list[Step] = []
    for _ in range(times):
        size *= 2
        after = _item(1, size)
        options = schema.ConcatenationOptionsT(axis=1)
        steps.append(("CONCATENATION", [here, here], [after], options))
        here = after
    target = _item(1, size)
    steps.append(("ADD", [_item(1, size), here], [target], schema.AddOptionsT()))
    return write_network(steps)


def tile(times: int) -> bytes:
    """A tensor that is repeated."""
    return write_model("TILE", [_item(1, 4), _whole(1, times)], [_item(1, 4 * times)])


def blocks(size: int) -> bytes:
    """A copy for each place of a block."""
    shape = (1, size * 2, size * 2, 1)
    target = (size * size, 2, 2, 1)
    ends = Item((2, 2), values=np.zeros((2, 2), np.int32))
    return write_model(
        "SPACE_TO_BATCH_ND", [_item(*shape), _whole(size, size), ends], [_item(*target)]
    )


def resize(rows: int, columns: int) -> bytes:
    """A picture from a pixel."""
    options = schema.ResizeBilinearOptionsT()
    return write_model(
        "RESIZE_BILINEAR",
        [_item(1, 1, 1, 1), _whole(rows, columns)],
        [_item(1, rows, columns, 1)],
        options,
    )


def broadcast_sum(rank: int) -> bytes:
    """A sum whose operands are broadcast along every other dimension."""
    first = tuple(2 if axis % 2 else 1 for axis in range(rank))
    second = tuple(1 if axis % 2 else 2 for axis in range(rank))
    return write_model(
        "ADD", [_item(*first), _item(*second)], [_item(*(2,) * rank)], schema.AddOptionsT()
    )


def reshaped_by_a_computed_shape() -> bytes:
    """A shape that the network computes, of as many items as the window has lines."""
    source = _item(3, 4)
    sizes = Item((3,), dtype="int32")
    after = _item(3, 2, 2)
    end = _item(3, 2, 2)
    return write_network(
        [
            ("RESHAPE", [source, sizes], [after], None),
            ("ADD", [after, after], [end], schema.AddOptionsT()),
        ]
    )


def long_names(characters: int) -> bytes:
    """Copies of a tensor whose name each comment would repeat."""
    tflite = blocks(8)
    return changed(tflite, lambda graph: [_rename(t, "a" * characters) for t in graph.tensors])


def _rename(tensor: Any, name: str) -> None:
    tensor.name = name


def product_of_constants(size: int) -> bytes:
    """Constants whose sum is as large as the product of their sizes."""
    first = _constant(1, size)
    second = _constant(size, 1)
    made = _item(1, size)
    end = _item(1, size)
    return write_network(
        [
            ("ADD", [first, second], [made], schema.AddOptionsT()),
            ("ADD", [made, _item(1, size)], [end], schema.AddOptionsT()),
        ]
    )


#: Files that are refused, by the operator or tensor that the error names.
REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "dimensions": ("'tensor0'", lambda: transposition(20)),
    "broadcast dimensions": ("'tensor0'", lambda: broadcast_sum(16)),
    "inputs": ("CONCATENATION", lambda: same_input(20_000)),
    "calls": ("CONCATENATION 'tensor1'", lambda: same_input(4_097)),
    "items": ("'tensor0'", lambda: large("ABS", 1 << 28)),
    "constants": ("FILL 'tensor67'", lambda: fills(40, 1 << 20)),
    "doubled constants": ("'tensor23'", lambda: doubled(24)),
    "constants of one operator": ("ADD", lambda: product_of_constants(100_000)),
    "lines": ("TILE 'tensor2'", lambda: tile(1 << 22)),
    "resized lines": ("RESIZE_BILINEAR", lambda: resize(1, 1 << 20)),
}

#: Files that are compiled, in little time, memory and C.
ACCEPTED: dict[str, Callable[[], bytes]] = {
    "copies": lambda: long_transposition((9, 9, 9, 9, 9, 9), (5, 3, 1, 4, 2, 0)),
    "one input often": lambda: same_input(2_000),
    "window": lambda: wide_window(32_767, 32_767),
    "dilated window": lambda: wide_window(32_767, 1_000, 32),
    "channels that depend on each other": lambda: residuals(100),
    "names": lambda: long_names(100_000),
    "lines": lambda: large("ABS", 1 << 24),
    "a computed shape": reshaped_by_a_computed_shape,
}
