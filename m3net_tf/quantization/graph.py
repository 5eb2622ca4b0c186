# SPDX-License-Identifier: Apache-2.0
"""Reads and changes a ``.tflite`` as a graph of operators, constants and ranges.

The converter has folded BatchNorm, fused activations and split every layer, including custom ones,
into operators. So code for this graph works for all networks.
"""

import dataclasses
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.tflite.names import builtin_name, names_of
from m3net_tf.tflite.unpack import refusing_damage, unpack

Array = npt.NDArray[Any]


#: Operators with weights of each output channel.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_ACTIVATIONS = names_of(schema.ActivationFunctionType)
_DTYPES: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.INT64: np.dtype("<i8"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT8: np.dtype("i1"),
}


@dataclasses.dataclass(frozen=True)
class Operator:
    """One step of the graph.

    Attributes:
        kind: TFLite's name, such as ``CONV_2D``.
        inputs: tensors; -1 for a missing optional one.
        outputs: tensors.
        activation: fused activation: ``NONE``, ``RELU``, ``RELU6``, …
        options: its other settings, as in the schema.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str
    options: Any


class Graph:
    """First subgraph of a ``.tflite``; tensors are identified by their index.

    Raises:
        ModelError: the bytes are not a TFLite model.
    """

    def __init__(self, tflite: bytes) -> None:
        self._model = unpack(tflite)
        with refusing_damage():
            graph = self._model.subgraphs[0]
        self._tensors = graph.tensors
        self.inputs = tuple(int(i) for i in graph.inputs)
        self.outputs = tuple(int(i) for i in graph.outputs)
        self.operators = tuple(self._operator(operation) for operation in graph.operators)

    def _operator(self, operation: Any) -> Operator:
        code = self._model.operatorCodes[operation.opcodeIndex]
        fused = getattr(operation.builtinOptions, "fusedActivationFunction", 0)
        return Operator(
            builtin_name(code),
            tuple(int(i) for i in operation.inputs),
            tuple(int(i) for i in operation.outputs),
            _ACTIVATIONS[fused],
            operation.builtinOptions,
        )

    def pack(self) -> bytes:
        """The graph as a ``.tflite``."""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def name(self, tensor: int) -> str:
        """Name of a tensor; the converter joins the names of all its layers with ``;``."""
        return str(self._tensors[tensor].name, "utf-8")

    def layer(self, operator: Operator) -> str:
        """Keras's name of an operator's layer, without the network's name."""
        last = self.name(operator.outputs[0]).split(";")[-1]
        steps = [step for step in last.split("/") if not step.startswith("ReadVariableOp")]
        if len(steps) > 2:
            return "/".join(steps[1:-1])
        return "output" if operator.outputs[0] in self.outputs else last

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        shape = self._tensors[tensor].shape
        return () if shape is None else tuple(int(extent) for extent in shape)

    def constant(self, tensor: int) -> Array | None:
        """Values of a constant; None if the tensor is computed or not numeric."""
        entry = self._tensors[tensor]
        data = self._model.buffers[entry.buffer].data
        if data is None or len(data) == 0 or entry.type not in _DTYPES:
            return None
        return np.frombuffer(bytes(data), _DTYPES[entry.type]).reshape(self.shape(tensor))

    def set_constant(self, tensor: int, values: Array) -> None:
        """Change a constant; tensors that shared its memory keep the old values."""
        entry = self._tensors[tensor]
        data = np.frombuffer(values.astype(_DTYPES[entry.type]).tobytes(), np.uint8)
        if sum(user.buffer == entry.buffer for user in self._tensors) > 1:
            self._model.buffers.append(schema.BufferT())
            entry.buffer = len(self._model.buffers) - 1
        self._model.buffers[entry.buffer].data = data

    def is_float(self, tensor: int) -> bool:
        """Whether a tensor has single-precision numbers."""
        return bool(self._tensors[tensor].type == schema.TensorType.FLOAT32)

    def set_range(self, tensor: int, low: float, high: float) -> None:
        """Set the range of a computed tensor, which quantisation covers."""
        entry = self._tensors[tensor]
        if entry.quantization is None:
            entry.quantization = schema.QuantizationParametersT()
        entry.quantization.min = np.array([low], np.float32)
        entry.quantization.max = np.array([high], np.float32)

    def quantization(self, tensor: int) -> tuple[float, int] | None:
        """Scale and zero point of a tensor; None if it is not quantised, or per channel."""
        parameters = self._tensors[tensor].quantization
        if parameters is None or parameters.scale is None or len(parameters.scale) != 1:
            return None
        return float(parameters.scale[0]), int(parameters.zeroPoint[0])
