# SPDX-License-Identifier: Apache-2.0
"""Random networks whose layers move with time, or need the whole window."""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import Item, Random, Step, write_network
from test_rewrites import concatenate, like, reverse
from wide_operators import widen

SAME = schema.Padding.SAME
VALID = schema.Padding.VALID
LAYERS, MOST_LINES = 6, 28


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network and how it streams."""

    tflite: bytes
    axis: int
    hop: int
    window: int


def random_stream(seed: int) -> Stream:
    """A network of some layers along rows or columns, its hop and its window."""
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(1, 3))
    window = int(rng.integers(6, MOST_LINES))
    sizes = [1, int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(1, 7))]
    sizes[axis] = window
    tensors = [Item(tuple(sizes), 0.05, -4)]
    steps = []
    hop = int(rng.choice([1, 1, 1, 2, 2, 3, 4]))
    for _ in range(int(rng.integers(1, LAYERS + 1))):
        source = tensors[-1 - int(rng.integers(0, min(2, len(tensors))))]
        step, output = _layer(rng, source, tensors, axis)
        if min(output.shape) < 1:
            continue
        steps.append(step)
        tensors.append(output)
    step, output = _end(rng, tensors[-1])
    steps.append(step)
    tensors.append(output)
    read = {id(item) for _, inputs, _, _ in steps for item in inputs}
    tflite = write_network(steps, [item for item in tensors[1:] if id(item) not in read])
    tflite = widen(tflite) if rng.random() < 0.2 else tflite
    return Stream(tflite, axis, min(hop, window - 1), window)


def _layer(rng: Random, source: Item, tensors: list[Item], axis: int) -> tuple[Step, Item]:
    kind = int(rng.integers(0, 10))
    if kind < 3:
        return _convolution(rng, source, depthwise=False)
    if kind < 5:
        return _convolution(rng, source, depthwise=True)
    if kind == 5:
        return _pooling(rng, source)
    if kind == 6:
        return _elementwise(rng, source, tensors)
    if kind == 7:
        return _padding(rng, source)
    if kind == 8:
        others = [item for item in tensors if _joins(item, source)]
        return concatenate([source, others[int(rng.integers(0, len(others)))]])
    return reverse(source, 3 - axis if rng.random() < 0.7 else axis)


def _joins(item: Item, source: Item) -> bool:
    same = (item.scale, item.zero_point) == (source.scale, source.zero_point)
    return same and tuple(item.shape[:3]) == tuple(source.shape[:3])


def _length(size: int, window: int, stride: int, dilation: int, padding: int) -> int:
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if padding == SAME else (size - reach) // stride + 1


def _convolution(rng: Random, source: Item, *, depthwise: bool) -> tuple[Step, Item]:
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    rows, columns = (int(n) for n in rng.choice([1, 2, 3, 5], 2, p=[0.3, 0.2, 0.4, 0.1]))
    options.strideH = options.strideW = int(rng.choice([1, 1, 1, 2]))
    options.dilationHFactor = options.dilationWFactor = 1
    if options.strideH == 1 and rng.random() < 0.2:
        options.dilationHFactor = options.dilationWFactor = 2
    options.padding = int(rng.choice([SAME, VALID]))
    _, height, width, depth = source.shape
    height = _length(height, rows, options.strideH, options.dilationHFactor, options.padding)
    width = _length(width, columns, options.strideW, options.dilationWFactor, options.padding)
    channels = depth if depthwise else int(rng.integers(1, 9))
    shape = (1, rows, columns, depth) if depthwise else (channels, rows, columns, depth)
    filters = Item(shape, [0.01] * channels, axis=3 if depthwise else 0)
    filters.values = rng.integers(-127, 128, shape).astype(np.int8)
    bias = Item((channels,), values=rng.integers(-999, 999, channels).astype(np.int32))
    output = Item((1, height, width, channels), 0.1, -7)
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    if depthwise:
        options.depthMultiplier = 1
    return (kind, [source, filters, bias], [output], options), output


def _pooling(rng: Random, source: Item) -> tuple[Step, Item]:
    options = schema.Pool2DOptionsT()
    options.filterHeight, options.filterWidth = (int(n) for n in rng.integers(1, 4, 2))
    options.strideH = options.strideW = int(rng.integers(1, 3))
    options.padding = int(rng.choice([SAME, VALID]))
    options.fusedActivationFunction = 0
    _, height, width, depth = source.shape
    height = _length(height, options.filterHeight, options.strideH, 1, options.padding)
    width = _length(width, options.filterWidth, options.strideW, 1, options.padding)
    output = like(source, (1, height, width, depth))
    kind = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    return (kind, [source], [output], options), output


def _elementwise(rng: Random, source: Item, tensors: list[Item]) -> tuple[Step, Item]:
    if rng.random() < 0.4:
        output = Item(source.shape, 1 / 256, -128)
        return ("LOGISTIC", [source], [output], None), output
    others = [item for item in tensors if tuple(item.shape) == tuple(source.shape)]
    output = Item(source.shape, 0.3, -11)
    other = others[int(rng.integers(0, len(others)))]
    return ("ADD", [source, other], [output], schema.AddOptionsT()), output


def _padding(rng: Random, source: Item) -> tuple[Step, Item]:
    amounts = np.zeros((4, 2), np.int32)
    amounts[1:3] = rng.integers(0, 3, (2, 2))
    shape = [size + int(sum(pair)) for size, pair in zip(source.shape, amounts, strict=True)]
    output = like(source, tuple(shape))
    inputs = [source, Item((4, 2), values=amounts)]
    return ("PAD", inputs, [output], schema.PadOptionsT()), output


def _end(rng: Random, source: Item) -> tuple[Step, Item]:
    """A mean, a pooling of all, a dense layer over the map, or one more activation."""
    kind = int(rng.integers(0, 5))
    if kind < 2:
        options = schema.ReducerOptionsT(keepDims=bool(rng.random() < 0.5))
        axes = Item((2,), values=np.array([1, 2], np.int32))
        shape = (1, 1, 1, source.shape[3]) if options.keepDims else (1, source.shape[3])
        output = Item(shape, 0.04, 3)
        name = str(rng.choice(["MEAN", "SUM"]))
        return (name, [source, axes], [output], options), output
    if kind == 2:
        options = schema.Pool2DOptionsT(strideH=1, strideW=1)
        options.filterHeight, options.filterWidth = source.shape[1:3]
        options.padding = VALID
        options.fusedActivationFunction = 0
        output = like(source, (1, 1, 1, source.shape[3]))
        name = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        return (name, [source], [output], options), output
    if kind == 3:
        depth = int(np.prod(source.shape))
        classes = 3
        values = rng.integers(-127, 128, (classes, depth)).astype(np.int8)
        options = schema.FullyConnectedOptionsT()
        bias = Item((classes,), values=rng.integers(-99, 99, classes).astype(np.int32))
        output = Item((1, classes), 0.5, 1)
        inputs = [source, Item(values.shape, 0.01, values=values), bias]
        return ("FULLY_CONNECTED", inputs, [output], options), output
    output = Item(source.shape, 1 / 128, 0)
    return ("TANH", [source], [output], None), output
