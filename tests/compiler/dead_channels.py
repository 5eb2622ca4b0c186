# SPDX-License-Identifier: Apache-2.0
"""Networks whose layers have channels with one byte for every input, or that nothing reads."""

from unittest import mock

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import SAME, VALID, Item, Random, Step, pack_model, write_network
from test_random_networks import table
from test_rewrites import concatenate, indices, like, reverse

from m3net_tf.compiler.goals import CYCLES, Goal
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.passes import PASSES, REMOVED

_LAYERS = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
}
_MOST_CHANNELS = 64
_FAR = 1 << 24  # a bias beyond all sums of weights of the networks here


def with_dead_channels(rng: Random, tflite: bytes) -> bytes:
    """Make some output channels of layers constant, and some input channels unread."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        axis = _LAYERS.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        if axis is None or tensors[operator.inputs[1]].type != schema.TensorType.INT8:
            continue
        filters = tensors[operator.inputs[1]]
        values = model.buffers[filters.buffer].data.view(np.int8).reshape(filters.shape).copy()
        by_output = np.moveaxis(values, axis, 0)
        is_dead = rng.random(len(by_output)) < rng.choice([0.4, 0.7, 1], p=[0.45, 0.45, 0.1])
        has_weights = rng.random(len(by_output)) < 0.3
        by_output[is_dead & ~has_weights] = 0
        if axis == 0:
            values[..., rng.random(values.shape[-1]) < rng.choice([0, 0.3, 0.7])] = 0
        store(model, filters, values)
        bias = tensors[operator.inputs[2]] if len(operator.inputs) > 2 else None
        if bias is not None and bias.type == schema.TensorType.INT32:
            numbers = model.buffers[bias.buffer].data.view(np.int32).copy()
            constants = rng.choice([0, 0, 777, -5000], len(numbers))
            constants[has_weights] = rng.choice([-_FAR, _FAR])
            store(model, bias, np.where(is_dead, constants, numbers).astype(np.int32))
    return pack_model(model)


def store(model: schema.ModelT, tensor: schema.TensorT, values: np.ndarray) -> None:
    """Give a constant of a file other values."""
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers) - 1


def dead_network(seed: int) -> bytes:
    """Up to ten layers and what connects them, mostly one after the other, with dead channels."""
    rng = np.random.default_rng(seed)
    sizes = (1, int(rng.integers(2, 8)), int(rng.integers(2, 8)), int(rng.integers(1, 17)))
    tensors = [Item(sizes, 0.05, -4)]
    steps: list[Step] = []
    for _ in range(int(rng.integers(3, 11))):
        source = tensors[-1 - int(rng.choice([0] * 7 + [1]) % len(tensors))]
        step, output = _MAKERS[int(rng.integers(0, len(_MAKERS)))](rng, source, tensors)
        output.shape = tuple(int(size) for size in output.shape)
        if output.shape[-1] <= _MOST_CHANNELS:
            steps.append(step)
            tensors.append(output)
    last = tensors[-1]
    if rng.random() < 0.5:
        step, last = _mean(rng, last, tensors)
        steps.append(step)
    step, _ = _layer(rng, last, tensors)
    steps.append(step)
    read = {id(item) for _, inputs, _, _ in steps for item in inputs}
    ends = [output for _, _, outputs, _ in steps for output in outputs if id(output) not in read]
    return with_dead_channels(rng, write_network(steps, ends))


def _layer(rng: Random, source: Item, _: list[Item]) -> tuple[Step, Item]:
    """A convolution, perhaps depthwise, with any stride and padding."""
    depthwise = rng.random() < 0.4
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    window = int(rng.choice([1, 1, 2, 3]))
    stride = int(rng.choice([1, 1, 1, 2]))
    options.strideH = options.strideW = stride
    fits = window <= min(source.shape[1:3])
    options.padding = int(rng.choice([SAME, VALID])) if fits else SAME
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = int(rng.choice([0, 1, 3]))
    lost = 0 if options.padding == SAME else window - 1
    rows, columns = (-(-(size - lost) // stride) for size in source.shape[1:3])
    depth = source.shape[3]
    channels = depth if depthwise else int(rng.choice([3, 8, 12, 16, 21]))
    shape = (1, window, window, depth) if depthwise else (channels, window, window, depth)
    filters = Item(shape, [0.01] * channels, axis=3 if depthwise else 0)
    filters.values = rng.integers(-127, 128, shape).astype(np.int8)
    bias = Item((channels,), values=rng.integers(-999, 999, channels).astype(np.int32))
    output = Item((1, rows, columns, channels), 0.2, int(rng.choice([5, -128])))
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    if depthwise:
        options.depthMultiplier = 1
    return (kind, [source, filters, bias], [output], options), output


def _pair(rng: Random, source: Item, tensors: list[Item]) -> tuple[Step, Item]:
    shapes = source.shape, (1, 1, 1, source.shape[3])
    fitting = [item for item in tensors if item.shape in shapes]
    kind = str(rng.choice(["ADD", "MUL", "SUB"]))
    options = getattr(schema, f"{kind.title()}OptionsT")()
    output = Item(source.shape, 0.3, -11)
    return (kind, [source, fitting[int(rng.integers(0, len(fitting)))]], [output], options), output


def _joint(rng: Random, source: Item, tensors: list[Item]) -> tuple[Step, Item]:
    others = [
        item
        for item in tensors
        if (item.scale, item.zero_point) == (source.scale, source.zero_point)
        and item.shape[:3] == source.shape[:3]
    ]
    return concatenate([source, others[int(rng.integers(0, len(others)))]])


def _table(rng: Random, source: Item, _: list[Item]) -> tuple[Step, Item]:
    return table(rng, source)


def _mean(rng: Random, source: Item, _: list[Item]) -> tuple[Step, Item]:
    """An average over all pixels."""
    output = Item((1, 1, 1, source.shape[3]), 0.05, -4)
    options = schema.ReducerOptionsT(keepDims=True)
    return ("MEAN", [source, indices(1, 2)], [output], options), output


def _pool(rng: Random, source: Item, _: list[Item]) -> tuple[Step, Item]:
    options = schema.Pool2DOptionsT(strideH=2, strideW=2, filterHeight=2, filterWidth=2)
    options.padding = SAME
    rows, columns = (-(-size // 2) for size in source.shape[1:3])
    output = like(source, (1, rows, columns, source.shape[3]))
    kind = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    return (kind, [source], [output], options), output


def _other(rng: Random, source: Item, _: list[Item]) -> tuple[Step, Item]:
    """What no channel passes."""
    return reverse(source, int(rng.integers(1, 4)))


_MAKERS = (*(_layer,) * 6, _pair, _pair, _joint, _table, _mean, _pool, _other)


def compile_all_channels(tflite: bytes, goal: Goal = CYCLES) -> CompiledNetwork:
    """The network as the compiler makes it without the pass that removes channels."""
    with mock.patch.dict(PASSES):
        del PASSES[REMOVED]
        return compile_network(tflite, goal=goal)
