# SPDX-License-Identifier: Apache-2.0
"""A network of whole windows as one that takes a few new columns, and keeps the others itself.

Networks of microWakeWord have this form: each layer over time has a variable (VAR_HANDLE) with the
lines that it has to see again, and a second subgraph sets the variables (CALL_ONCE). From the first
whole window on, the outputs are equal.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.unpack import refusing_damage, unpack
from m3net_tf.tflite.write import pack

_MOST_OLD = 127  # builtin operators with higher numbers have them in a newer field only
_LEAST = -128
_FIRST, _LAST = ["TRANSPOSE"], ["CONV_2D", "LOGISTIC", "RESHAPE"]
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")


def stateful_network(tflite: bytes, *, columns: int, output: int, input_scale: float) -> bytes:
    """A network that takes the next columns and gives one probability.

    Args:
        tflite: a full-int8 network from a window (1, bins, columns, 1) to independent
            probabilities (1, classes), whose layers run over time without padding, such as
            ``streaming_ds_cnn``.
        columns: columns of a run, a multiple of the network's stride in time.
        output: class whose probability is kept.
        input_scale: step of the new input; its zero point is -128, and its bytes are the
            window's.

    Returns:
        A ``.tflite`` from int8 (1, columns, bins) to uint8 (1, 1).

    Raises:
        ModelError: the file is damaged, or the network has another form.
    """
    graph = read_graph(tflite)
    with refusing_damage():
        _require_form(graph, columns)
        return pack(_Writer(unpack(tflite)).write(graph, columns, output, np.float32(input_scale)))


def _require_form(graph: Graph, columns: int) -> None:
    """Refuse what does not run over time alone."""
    kinds = [op.kind for op in graph.operations]
    if kinds[:1] + kinds[-3:] != _FIRST + _LAST:
        raise ModelError(
            "a network with variables begins with lines of bins and ends in independent "
            "probabilities: train streaming_ds_cnn with the loss binary_cross_entropy"
        )
    layers = graph.operations[1:-2]
    for op in layers:
        if not (_is_one_row(op) if op.kind == "RESHAPE" else _is_valid(op)):
            raise op.error("does not run over time without padding: train streaming_ds_cnn")
    strides = math.prod(_over_time(op)[1] for op in layers)
    if columns % strides:
        raise ModelError(
            f"{columns} columns do not fit the network's stride: give a multiple of {strides}"
        )
    longest = strides * max(_over_time(op)[0] for op in layers if _lines(op.output) == 1)
    if columns > longest:
        raise ModelError(f"{columns} columns are more than the last layer takes: give {longest}")
    window = graph.inputs[0].shape[2]
    if any((_lines(op.input(0)) - _over_time(op)[0]) % _over_time(op)[1] for op in layers):
        raise ModelError(
            f"no layer reads the last of the window's {window} columns: train with fewer"
        )


def _time_axis(tensor: Tensor) -> int:
    """Axis of the lines: (1, lines, bins, channels) in a stem, (1, 1, lines, channels) after it."""
    return 2 if tensor.shape[1] == 1 else 1


def _lines(tensor: Tensor) -> int:
    return tensor.shape[_time_axis(tensor)]


def _is_one_row(reshape: Operation) -> bool:
    """Whether bins become channels."""
    old, new = reshape.input(0).shape, reshape.output.shape
    return len(old) == 4 and new == (1, 1, old[1], old[2] * old[3])


def _is_valid(op: Operation) -> bool:
    """Whether a layer does not pad."""
    if op.kind not in _LAYERS:
        return False
    old, new = op.input(0).shape, op.output.shape
    spans = [_span(op, axis) for axis in (1, 2)]
    computed = [(old[axis] - size) // step + 1 for axis, (size, step) in enumerate(spans, 1)]
    return new[:3] == (1, *computed)


def _over_time(op: Operation) -> tuple[int, int]:
    """Lines that a layer sees at once, and from one output to the next."""
    return (1, 1) if op.kind == "RESHAPE" else _span(op, _time_axis(op.input(0)))


def _span(op: Operation, axis: int) -> tuple[int, int]:
    """Size and stride of a layer along an axis of its input."""
    size, stride = {1: ("filterHeight", "strideH"), 2: ("filterWidth", "strideW")}[axis]
    seen = op.options[size] if op.kind.endswith("POOL_2D") else op.input(1).shape[axis]
    return seen, op.options[stride]


class _Writer:
    """Changes an unpacked file."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._setting = schema.SubGraphT(
            name="set_variables", tensors=[], operators=[], inputs=[], outputs=[]
        )

    def write(self, graph: Graph, columns: int, output: int, input_scale: np.float32) -> Any:
        """The whole file."""
        first, *layers, logistic, _ = graph.operations
        old = self._graph.operators
        self._graph.operators = []
        self._add("CALL_ONCE", [], [], schema.CallOnceOptionsT(initSubgraphIndex=1))
        bins = first.output.size // _lines(first.output)
        source = self._tensor("columns", (1, columns, bins), "INT8", input_scale, _LEAST)
        place, axis = first.output.index, _time_axis(first.output)
        self._resize(place, axis, columns, self._graph.tensors[source].quantization)
        self._reshape(source, place)
        self._shift_input(layers[0], input_scale)
        for op in layers:
            kernel, stride = _over_time(op)
            if kernel > 1 and _lines(op.output) == 1:
                stride = columns  # the last layer over time: one output a run
            if kernel > stride:
                place = self._delayed(f"lines_{op.index}", place, axis, columns, kernel - stride)
            columns //= stride
            given, place, axis = place, op.output.index, _time_axis(op.output)
            self._resize(place, axis, columns)
            if op.kind == "RESHAPE":
                self._reshape(given, place)
                continue
            operator = old[op.index]
            operator.inputs = np.array([given, *operator.inputs[1:]], np.int32)
            self._graph.operators.append(operator)
        self._keep_output(layers[-1], output)
        self._graph.operators.append(old[logistic.index])
        share = logistic.output
        self._set_shape(share.index, (1, 1, 1, 1))
        flat = self._tensor("share", (1, 1), "INT8", share.scale, share.zero_point)
        self._reshape(share.index, flat)
        probability = self._tensor("probability", (1, 1), "UINT8", share.scale, 0)
        self._add("QUANTIZE", [flat], [probability], schema.QuantizeOptionsT())
        self._graph.inputs = [source]
        self._graph.outputs = [probability]
        self._model.signatureDefs = None
        self._model.subgraphs.append(self._setting)
        return self._model

    def _shift_input(self, layer: Operation, scale: np.float32) -> None:
        """Let the first layer compute the same from bytes that stand for other numbers."""
        source, weights, bias = (layer.input(index) for index in range(3))
        assert weights.data is not None and bias.data is not None
        ratio = float(source.scale) / float(scale)
        target = self._graph.tensors[weights.index].quantization
        target.scale = (weights.scales.astype(np.float64) * ratio).astype(np.float32)
        others = (1, 2, 3) if layer.kind == "CONV_2D" else (0, 1, 2)
        sums = weights.data.astype(np.int64).sum(axis=others)
        shift = _LEAST - source.zero_point
        self._set_data(bias, (bias.data.astype(np.int64) + shift * sums).astype(np.int32))

    def _keep_output(self, dense: Operation, output: int) -> None:
        """Leave out the other classes of the last layer."""
        kept = slice(output, output + 1)
        for index in (1, 2):
            tensor = dense.input(index)
            assert tensor.data is not None
            target = self._graph.tensors[tensor.index]
            if len(tensor.scales) > 1:
                target.quantization.scale = tensor.scales[kept]
                target.quantization.zeroPoint = np.array(tensor.zero_points[kept], np.int64)
            target.shape = np.array((1, *tensor.shape[1:]), np.int32)
            self._set_data(tensor, tensor.data[kept])
        self._set_shape(dense.output.index, (1, 1, 1, 1))

    def _delayed(self, name: str, place: int, axis: int, columns: int, lines: int) -> int:
        """The lines before and the new ones; a variable keeps the last of them for the next run."""
        new = self._graph.tensors[place]
        scale, zero = new.quantization.scale[0], int(new.quantization.zeroPoint[0])
        shape = tuple(int(size) for size in new.shape)
        kept = (*shape[:axis], lines, *shape[axis + 1 :])
        joint_shape = (*shape[:axis], lines + columns, *shape[axis + 1 :])
        handle = self._handle(self._graph, name)
        before = self._tensor(f"{name}/before", kept, "INT8", scale, zero)
        self._add("READ_VARIABLE", [handle], [before], schema.ReadVariableOptionsT())
        joint = self._tensor(f"{name}/joint", joint_shape, "INT8", scale, zero)
        options = schema.ConcatenationOptionsT(axis=axis)
        self._add("CONCATENATION", [before, place], [joint], options)
        after = self._tensor(f"{name}/after", kept, "INT8", scale, zero)
        first, last, step = [0, 0, 0, 0], joint_shape, (1, 1, 1, 1)
        first[axis] = columns
        ends = [
            self._constant(f"{name}/{part}", np.array(values, np.int32))
            for part, values in (("first", first), ("last", last), ("step", step))
        ]
        self._add("STRIDED_SLICE", [joint, *ends], [after], schema.StridedSliceOptionsT())
        self._add("ASSIGN_VARIABLE", [handle, after], [], schema.AssignVariableOptionsT())
        self._set_at_start(name, kept, scale, zero)
        return joint

    def _set_at_start(
        self, name: str, shape: tuple[int, ...], scale: np.float32, zero: int
    ) -> None:
        """Let the second subgraph set a variable to zero."""
        handle = self._handle(self._setting, name)
        start = _tensor(f"{name}/start", shape, "INT8", scale, zero)
        start.buffer = self._buffer(np.full(shape, zero, np.int8))
        self._setting.tensors.append(start)
        values = len(self._setting.tensors) - 1
        options = schema.AssignVariableOptionsT()
        self._setting.operators.append(
            self._operator("ASSIGN_VARIABLE", [handle, values], [], options)
        )

    def _handle(self, graph: Any, name: str) -> int:
        graph.tensors.append(_tensor(f"{name}/handle", (), "RESOURCE"))
        place = len(graph.tensors) - 1
        options = schema.VarHandleOptionsT(container="", sharedName=name)
        graph.operators.append(self._operator("VAR_HANDLE", [], [place], options))
        return place

    def _reshape(self, source: int, place: int) -> None:
        shape = np.array(self._graph.tensors[place].shape, np.int32)
        size = self._constant(f"shape_{place}", shape)
        self._add("RESHAPE", [source, size], [place], schema.ReshapeOptionsT(newShape=shape))

    def _resize(self, place: int, axis: int, columns: int, quantization: Any = None) -> None:
        tensor = self._graph.tensors[place]
        shape = [int(size) for size in tensor.shape]
        shape[axis] = columns
        self._set_shape(place, shape)
        if quantization is not None:
            tensor.quantization = quantization

    def _set_shape(self, place: int, shape: Sequence[int]) -> None:
        self._graph.tensors[place].shape = np.array(shape, np.int32)
        self._graph.tensors[place].shapeSignature = None

    def _set_data(self, tensor: Tensor, values: npt.NDArray[Any]) -> None:
        self._graph.tensors[tensor.index].buffer = self._buffer(values)

    def _tensor(
        self, name: str, shape: tuple[int, ...], dtype: str, scale: np.float32, zero: int
    ) -> int:
        self._graph.tensors.append(_tensor(name, shape, dtype, scale, zero))
        return len(self._graph.tensors) - 1

    def _constant(self, name: str, values: npt.NDArray[np.int32]) -> int:
        tensor = _tensor(name, values.shape, "INT32")
        tensor.buffer = self._buffer(values)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _buffer(self, values: npt.NDArray[Any]) -> int:
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(schema.BufferT(data=data))
        return len(self._model.buffers) - 1

    def _add(self, kind: str, inputs: list[int], outputs: list[int], options: Any) -> None:
        self._graph.operators.append(self._operator(kind, inputs, outputs, options))

    def _operator(self, kind: str, inputs: list[int], outputs: list[int], options: Any) -> Any:
        number = getattr(schema.BuiltinOperator, kind)
        codes = self._model.operatorCodes
        known = [code.builtinCode for code in codes]
        if number not in known:
            known.append(number)
            codes.append(
                schema.OperatorCodeT(
                    deprecatedBuiltinCode=min(number, _MOST_OLD), builtinCode=number, version=1
                )
            )
        name = type(options).__name__.removesuffix("T")
        return schema.OperatorT(
            opcodeIndex=known.index(number),
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
            builtinOptionsType=getattr(schema.BuiltinOptions, name),
            builtinOptions=options,
        )


def _tensor(
    name: str, shape: Sequence[int], dtype: str, scale: np.float32 | None = None, zero: int = 0
) -> Any:
    tensor = schema.TensorT(
        name=name, shape=np.array(shape, np.int32), type=getattr(schema.TensorType, dtype), buffer=0
    )
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.array([zero], np.int64)
        )
    return tensor
