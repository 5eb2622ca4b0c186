# SPDX-License-Identifier: Apache-2.0
"""Small files that ask the compiler for much: memory, time, calls or C."""

import dataclasses
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import SAME, VALID, Item, Step, write_model, write_network

ZERO = Item((), 0.1, 0)


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


def pack(count: int) -> bytes:
    """A tensor, many times."""
    source = _item(1, 4)
    return write_model("PACK", [source] * count, [_item(count, 1, 4)], schema.PackOptionsT(axis=0))


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


def wide_window(lines: int, taps: int, dilation: int = 1) -> bytes:
    """A depthwise convolution whose window is as long as its input."""
    weights = Item((1, taps, 1, 1), 0.1, 0, np.ones((1, taps, 1, 1), np.int8))
    options = schema.DepthwiseConv2DOptionsT(
        padding=SAME, strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=dilation
    )
    options.dilationWFactor = 1
    shape = (1, lines, 2, 1)
    return write_model("DEPTHWISE_CONV_2D", [_item(*shape), weights], [_item(*shape)], options)


def pool(lines: int, taps: int) -> bytes:
    """A pooling with a large window: no weights."""
    options = schema.Pool2DOptionsT(
        padding=SAME, strideH=1, strideW=1, filterHeight=taps, filterWidth=taps
    )
    shape = (1, lines, lines, 1)
    return write_model("MAX_POOL_2D", [_item(*shape)], [_item(*shape)], options)


def large(kind: str, items: int) -> bytes:
    """One operator of large tensors."""
    return chain(kind, 1, (1, items))


def fills(count: int, items: int) -> bytes:
    """Constants that the file does not hold."""
    source = here = _item(1, items)
    steps: list[Step] = []
    for number in range(count):
        value = Item((), 0.1, 0, values=np.array(number, np.int8))
        filled, after = _item(1, items), _item(1, items)
        steps.append(("FILL", [_whole(1, items), value], [filled], None))
        steps.append(("ADD", [here, filled], [after], schema.AddOptionsT()))
        here = after
    del source
    return write_network(steps)


def doubled(times: int) -> bytes:
    """A constant that doubles with each operator."""
    here, size = _constant(1, 4), 4
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


def unpack(count: int) -> bytes:
    """A tensor for each line."""
    lines = [_item(1, 2) for _ in range(count)]
    options = schema.UnpackOptionsT(axis=1, num=count)
    steps: list[Step] = [("UNPACK", [_item(1, count, 2)], lines, options)]
    here = lines[0]
    for line in lines[1:]:
        after = _item(1, 2)
        steps.append(("ADD", [here, line], [after], schema.AddOptionsT()))
        here = after
    return write_network(steps)


def split(count: int) -> bytes:
    """Parts that nothing computes with."""
    lines = [_item(1, 1, 2) for _ in range(count)]
    options = schema.SplitOptionsT(numSplits=count)
    steps: list[Step] = [("SPLIT", [_whole(1), _item(1, count, 2)], lines, options)]
    join = schema.ConcatenationOptionsT(axis=2)
    steps.append(("CONCATENATION", lines[::-1], [_item(1, 1, 2 * count)], join))
    return write_network(steps)


def views(count: int) -> bytes:
    """Operators without a call."""
    here = _item(1, 4, 4)
    steps: list[Step] = []
    for _ in range(count):
        after = _item(1, 4, 4)
        steps.append(("TRANSPOSE", [here, _whole(0, 2, 1)], [after], None))
        here = after
    after = _item(1, 4, 4)
    steps.append(("ADD", [here, here], [after], schema.AddOptionsT()))
    return write_network(steps)


def blocks(size: int) -> bytes:
    """A copy for each place of a block."""
    shape = (1, size * 2, size * 2, 1)
    target = (size * size, 2, 2, 1)
    ends = Item((2, 2), values=np.zeros((2, 2), np.int32))
    return write_model(
        "SPACE_TO_BATCH_ND", [_item(*shape), _whole(size, size), ends], [_item(*target)]
    )


def softmax(rows: int) -> bytes:
    """Many short rows."""
    shape = (rows, 4)
    return write_model(
        "SOFTMAX", [_item(*shape)], [Item(shape, 1 / 256, -128)], schema.SoftmaxOptionsT(beta=1.0)
    )


def resize(size: int) -> bytes:
    """A picture from a pixel."""
    options = schema.ResizeBilinearOptionsT()
    return write_model(
        "RESIZE_BILINEAR",
        [_item(1, 1, 1, 1), _whole(size, size)],
        [_item(1, size, size, 1)],
        options,
    )


def matmul(batches: int) -> bytes:
    """A product for each batch."""
    first, second = _item(batches, 2, 2), _item(batches, 2, 2)
    options = schema.BatchMatMulOptionsT()
    return write_model("BATCH_MATMUL", [first, second], [_item(batches, 2, 2)], options)


def mirrored(size: int) -> bytes:
    """Edges of a large tensor."""
    amounts = Item((4, 2), values=np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    return write_model(
        "MIRROR_PAD",
        [_item(1, size, size, 1), amounts],
        [_item(1, size + 2, size + 2, 1)],
        schema.MirrorPadOptionsT(),
    )


def reduction(shape: tuple[int, ...], axes: tuple[int, ...]) -> bytes:
    """A mean over axes that alternate."""
    target = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return write_model(
        "MEAN", [_item(*shape), _whole(*axes)], [_item(*target)], schema.ReducerOptionsT()
    )


def broadcast_sum(rank: int) -> bytes:
    """A sum whose operands are broadcast along every other dimension."""
    first = tuple(2 if axis % 2 else 1 for axis in range(rank))
    second = tuple(1 if axis % 2 else 2 for axis in range(rank))
    return write_model(
        "ADD", [_item(*first), _item(*second)], [_item(*(2,) * rank)], schema.AddOptionsT()
    )


def reshaped_by_a_computed_shape() -> bytes:
    """A shape that the network computes; it streams along its first axes."""
    source, sizes = _item(1, 8, 4), Item((3,), dtype="int32")
    after, end = _item(1, 8, 4), _item(1, 8, 4)
    return write_network(
        [
            ("RESHAPE", [source, sizes], [after], None),
            ("ADD", [after, after], [end], schema.AddOptionsT()),
        ]
    )


#: File -> what it asks for too much of.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "transpose rank 8": lambda: transposition(8),
    "transpose rank 9": lambda: transposition(9),
    "transpose rank 20": lambda: transposition(20),
    "transpose large": lambda: long_transposition((9, 9, 9, 9, 9, 9), (5, 3, 1, 4, 2, 0)),
    "concat 20000": lambda: same_input(20_000),
    "concat 4000": lambda: same_input(4_000),
    "concat 2000": lambda: same_input(2_000),
    "pack 4000": lambda: pack(4_000),
    "relu 4000": lambda: chain("RELU", 4_000),
    "add 4000": lambda: chain("ADD", 4_000),
    "add 2000": lambda: chain("ADD", 2_000),
    "add 20000": lambda: chain("ADD", 20_000),
    "fan 1000": lambda: fan(1_000),
    "fan 2000": lambda: fan(2_000),
    "conv 100": lambda: convolutions(100),
    "conv 500": lambda: convolutions(500),
    "conv 1500": lambda: convolutions(1500),
    "window": lambda: wide_window(32767, 32767),
    "window dilated": lambda: wide_window(32767, 1000, 32),
    "pool": lambda: pool(4000, 4000),
    "pool 16000": lambda: pool(16000, 16000),
    "add large": lambda: large("ADD", 1 << 28),
    "abs large": lambda: large("ABS", 1 << 28),
    "fills": lambda: fills(40, 1 << 20),
    "doubled": lambda: doubled(24),
    "tile": lambda: tile(1 << 26),
    "unpack": lambda: unpack(2_000),
    "split": lambda: split(4_000),
    "views 4000": lambda: views(4_000),
    "blocks": lambda: blocks(32),
    "softmax": lambda: softmax(1 << 24),
    "resize": lambda: resize(16_000),
    "matmul": lambda: matmul(1 << 16),
    "mirror": lambda: mirrored(16_000),
    "mean": lambda: reduction((3,) * 12, (0, 2, 4, 6, 8, 10)),
    "mean 8": lambda: reduction((9,) * 8, (0, 2, 4, 6)),
    "broadcast": lambda: broadcast_sum(16),
    "broadcast 8": lambda: broadcast_sum(8),
    "computed shape": reshaped_by_a_computed_shape,
}
assert VALID
