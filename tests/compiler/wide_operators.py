# SPDX-License-Identifier: Apache-2.0
"""``.tflite`` files with 16-bit activations: files of 8 bits, widened."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import MAKERS, Item, Random, pack_model, write_model

from m3net_tf.compiler.operators import WIDE

STEPS = 256  # 16-bit steps of an 8-bit step
BUILTINS = {number: name for name, number in vars(schema.BuiltinOperator).items()}
INT8 = schema.TensorType.INT8
INT16 = schema.TensorType.INT16
LAYER = slice(1, 2), slice(2, 3)
#: The inputs that are weights, and those that are biases.
CONSTANTS = {
    "CONV_2D": LAYER,
    "DEPTHWISE_CONV_2D": LAYER,
    "FULLY_CONNECTED": LAYER,
    "PRELU": LAYER,
    "TRANSPOSE_CONV": (slice(1, 2), slice(3, 4)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (slice(1, 12), slice(12, 16)),
}
#: TensorFlow Lite Micro takes biases of 64 bits only.
LONG_BIAS = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM")
NO_MAKER = {"EXPAND_DIMS", "QUANTIZE", "SQUEEZE", "PADV2"}
NO_MAKER |= {"ASSIGN_VARIABLE", "MOVE_LINES", "READ_VARIABLE"}


def widen(tflite: bytes, long_bias: bool = True) -> bytes:
    """The network with int16 instead of int8 activations, and biases of 64 bits or of 32."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    for graph in model.subgraphs:
        _widen_graph(model, graph, long_bias)
    return pack_model(model)


def _widen_graph(model: Any, graph: Any, long_bias: bool) -> None:
    weights = set()
    biases = set()
    for op in graph.operators:
        kind = BUILTINS[model.operatorCodes[op.opcodeIndex].builtinCode]
        if kind in CONSTANTS:
            weighing, adding = CONSTANTS[kind]
            weights |= set(op.inputs[weighing])
            biases |= {index for index in op.inputs[adding] if index >= 0}
    for index, tensor in enumerate(graph.tensors):
        buffer = model.buffers[tensor.buffer]
        if index in biases:
            _widen_bias(tensor, buffer, long_bias)
        elif tensor.type == INT8 and index not in weights:
            tensor.type = INT16
            quantization = tensor.quantization
            is_unsigned = quantization.scale[0] == 1 / 256 and quantization.zeroPoint[0] == -128
            steps = STEPS / 2 if is_unsigned else STEPS
            quantization.scale = [float(np.float32(quantization.scale[0] / steps))]
            quantization.zeroPoint = [0]
            if tensor.buffer:
                values = np.asarray(buffer.data, np.uint8).view(np.int8).astype(np.int16)
                _store(buffer, values * STEPS + values)


def _widen_bias(tensor: Any, buffer: Any, is_long: bool) -> None:
    values = np.asarray(buffer.data, np.uint8).view(np.int32).astype(np.int64) * STEPS
    tensor.type = schema.TensorType.INT64 if is_long else schema.TensorType.INT32
    _store(buffer, values if is_long else values.astype(np.int32))
    if tensor.quantization is not None:
        tensor.quantization.scale = [tensor.quantization.scale[0] / STEPS]


def _store(buffer: Any, values: np.ndarray) -> None:
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)


def widened(kind: str) -> Callable[[Random], bytes]:
    """A maker of random models of an operator of 16 bits."""

    def make(rng: Random) -> bytes:
        tflite = MAKERS[kind](rng)
        long_bias = kind in LONG_BIAS or rng.random() < 0.7
        return widen(tflite, long_bias)

    return make


def quantize(rng: Random) -> bytes:
    """Between two of 8, 16 and 32 bits, with any zero point."""
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    pairs = ["int8 int16", "int16 int8", "int16 int16"]
    pairs += ["int8 int32", "int16 int32", "int32 int8", "int32 int16"]
    ends = []
    for dtype, most_bits in zip(str(rng.choice(pairs)).split(), (31, 24), strict=True):
        bits = np.iinfo(dtype).bits
        zero = int(rng.choice([0, -(1 << (bits - 1)), rng.integers(-99, 99)])) if bits < 32 else 0
        scale = 2.0 ** (rng.uniform(-2, 2) - min(bits, most_bits))
        ends.append(Item(shape, scale, zero, dtype=dtype))
    return write_model("QUANTIZE", ends[:1], ends[1:])


def softmax(rng: Random) -> bytes:
    """Of 16 bits, or of 8 with outputs of 16."""
    tflite = MAKERS["SOFTMAX"](rng)
    if rng.random() < 0.5:
        return widen(tflite)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    output = model.subgraphs[0].tensors[-1]
    output.type = INT16
    output.quantization.scale = [2.0**-16]
    output.quantization.zeroPoint = [-(1 << 15)]
    return pack_model(model)


def sigmoid(kind: str) -> Callable[[Random], bytes]:
    """Inputs whose scale is the table's, a power of two, or any."""

    def make(rng: Random) -> bytes:
        scale = float(rng.choice([2.0**-12, 2.0**-11, 2.0**-13, 2.0 ** rng.uniform(-17, -3)]))
        shape = tuple(int(n) for n in rng.integers(1, 6, 3))
        tflite = write_model(kind, [Item(shape, scale * STEPS)], [Item(shape, 1 / 128)])
        return widen(tflite)

    return make


def inverse_root(rng: Random) -> bytes:
    """Of the inputs that are positive."""
    source = Item(tuple(int(n) for n in rng.integers(1, 6, 3)), 2.0 ** rng.uniform(-10, 2))
    output = Item(source.shape, 2.0 ** rng.uniform(-2, 4) / np.sqrt(source.scale * 64) / 128)
    return widen(write_model("RSQRT", [source], [output]))


#: What makes a random model of each operator of 16 bits.
WIDE_MAKERS: dict[str, Callable[[Random], bytes]] = {
    f"{kind}_16": widened(kind) for kind in sorted(WIDE - NO_MAKER)
}
WIDE_MAKERS |= {
    "LOGISTIC_16": sigmoid("LOGISTIC"),
    "QUANTIZE_16": quantize,
    "RSQRT_16": inverse_root,
    "SOFTMAX_16": softmax,
    "TANH_16": sigmoid("TANH"),
}
