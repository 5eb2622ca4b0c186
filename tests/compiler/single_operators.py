# SPDX-License-Identifier: Apache-2.0
"""``.tflite`` files of one operator with random shapes, scales and zero points."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.compiler.passes.functions import IN_FLOAT

Random = np.random.Generator
SAME = schema.Padding.SAME
VALID = schema.Padding.VALID


@dataclasses.dataclass
class Item:
    """A tensor, of a given type or the type of its values; states are variables."""

    shape: Sequence[int]
    scale: float | Sequence[float] = 1.0
    zero_point: int = 0
    values: np.ndarray | None = None
    axis: int = 0
    dtype: str = "int8"
    is_state: bool = False


#: An operator: its kind, inputs, outputs and options.
Step = tuple[str, list[Item | None], list[Item], Any]


def write_model(
    kind: str, inputs: Sequence[Item | None], outputs: Sequence[Item], options: Any = None
) -> bytes:
    """The file of a network of one operator; inputs without values are inputs of the network."""
    return write_network([(kind, list(inputs), list(outputs), options)])


def write_network(
    operators: Sequence[Step],
    ends: Sequence[Item] = (),
) -> bytes:
    """The file of a network; its outputs are ``ends``, or the last operator's."""
    buffers = [schema.BufferT()]
    tensors: list[Any] = []
    places: dict[int, int] = {}
    codes: list[Any] = []
    steps = []
    made: set[int] = set()
    wanted: list[int] = []
    for kind, inputs, outputs, options in operators:
        for item in [*inputs, *outputs]:
            if item is not None and id(item) not in places:
                places[id(item)] = len(tensors)
                tensors.append(_tensor(item, len(tensors), buffers))
        wanted += [
            places[id(item)]
            for item in inputs
            if item is not None
            and item.values is None
            and not item.is_state
            and places[id(item)] not in made
        ]
        made |= {places[id(item)] for item in outputs}
        number = getattr(schema.BuiltinOperator, kind)
        codes.append(schema.OperatorCodeT())
        codes[-1].builtinCode = number
        codes[-1].deprecatedBuiltinCode = min(number, 127)
        step = schema.OperatorT(
            opcodeIndex=len(codes) - 1,
            inputs=[-1 if item is None else places[id(item)] for item in inputs],
            outputs=[places[id(item)] for item in outputs],
        )
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            step.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            step.builtinOptions = options
        steps.append(step)
    graph = schema.SubGraphT(
        tensors=tensors,
        operators=steps,
        inputs=list(dict.fromkeys(wanted)),
        outputs=[places[id(item)] for item in ends or operators[-1][2]],
        name="main",
    )
    model = schema.ModelT(
        version=3, subgraphs=[graph], operatorCodes=codes, buffers=buffers, description="test"
    )
    return pack_model(model)


def pack_model(model: Any) -> bytes:
    """The file of a model of the object API."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(tflite: bytes, change: Callable[[Any], object]) -> bytes:
    """A file whose graph is changed."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    change(model.subgraphs[0])
    return pack_model(model)


def _tensor(item: Item, number: int, buffers: list[Any]) -> Any:
    tensor = schema.TensorT(shape=[int(size) for size in item.shape], name=f"tensor{number}")
    dtype = item.dtype if item.values is None else str(item.values.dtype)
    tensor.isVariable = item.is_state
    tensor.type = getattr(schema.TensorType, dtype.upper())
    tensor.buffer = 0
    if item.values is not None:
        buffer = schema.BufferT(
            data=np.frombuffer(np.ascontiguousarray(item.values).tobytes(), np.uint8)
        )
        buffers.append(buffer)
        tensor.buffer = len(buffers) - 1
    if dtype in ("int8", "int16", "uint8") or item.scale != 1.0:
        quantization = schema.QuantizationParametersT()
        scales = np.atleast_1d(np.asarray(item.scale, np.float32))
        quantization.scale = scales.tolist()
        quantization.zeroPoint = [item.zero_point] * len(scales)
        quantization.quantizedDimension = item.axis
        tensor.quantization = quantization
    return tensor


def _scale(rng: Random) -> float:
    return float(np.float32(2.0 ** rng.uniform(-10, 2)))


def _zero(rng: Random) -> int:
    return int(rng.choice([-128, 127, 0, rng.integers(-128, 128)]))


def _computed(rng: Random, shape: Sequence[int]) -> Item:
    return Item(tuple(int(size) for size in shape), _scale(rng), _zero(rng))


def _axes(values: Sequence[int]) -> Item:
    array = np.array(values, np.int32)
    return Item(array.shape, values=array)


def _int8(rng: Random, shape: Sequence[int]) -> np.ndarray:
    """Weights: noise, or the extreme values alone."""
    if rng.random() < 0.2:
        return rng.choice(np.array([-127, 127], np.int8), shape)
    return rng.integers(-127, 128, shape).astype(np.int8)


def _window(rng: Random, options: Any) -> tuple[int, int, int, int]:
    options.strideH, options.strideW = (int(n) for n in rng.integers(1, 4, 2))
    options.padding = int(rng.choice([SAME, VALID]))
    rows, columns = (int(n) for n in rng.integers(1, 6, 2))
    return rows, columns, int(rng.integers(rows, 12)), int(rng.integers(columns, 12))


def _length(size: int, window: int, stride: int, dilation: int, padding: int) -> int:
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if padding == SAME else (size - reach) // stride + 1


def _output_size(options: Any, size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
    return (
        _length(size[0], window[0], options.strideH, options.dilationHFactor, options.padding),
        _length(size[1], window[1], options.strideW, options.dilationWFactor, options.padding),
    )


def _activation(rng: Random) -> int:
    return int(rng.choice([0, 0, 1, 2, 3]))


def _conv_output(rng: Random, source: Item, reach: float, shape: Sequence[int]) -> Item:
    """An output whose scale fits sums of about ``reach``, now and then far from it."""
    scale = reach * 2.0 ** rng.choice([0, -1, -3, 1, 4]) / 128 * rng.uniform(0.5, 1)
    return Item(tuple(shape), float(np.float32(max(scale, 1e-30))), _zero(rng))


def convolution(rng: Random) -> bytes:
    options = schema.Conv2DOptionsT()
    rows, columns, height, width = _window(rng, options)
    options.dilationHFactor = 1
    options.dilationWFactor = 1
    if rng.random() < 0.3:
        dilation = int(rng.integers(2, 4))
        options.strideH = options.strideW = 1
        options.dilationHFactor = options.dilationWFactor = dilation
        height, width = height + dilation * rows, width + dilation * columns
    if rng.random() < 0.3:
        rows = columns = 1
    options.fusedActivationFunction = _activation(rng)
    channels = int(rng.integers(1, 11))
    depth = int(rng.integers(1, 11))
    groups = 2 if channels % 2 == 0 and rng.random() < 0.15 else 1
    batches = int(rng.choice([1, 1, 1, 2]))
    source = _computed(rng, (batches, height, width, depth * groups))
    scales = rng.uniform(0.001, 0.02, channels if rng.random() < 0.8 else 1).astype(np.float32)
    filters = Item((channels, rows, columns, depth), scales, 0)
    filters.values = _int8(rng, filters.shape)
    bias = Item((channels,), values=rng.integers(-5000, 5000, channels).astype(np.int32))
    places = _output_size(options, (height, width), (rows, columns))
    reach = source.scale * float(scales.max()) * 9000 * np.sqrt(rows * columns * depth)
    output = _conv_output(rng, source, reach, (batches, *places, channels))
    inputs = [source, filters, bias if rng.random() < 0.9 else None]
    return write_model("CONV_2D", inputs, [output], options)


def depthwise(rng: Random) -> bytes:
    options = schema.DepthwiseConv2DOptionsT()
    rows, columns, height, width = _window(rng, options)
    options.strideW = options.strideH
    options.dilationHFactor = options.dilationWFactor = 1
    if rng.random() < 0.3:
        options.strideH = options.strideW = 1
        options.dilationHFactor = options.dilationWFactor = 2
        height, width = height + 2 * rows, width + 2 * columns
    options.fusedActivationFunction = _activation(rng)
    depth = int(rng.integers(1, 14))
    options.depthMultiplier = int(rng.choice([1, 1, 1, 2, 3]))
    channels = depth * options.depthMultiplier
    batches = int(rng.choice([1, 1, 1, 2]))
    source = _computed(rng, (batches, height, width, depth))
    scales = rng.uniform(0.001, 0.02, channels if rng.random() < 0.8 else 1).astype(np.float32)
    filters = Item((1, rows, columns, channels), scales, 0, axis=3)
    filters.values = _int8(rng, filters.shape)
    bias = Item((channels,), values=rng.integers(-5000, 5000, channels).astype(np.int32))
    places = _output_size(options, (height, width), (rows, columns))
    reach = source.scale * float(scales.max()) * 9000 * np.sqrt(rows * columns)
    output = _conv_output(rng, source, reach, (batches, *places, channels))
    return write_model("DEPTHWISE_CONV_2D", [source, filters, bias], [output], options)


def fully_connected(rng: Random) -> bytes:
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=_activation(rng))
    batches, depth, channels = int(rng.integers(1, 4)), *(int(n) for n in rng.integers(1, 40, 2))
    source = _computed(rng, (batches, depth))
    scales = rng.uniform(0.001, 0.02, channels if rng.random() < 0.4 else 1).astype(np.float32)
    filters = Item((channels, depth), scales, 0)
    filters.values = _int8(rng, filters.shape)
    bias = Item((channels,), values=rng.integers(-5000, 5000, channels).astype(np.int32))
    bias.scale = source.scale * float(scales[0])  # TFLite Micro compares it with the weights' scale
    reach = source.scale * float(scales.max()) * 9000 * np.sqrt(depth)
    output = _conv_output(rng, source, reach, (batches, channels))
    return write_model("FULLY_CONNECTED", [source, filters, bias], [output], options)


def pooling(kind: str) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = schema.Pool2DOptionsT()
        rows, columns, height, width = _window(rng, options)
        options.filterHeight = rows
        options.filterWidth = columns
        options.fusedActivationFunction = _activation(rng)
        depth = int(rng.integers(1, 9))
        source = _computed(rng, (int(rng.integers(1, 3)), height, width, depth))
        shape = (
            source.shape[0],
            _length(height, rows, options.strideH, 1, options.padding),
            _length(width, columns, options.strideW, 1, options.padding),
            depth,
        )
        return write_model(kind, [source], [dataclasses.replace(source, shape=shape)], options)

    return make


def _any_shape(rng: Random, most: int = 4) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, most + 1)))


#: Where TFLite Micro broadcasts tensors of more than four dimensions.
MOST_DIMENSIONS = {"ADD": 6, "SUB": 6, "MUL": 6, "MAXIMUM": 5, "MINIMUM": 5}


def binary(kind: str, options_type: Any) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = options_type()
        if hasattr(options, "fusedActivationFunction"):
            options.fusedActivationFunction = _activation(rng)
        shape = _any_shape(rng, MOST_DIMENSIONS.get(kind, 4))
        first = _computed(rng, [1 if rng.random() < 0.1 else size for size in shape])
        second = _computed(rng, [1 if rng.random() < 0.25 else size for size in shape])
        out_shape = np.broadcast_shapes(first.shape, second.shape)
        if kind == "MUL":
            scale = first.scale * second.scale * 128
        elif kind == "DIV":  # TFLite Micro shifts by more bits than a number has above 1 / 64
            scale = first.scale / second.scale / 64
        elif kind == "SQUARED_DIFFERENCE":
            scale = max(first.scale, second.scale) ** 2 * 128
        else:
            scale = max(first.scale, second.scale) * 2
        scale = float(np.float32(scale * 2.0 ** rng.uniform(-3, 0 if kind == "DIV" else 3)))
        output = Item(out_shape, scale, _zero(rng))
        if kind in ("MINIMUM", "MAXIMUM"):
            second = dataclasses.replace(first, shape=second.shape)
            output = dataclasses.replace(first, shape=out_shape)
        if rng.random() < 0.2:
            second.values = rng.integers(-128, 128, second.shape).astype(np.int8)
        if kind == "DIV":  # by anything but zero
            values = rng.integers(1, 256, second.shape) + second.zero_point
            second.values = np.where(values > 127, values - 256, values).astype(np.int8)
        inputs = (
            [first, first]
            if kind != "DIV" and rng.random() < 0.1 and out_shape == first.shape
            else [first, second]
        )
        if inputs[1] is second and second.values is None and rng.random() < 0.3:
            inputs.reverse()
        return write_model(kind, inputs, [output], options)

    return make


def unary(kind: str, options_type: Any = None) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = options_type() if options_type else None
        source = _computed(rng, _any_shape(rng))
        output = _computed(rng, source.shape)
        if kind == "LOGISTIC":
            output.scale = 1 / 256
            output.zero_point = -128
        elif kind == "TANH":
            output.scale = 1 / 128
            output.zero_point = 0
        elif kind == "HARD_SWISH":
            output.scale = float(np.float32(source.scale * rng.uniform(0.01, 4)))
        elif kind == "RELU6":
            source.scale = float(np.float32(rng.uniform(0.01, 0.2)))
            source.zero_point = int(rng.integers(-128, 0))
            output.scale = source.scale
            output.zero_point = source.zero_point
        elif kind == "RSQRT":
            source.zero_point = -128
        elif kind == "EXP":
            source.scale = float(np.float32(2.0 ** rng.uniform(-10, -2)))
            most = np.exp(source.scale * (127 - source.zero_point))
            output.scale = float(np.float32(most * 2.0 ** rng.uniform(-10, -6)))
        elif kind in ("GELU", "RELU_0_TO_1", "RELU_N1_TO_1"):
            output.scale = float(np.float32(source.scale * 2.0 ** rng.uniform(-3, 1)))
            if kind == "GELU":
                options.approximate = bool(rng.integers(0, 2))
        elif kind == "LEAKY_RELU":
            options.alpha = float(rng.choice([0.01, 0.3, 1.5, -0.2]))
        return write_model(kind, [source], [output], options)

    return make


def softmax(rng: Random) -> bytes:
    options = schema.SoftmaxOptionsT(beta=float(rng.choice([1.0, 0.5, 3.0])))
    source = _computed(rng, _any_shape(rng))
    return write_model("SOFTMAX", [source], [Item(source.shape, 1 / 256, -128)], options)


def log_softmax(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    return write_model("LOG_SOFTMAX", [source], [Item(source.shape, 1 / 16, 127)])


def batch_matmul(rng: Random) -> bytes:
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = (bool(flag) for flag in rng.integers(0, 2, 2))
    rows, columns, depth = (int(n) for n in rng.integers(1, 8, 3))
    leading = _any_shape(rng, 3)
    sides = [[1 if rng.random() < 0.25 else size for size in leading] for _ in range(2)]
    sides[int(rng.integers(0, 2))] = list(leading)
    sides[1] = sides[1][int(rng.integers(0, 2)) :] if len(leading) > 1 else sides[1]
    leading = np.broadcast_shapes(*map(tuple, sides))
    first = _computed(rng, (*sides[0], *((depth, rows) if options.adjX else (rows, depth))))
    second = _computed(rng, (*sides[1], *((columns, depth) if options.adjY else (depth, columns))))
    reach = first.scale * second.scale * 9000 * np.sqrt(depth)
    output = _conv_output(rng, first, reach, (*leading, rows, columns))
    return write_model("BATCH_MATMUL", [first, second], [output], options)


def reduction(kind: str) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = schema.ReducerOptionsT(keepDims=bool(rng.integers(0, 2)))
        shape = _any_shape(rng, 5)
        count = int(rng.integers(1, min(len(shape), 4) + 1))
        axes = sorted(int(a) for a in rng.choice(len(shape), count, replace=False))
        kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
        if not options.keepDims:
            kept = [size for axis, size in enumerate(shape) if axis not in axes]
        source = _computed(rng, shape)
        output = dataclasses.replace(source, shape=kept)
        if kind not in ("REDUCE_MAX", "REDUCE_MIN"):
            output.scale = float(np.float32(source.scale * 2.0 ** rng.uniform(-2, 3)))
            output.zero_point = _zero(rng)
        return write_model(kind, [source, _axes(axes)], [output], options)

    return make


def reshape(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    shape = (int(np.prod(source.shape)),)
    inputs = [source, _axes(shape)]
    return write_model("RESHAPE", inputs, [dataclasses.replace(source, shape=shape)])


def transpose(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    order = [int(axis) for axis in rng.permutation(len(source.shape))]
    output = dataclasses.replace(source, shape=[source.shape[axis] for axis in order])
    return write_model("TRANSPOSE", [source, _axes(order)], [output], schema.TransposeOptionsT())


def reverse(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    dimensions = len(source.shape)
    start = int(rng.integers(0, dimensions))  # TFLite Micro takes axes side by side
    axes = list(range(start, int(rng.integers(start, dimensions)) + 1))
    output = dataclasses.replace(source)
    return write_model("REVERSE_V2", [source, _axes(axes)], [output], schema.ReverseV2OptionsT())


def take_slice(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    start = [int(rng.integers(0, size)) for size in source.shape]
    sizes = [
        int(rng.integers(1, size - at + 1)) for size, at in zip(source.shape, start, strict=True)
    ]
    output = dataclasses.replace(source, shape=sizes)
    inputs = [source, _axes(start), _axes(sizes)]
    return write_model("SLICE", inputs, [output], schema.SliceOptionsT())


def strided_slice(rng: Random) -> bytes:
    options = schema.StridedSliceOptionsT()
    source = _computed(rng, _any_shape(rng))
    size = len(source.shape)
    start = [int(rng.integers(0, n)) for n in source.shape]
    stop = [int(rng.integers(at + 1, n + 1)) for n, at in zip(source.shape, start, strict=True)]
    steps = [int(n) for n in rng.integers(1, 3, size)]
    options.beginMask, options.endMask = (int(n) for n in rng.integers(0, 1 << size, 2))
    shape = []
    for axis in range(size):
        first = 0 if options.beginMask >> axis & 1 else start[axis]
        last = source.shape[axis] if options.endMask >> axis & 1 else stop[axis]
        shape.append(len(range(first, last, steps[axis])))
    inputs = [source, _axes(start), _axes(stop), _axes(steps)]
    output = dataclasses.replace(source, shape=shape)
    return write_model("STRIDED_SLICE", inputs, [output], options)


def split(rng: Random) -> bytes:
    options = schema.SplitOptionsT()
    shape = list(_any_shape(rng))
    axis = int(rng.integers(0, len(shape)))
    options.numSplits = int(rng.integers(1, 4))
    part = list(shape)
    shape[axis] *= options.numSplits
    source = _computed(rng, shape)
    outputs = [dataclasses.replace(source, shape=part) for _ in range(options.numSplits)]
    where = Item((), values=np.array(axis, np.int32))
    return write_model("SPLIT", [where, source], outputs, options)


def split_v(rng: Random) -> bytes:
    options = schema.SplitVOptionsT()
    shape = list(_any_shape(rng))
    axis = int(rng.integers(0, len(shape)))
    sizes = [int(n) for n in rng.integers(1, 4, rng.integers(1, 4))]
    options.numSplits = len(sizes)
    shape[axis] = sum(sizes)
    source = _computed(rng, shape)
    outputs = [
        dataclasses.replace(source, shape=[*shape[:axis], size, *shape[axis + 1 :]])
        for size in sizes
    ]
    where = Item((), values=np.array(axis, np.int32))
    return write_model("SPLIT_V", [source, _axes(sizes), where], outputs, options)


def pack(rng: Random) -> bytes:
    options = schema.PackOptionsT()
    first = _computed(rng, _any_shape(rng, 3))
    axis = int(rng.integers(0, len(first.shape) + 1))
    options.valuesCount = int(rng.integers(1, 4))
    options.axis = axis
    items = [dataclasses.replace(first) for _ in range(options.valuesCount)]
    shape = [*first.shape[:axis], options.valuesCount, *first.shape[axis:]]
    return write_model("PACK", items, [dataclasses.replace(first, shape=shape)], options)


def unpack(rng: Random) -> bytes:
    options = schema.UnpackOptionsT()
    source = _computed(rng, _any_shape(rng))
    options.axis = axis = int(rng.integers(0, len(source.shape)))
    options.num = source.shape[axis]
    part = [*source.shape[:axis], *source.shape[axis + 1 :]]
    outputs = [dataclasses.replace(source, shape=part) for _ in range(options.num)]
    return write_model("UNPACK", [source], outputs, options)


def blocks(is_spread: bool) -> Callable[[Random], bytes]:
    """SPACE_TO_BATCH_ND, or the way back; TFLite Micro pads with memory that it never sets."""

    def make(rng: Random) -> bytes:
        count = int(rng.integers(1, 3))
        block = rng.integers(1, 4, count).astype(np.int32)
        ends = rng.integers(0, 1 if is_spread else 4, (count, 2)).astype(np.int32)
        batch, depth = (int(n) for n in rng.integers(1, 4, 2))
        least = -(-(ends.sum(axis=1) + 1) // block)
        inner = [int(n) for n in least + rng.integers(0, 3, count)]
        sizes = [int(n) for n in inner * block - ends.sum(axis=1)]
        image = _computed(rng, (batch, *sizes, depth))
        batches = dataclasses.replace(image, shape=(batch * int(block.prod()), *inner, depth))
        places = [Item(block.shape, values=block), Item(ends.shape, values=ends)]
        if is_spread:
            options = schema.SpaceToBatchNDOptionsT()
            return write_model("SPACE_TO_BATCH_ND", [image, *places], [batches], options)
        options = schema.BatchToSpaceNDOptionsT()
        return write_model("BATCH_TO_SPACE_ND", [batches, *places], [image], options)

    return make


def concatenation(rng: Random) -> bytes:
    options = schema.ConcatenationOptionsT()
    shape = list(_any_shape(rng))
    axis = int(rng.integers(0, len(shape)))
    options.axis = axis if rng.random() < 0.5 else axis - len(shape)
    first = _computed(rng, shape)
    items = [first]
    for _ in range(int(rng.integers(1, 3))):
        size = int(rng.integers(1, 4))
        items.append(dataclasses.replace(first, shape=[*shape[:axis], size, *shape[axis + 1 :]]))
    shape[axis] = sum(item.shape[axis] for item in items)
    if rng.random() < 0.2:
        items[-1].values = rng.integers(-128, 128, items[-1].shape).astype(np.int8)
    return write_model("CONCATENATION", items, [dataclasses.replace(first, shape=shape)], options)


def pad(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    amounts = rng.integers(0, 3, (len(source.shape), 2)).astype(np.int32)
    shape = [size + int(sum(pair)) for size, pair in zip(source.shape, amounts, strict=True)]
    inputs = [source, Item(amounts.shape, values=amounts)]
    output = dataclasses.replace(source, shape=shape)
    if rng.random() < 0.4:
        value = rng.integers(-128, 128, (1,)).astype(np.int8)
        inputs.append(Item((1,), source.scale, source.zero_point, values=value))
        return write_model("PADV2", inputs, [output], schema.PadV2OptionsT())
    return write_model("PAD", inputs, [output], schema.PadOptionsT())


def resize(kind: str, options_type: Any) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = options_type()
        options.alignCorners, options.halfPixelCenters = [
            (False, False),
            (True, False),
            (False, True),
        ][int(rng.integers(0, 3))]
        source = _computed(rng, rng.integers(1, 7, 4))
        size = rng.integers(1, 14, 2).astype(np.int32)
        output = dataclasses.replace(source, shape=(source.shape[0], *size, source.shape[3]))
        return write_model(kind, [source, Item((2,), values=size)], [output], options)

    return make


def gather(rng: Random) -> bytes:
    options = schema.GatherOptionsT()
    source = _computed(rng, _any_shape(rng))
    axis = int(rng.integers(0, len(source.shape)))
    options.axis = axis if rng.random() < 0.5 else axis - len(source.shape)
    indices = rng.integers(0, source.shape[axis], _any_shape(rng, 2)).astype(np.int32)
    shape = (*source.shape[:axis], *indices.shape, *source.shape[axis + 1 :])
    inputs = [source, Item(indices.shape, values=indices)]
    return write_model("GATHER", inputs, [dataclasses.replace(source, shape=shape)], options)


def broadcast_to(rng: Random) -> bytes:
    shape = _any_shape(rng)
    goal = [*rng.integers(1, 3, 4 - len(shape)), *shape]
    source = _computed(rng, [size if rng.integers(2) else 1 for size in shape])
    output = dataclasses.replace(source, shape=[int(size) for size in goal])
    return write_model(
        "BROADCAST_TO", [source, _axes(goal)], [output], schema.BroadcastToOptionsT()
    )


def tile(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    times = [int(n) for n in rng.integers(1, 4, len(source.shape))]
    shape = [size * count for size, count in zip(source.shape, times, strict=True)]
    output = dataclasses.replace(source, shape=shape)
    return write_model("TILE", [source, _axes(times)], [output], schema.TileOptionsT())


def mirror_pad(rng: Random) -> bytes:
    options = schema.MirrorPadOptionsT(mode=int(rng.integers(0, 2)))
    source = _computed(rng, _any_shape(rng))
    most = np.array(source.shape) - (0 if options.mode else 1)
    amounts = rng.integers(0, most[:, None] + 1, (len(most), 2)).astype(np.int32)
    shape = [size + int(sum(pair)) for size, pair in zip(source.shape, amounts, strict=True)]
    inputs = [source, Item(amounts.shape, values=amounts)]
    return write_model("MIRROR_PAD", inputs, [dataclasses.replace(source, shape=shape)], options)


def depth_blocks(is_spread: bool) -> Callable[[Random], bytes]:
    """SPACE_TO_DEPTH, or the way back."""

    def make(rng: Random) -> bytes:
        batch, rows, columns, channels = (int(n) for n in rng.integers(1, 4, 4))
        block = int(rng.integers(1, 4))
        image = _computed(rng, (batch, rows * block, columns * block, channels))
        deep = dataclasses.replace(image, shape=(batch, rows, columns, channels * block**2))
        if is_spread:
            options = schema.SpaceToDepthOptionsT(blockSize=block)
            return write_model("SPACE_TO_DEPTH", [image], [deep], options)
        options = schema.DepthToSpaceOptionsT(blockSize=block)
        return write_model("DEPTH_TO_SPACE", [deep], [image], options)

    return make


def slopes(rng: Random) -> bytes:
    shape = _any_shape(rng)
    source = _computed(rng, shape)
    output = _computed(rng, shape)
    output.scale = float(np.float32(source.scale * 2.0 ** rng.uniform(-2, 3)))
    alpha = _computed(rng, [1 if rng.random() < 0.5 else size for size in shape])
    alpha.scale = float(np.float32(rng.uniform(0.001, 0.02)))
    alpha.values = rng.integers(-128, 128, alpha.shape).astype(np.int8)
    if rng.random() < 0.3:  # both inputs are repeated
        source.shape = [
            size if steps == 1 else 1 for size, steps in zip(shape, alpha.shape, strict=True)
        ]
    return write_model("PRELU", [source, alpha], [output])


def normalization(rng: Random) -> bytes:
    source = _computed(rng, _any_shape(rng))
    output = Item(source.shape, 1 / 128, 0)
    return write_model("L2_NORMALIZATION", [source], [output], schema.L2NormOptionsT())


def transposed_convolution(rng: Random) -> bytes:
    options = schema.TransposeConvOptionsT()
    rows, columns, height, width = _window(rng, options)
    options.fusedActivationFunction = _activation(rng)
    channels = int(rng.integers(1, 7))
    depth = int(rng.integers(1, 7))
    batches = int(rng.choice([1, 1, 1, 2]))
    counts = [
        _length(size, window, stride, 1, options.padding)
        for size, window, stride in zip(
            (height, width), (rows, columns), (options.strideH, options.strideW), strict=True
        )
    ]
    source = _computed(rng, (batches, *counts, depth))
    scales = rng.uniform(0.001, 0.02, channels if rng.random() < 0.8 else 1).astype(np.float32)
    filters = Item((channels, rows, columns, depth), scales, 0)
    filters.values = _int8(rng, filters.shape)
    inputs = [_axes((batches, height, width, channels)), filters, source]
    if rng.random() < 0.7:
        bias = rng.integers(-5000, 5000, channels).astype(np.int32)
        inputs.append(Item((channels,), values=bias))
    reach = source.scale * float(scales.max()) * 9000 * np.sqrt(rows * columns * depth)
    output = _conv_output(rng, source, reach, (batches, height, width, channels))
    return write_model("TRANSPOSE_CONV", inputs, [output], options)


def comparison(kind: str) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = getattr(schema, f"{kind.title().replace('_', '')}OptionsT")()
        shape = _any_shape(rng)
        sides = [
            _computed(rng, [1 if rng.random() < chance else size for size in shape])
            for chance in (0.1, 0.25)
        ]
        for side in sides:
            side.scale = float(np.float32(2.0 ** rng.uniform(-10, -1)))
        if rng.random() < 0.5:
            sides[1].scale = sides[0].scale
            sides[1].zero_point = sides[0].zero_point
        out_shape = np.broadcast_shapes(*(tuple(side.shape) for side in sides))
        return write_model(kind, sides, [Item(out_shape, dtype="bool")], options)

    return make


def select(rng: Random) -> bytes:
    shape = _any_shape(rng)
    chosen = _computed(rng, [1 if rng.random() < 0.2 else size for size in shape])
    other = dataclasses.replace(chosen, shape=[1 if rng.random() < 0.2 else n for n in shape])
    flags = Item([1 if rng.random() < 0.2 else size for size in shape], dtype="bool")
    sides = [flags, chosen, other]
    out_shape = np.broadcast_shapes(*(tuple(side.shape) for side in sides))
    output = dataclasses.replace(chosen, shape=out_shape)
    return write_model("SELECT_V2", sides, [output], schema.SelectV2OptionsT())


def search(kind: str, options_type: Any) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        options = options_type()
        options.outputType = schema.TensorType.INT32
        source = _computed(rng, _any_shape(rng))
        axis = int(rng.integers(0, len(source.shape)))
        shape = (*source.shape[:axis], *source.shape[axis + 1 :])
        where = np.array([axis - len(source.shape) if rng.random() < 0.5 else axis], np.int32)
        inputs = [source, Item(where.shape, values=where)]
        return write_model(kind, inputs, [Item(shape, dtype="int32")], options)

    return make


#: Of operators whose outputs are bool.
COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")


def lstm(rng: Random) -> bytes:
    is_time_major = bool(rng.integers(0, 2))
    batches, steps, depth, cells = (int(n) for n in rng.integers(1, [3, 6, 10, 10]))
    source = _computed(rng, (steps, batches, depth) if is_time_major else (batches, steps, depth))
    source.scale = float(np.float32(2.0 ** rng.uniform(-8, -4)))
    return write_network([lstm_layer(rng, source, cells, is_time_major)])


def lstm_layer(rng: Random, source: Item, cells: int, is_time_major: bool = False) -> Step:
    """An LSTM with random weights on a tensor."""
    options = schema.UnidirectionalSequenceLSTMOptionsT(
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        timeMajor=is_time_major,
        cellClip=float(rng.choice([0.0, 10.0, 0.5])),
    )
    batches = source.shape[1 if is_time_major else 0]
    depth = source.shape[2]
    state = Item((batches, cells), float(np.float32(rng.uniform(0.5, 1) / 128)), _zero(rng))
    memory = Item((batches, cells), 2.0 ** int(rng.integers(-15, -8)), dtype="int16")
    state.is_state = memory.is_state = True
    inputs: list[Item | None] = [source, *[None] * 23]
    for gate in range(4):
        for place, columns in ((1, depth), (5, cells)):
            scale = float(np.float32(rng.uniform(0.001, 0.02)))
            weights = Item((cells, columns), scale, values=_int8(rng, (cells, columns)))
            inputs[place + gate] = weights
        bias = rng.integers(-5000, 5000, cells).astype(np.int32)
        inputs[12 + gate] = Item((cells,), values=bias)
    inputs[18], inputs[19] = state, memory
    output = dataclasses.replace(state, shape=(*source.shape[:2], cells), is_state=False)
    return "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [output], options


def svdf(rng: Random) -> bytes:
    batches, depth = (int(n) for n in rng.integers(1, [3, 12]))
    source = Item((batches, depth), float(np.float32(2.0 ** rng.uniform(-8, -4))), _zero(rng))
    return write_network([svdf_layer(rng, source)])


def svdf_layer(rng: Random, source: Item) -> Step:
    """Filters with random weights on a tensor, with a state of 8 or 16 bits."""
    options = schema.SVDFOptionsT(
        fusedActivationFunction=schema.ActivationFunctionType.RELU, rank=int(rng.integers(1, 4))
    )
    batches, depth = source.shape
    units, memory = (int(n) for n in rng.integers(1, [8, 9]))
    filters = units * options.rank
    features = Item((filters, depth), float(np.float32(rng.uniform(0.005, 0.02))))
    features.values = _int8(rng, features.shape)
    dtype = str(rng.choice(["int8", "int16"]))
    time = Item((filters, memory), float(np.float32(rng.uniform(0.005, 0.02))))
    time.values = _int8(rng, time.shape).astype(dtype)
    scale = 2.0**-4 if dtype == "int8" else 2.0**-10
    state = Item((batches, filters * memory), scale, dtype=dtype, is_state=True)
    bias = Item((units,), float(np.float32(scale * time.scale)))
    bias.values = rng.integers(-5000, 5000, units).astype(np.int32)
    output = Item((batches, units), 0.05, _zero(rng))
    inputs: list[Item | None] = [source, features, time, bias, state]
    return "SVDF", inputs, [output], options


def in_float(kind: str) -> Callable[[Random], bytes]:
    """An operator that the converter left in float, now and then behind NEG."""

    def make(rng: Random) -> bytes:
        source = _computed(rng, _any_shape(rng))
        largest = 128 * source.scale if kind != "SQUARE" else (128 * source.scale) ** 2
        output = Item(source.shape, largest * 2.0 ** rng.uniform(-9, -5), _zero(rng))
        kinds = ["DEQUANTIZE", *["NEG"] * int(rng.integers(0, 2)), kind, "QUANTIZE"]
        items = [source, *(Item(source.shape, dtype="float32") for _ in kinds[1:]), output]
        steps = zip(kinds, items, items[1:], strict=False)
        return write_network([(each, [before], [after], None) for each, before, after in steps])

    return make


#: What makes a random model of each operator.
MAKERS: dict[str, Callable[[Random], bytes]] = {
    "ABS": unary("ABS"),
    "ADD": binary("ADD", schema.AddOptionsT),
    "ARG_MAX": search("ARG_MAX", schema.ArgMaxOptionsT),
    "ARG_MIN": search("ARG_MIN", schema.ArgMinOptionsT),
    "AVERAGE_POOL_2D": pooling("AVERAGE_POOL_2D"),
    "BATCH_MATMUL": batch_matmul,
    "BATCH_TO_SPACE_ND": blocks(is_spread=False),
    "BROADCAST_TO": broadcast_to,
    "CONCATENATION": concatenation,
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "DIV": binary("DIV", schema.DivOptionsT),
    "DEPTH_TO_SPACE": depth_blocks(is_spread=False),
    "ELU": unary("ELU"),
    "EXP": unary("EXP"),
    "FULLY_CONNECTED": fully_connected,
    "GATHER": gather,
    "GELU": unary("GELU", schema.GeluOptionsT),
    "HARD_SWISH": unary("HARD_SWISH", schema.HardSwishOptionsT),
    "L2_NORMALIZATION": normalization,
    "LEAKY_RELU": unary("LEAKY_RELU", schema.LeakyReluOptionsT),
    "LOG": unary("LOG"),
    "LOGISTIC": unary("LOGISTIC"),
    "LOG_SOFTMAX": log_softmax,
    "MAXIMUM": binary("MAXIMUM", schema.MaximumMinimumOptionsT),
    "MAX_POOL_2D": pooling("MAX_POOL_2D"),
    "MEAN": reduction("MEAN"),
    "MINIMUM": binary("MINIMUM", schema.MaximumMinimumOptionsT),
    "MIRROR_PAD": mirror_pad,
    "MUL": binary("MUL", schema.MulOptionsT),
    "PACK": pack,
    "PAD": pad,
    "PRELU": slopes,
    "QUANTIZE": unary("QUANTIZE"),
    "REDUCE_MAX": reduction("REDUCE_MAX"),
    "REDUCE_MIN": reduction("REDUCE_MIN"),
    "RELU": unary("RELU"),
    "RELU6": unary("RELU6"),
    "RELU_0_TO_1": unary("RELU_0_TO_1"),
    "RELU_N1_TO_1": unary("RELU_N1_TO_1"),
    "RESHAPE": reshape,
    "RESIZE_BILINEAR": resize("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
    "RESIZE_NEAREST_NEIGHBOR": resize(
        "RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT
    ),
    "REVERSE_V2": reverse,
    "RSQRT": unary("RSQRT"),
    "SELECT_V2": select,
    "SLICE": take_slice,
    "SOFTMAX": softmax,
    "SPACE_TO_BATCH_ND": blocks(is_spread=True),
    "SPACE_TO_DEPTH": depth_blocks(is_spread=True),
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQUARED_DIFFERENCE": binary("SQUARED_DIFFERENCE", schema.SquaredDifferenceOptionsT),
    "STRIDED_SLICE": strided_slice,
    "SUB": binary("SUB", schema.SubOptionsT),
    "SUM": reduction("SUM"),
    "SVDF": svdf,
    "TANH": unary("TANH"),
    "TILE": tile,
    "TRANSPOSE": transpose,
    "TRANSPOSE_CONV": transposed_convolution,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
    "UNPACK": unpack,
    **{kind: comparison(kind) for kind in COMPARISONS},
}

#: Of the functions that the compiler takes between DEQUANTIZE and QUANTIZE.
FLOAT_MAKERS = {f"{kind}_FLOAT": in_float(kind) for kind in sorted(IN_FLOAT - {"DEQUANTIZE"})}
