# SPDX-License-Identifier: Apache-2.0
"""Float and uint8 inputs and outputs around a quantised network.

The converter puts a QUANTIZE after such an input, and a DEQUANTIZE or a QUANTIZE before such an
output. The compiler removes these operators: the caller converts instead.
"""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.tflite.graph import Graph
from m3net_tf.tflite.names import operator_name
from m3net_tf.tflite.unpack import refusing_damage, unpack

_FLOAT, _UNSIGNED = schema.TensorType.FLOAT32, schema.TensorType.UINT8
_QUANTIZED = {schema.TensorType.INT8: "int8", schema.TensorType.INT16: "int16"}
_NAMES = {_FLOAT: "float32", _UNSIGNED: "uint8"}
_TO_OUTPUT = ("DEQUANTIZE", "QUANTIZE")
_SIGN = 128  # added to a zero point of int8, gives the zero point of uint8


def strip_ends(model: Any, *, unsigned: bool = False) -> dict[int, str]:
    """Remove the conversions at the inputs and outputs of the first subgraph of a ``ModelT``.

    ``unsigned`` also removes those from and to uint8, where int8 has the same scale. Returns by
    index of each tensor that is now an input or output: the type of the removed one.
    """
    graph = model.subgraphs[0]
    replaced: dict[int, int] = {}
    for ends, is_input in ((graph.inputs, True), (graph.outputs, False)):
        for index in map(int, ends):
            op = _conversion(model, index, is_input=is_input, unsigned=unsigned)
            if op is not None:
                replaced[index] = int((op.outputs if is_input else op.inputs)[0])
                graph.operators.remove(op)
    graph.inputs, graph.outputs = (
        [replaced.get(int(index), int(index)) for index in ends]
        for ends in (graph.inputs, graph.outputs)
    )
    for signature in model.signatureDefs or ():
        for end in [*(signature.inputs or ()), *(signature.outputs or ())]:
            end.tensorIndex = replaced.get(end.tensorIndex, end.tensorIndex)
    return {inner: _NAMES[graph.tensors[outer].type] for outer, inner in replaced.items()}


def _conversion(model: Any, index: int, *, is_input: bool, unsigned: bool) -> Any:
    """The conversion that alone reads an input, or that computes an output; None without one."""
    graph = model.subgraphs[0]
    used = [op for op in graph.operators if op.inputs is not None and index in op.inputs]
    used += [op for op in graph.operators if index in op.outputs]
    if len(used) != 1:
        return None
    (op,) = used
    kinds, inside = (("QUANTIZE",), op.outputs) if is_input else (_TO_OUTPUT, op.inputs)
    if operator_name(model.operatorCodes[op.opcodeIndex]) not in kinds:
        return None
    exact = _is_exact(graph.tensors[index], graph.tensors[inside[0]], unsigned=unsigned)
    return op if exact else None


def _is_exact(outer: Any, inner: Any, *, unsigned: bool) -> bool:
    """Whether the caller can do this conversion."""
    if outer.type == _FLOAT:
        return inner.type in _QUANTIZED
    if not unsigned or (outer.type, inner.type) != (_UNSIGNED, schema.TensorType.INT8):
        return False
    outside, inside = outer.quantization, inner.quantization
    same = outside.scale[0] == inside.scale[0]
    return bool(same and outside.zeroPoint[0] == inside.zeroPoint[0] + _SIGN)


def int8_network(tflite: bytes) -> tuple[bytes, list[str]]:
    """A ``.tflite`` with int8 inputs and outputs, if its body is int8.

    Returns:
        The file, and a line for each input and output that changed; the same bytes without any.

    Raises:
        ModelError: the file is damaged.
    """
    model = unpack(tflite)
    with refusing_damage():
        types = strip_ends(model, unsigned=True)
        if not types:
            return tflite, []
        builder = flatbuffers.Builder(len(tflite))
        builder.Finish(model.Pack(builder), b"TFL3")
    graph = model.subgraphs[0]
    ends = [(f"input {i}", int(at)) for i, at in enumerate(graph.inputs)]
    ends += [(f"output {i}", int(at)) for i, at in enumerate(graph.outputs)]
    lines = []
    for name, index in ends:
        if index in types:
            tensor = graph.tensors[index]
            numbers = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
            lines.append(conversion_line(name, _QUANTIZED[tensor.type], types[index], *numbers))
    return bytes(builder.Output()), lines


def conversion_line(name: str, dtype: str, file_dtype: str, scale: float, zero_point: int) -> str:
    """How the caller converts an input or output; ``name`` is for example ``input 0``."""
    rule = "128 less than there"
    if file_dtype == _NAMES[_FLOAT]:
        rule = f"(item - {zero_point}) * {scale:.7g} is the number".replace("- -", "+ ")
    return f"{name} is {dtype}, in the file {file_dtype}: {rule}"


def end_notes(graph: Graph) -> list[str]:
    """A line for each input and output that is uint8, or whose conversion was removed."""
    ends = [(f"input {i}", tensor) for i, tensor in enumerate(graph.inputs)]
    ends += [(f"output {i}", tensor) for i, tensor in enumerate(graph.outputs)]
    lines = []
    for name, tensor in ends:
        if tensor.file_dtype:
            numbers = float(tensor.scale), tensor.zero_point
            lines.append(conversion_line(name, tensor.dtype, tensor.file_dtype, *numbers))
        elif tensor.dtype == _NAMES[_UNSIGNED]:
            lines.append(f"{name} is uint8, as in the file")
    return lines
