# SPDX-License-Identifier: Apache-2.0
"""Float and uint8 inputs and outputs around a quantised network.

The converter puts a QUANTIZE after such an input, and a DEQUANTIZE or a QUANTIZE before such an
output. The compiler removes these operators: the caller converts instead.
"""

from m3net_tf.tflite.graph import Graph, Operation, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph

_TO_OUTPUT = ("DEQUANTIZE", "QUANTIZE")
_SIGN = 128  # added to a zero point of int8, gives the zero point of uint8


def strip_ends(graph: Graph, *, unsigned: bool = False) -> None:
    """Remove the conversions at inputs and outputs; the tensors there get their ``file_dtype``.

    ``unsigned`` also removes those from and to uint8, where int8 has the same scale.
    """
    replaced: dict[Tensor, Tensor] = {}
    for ends, is_input in ((graph.inputs, True), (graph.outputs, False)):
        for outer in ends:
            op = _conversion(graph, outer, is_input=is_input, unsigned=unsigned)
            if op is not None:
                inner = op.output if is_input else op.input(0)
                inner.file_dtype = outer.dtype
                replaced[outer] = inner
                graph.operations.remove(op)
    graph.inputs = [replaced.get(tensor, tensor) for tensor in graph.inputs]
    graph.outputs = [replaced.get(tensor, tensor) for tensor in graph.outputs]


def _conversion(graph: Graph, outer: Tensor, *, is_input: bool, unsigned: bool) -> Operation | None:
    """The conversion that alone reads an input, or that computes an output; None without one."""
    used = [op for op in graph.operations if outer in op.inputs]
    used += [op for op in graph.operations if outer in op.outputs]
    if len(used) != 1:
        return None
    (op,) = used
    kinds = ("QUANTIZE",) if is_input else _TO_OUTPUT
    if op.kind not in kinds:
        return None
    inner = op.output if is_input else op.input(0)
    return op if _is_exact(outer, inner, unsigned=unsigned) else None


def _is_exact(outer: Tensor, inner: Tensor, *, unsigned: bool) -> bool:
    """Whether the caller can do this conversion."""
    if outer.dtype == "float32":
        return inner.dtype in ("int8", "int16")
    if not unsigned or (outer.dtype, inner.dtype) != ("uint8", "int8"):
        return False
    return outer.scale == inner.scale and outer.zero_point == inner.zero_point + _SIGN


def int8_network(tflite: bytes) -> tuple[bytes, list[str]]:
    """A ``.tflite`` with int8 inputs and outputs, if its body is int8.

    Returns:
        The file, and a line for each input and output that changed; the same bytes without any.

    Raises:
        ModelError: the file is damaged.
    """
    graph = read_graph(tflite)
    strip_ends(graph, unsigned=True)
    lines = [_conversion_line(name, tensor) for name, tensor in _ends(graph) if tensor.file_dtype]
    return (write_graph(tflite, graph) if lines else tflite), lines


def _ends(graph: Graph) -> list[tuple[str, Tensor]]:
    ends = [(f"input {index}", tensor) for index, tensor in enumerate(graph.inputs)]
    return ends + [(f"output {index}", tensor) for index, tensor in enumerate(graph.outputs)]


def _conversion_line(name: str, tensor: Tensor) -> str:
    """How the caller converts an input or output."""
    rule = "128 less than there"
    if tensor.file_dtype == "float32":
        rule = f"(item - {tensor.zero_point}) * {float(tensor.scale):.7g} is the number"
    rule = rule.replace("- -", "+ ")
    return f"{name} is {tensor.dtype}, in the file {tensor.file_dtype}: {rule}"


def end_notes(graph: Graph) -> list[str]:
    """A line for each input and output that is uint8, or whose conversion was removed."""
    lines = []
    for name, tensor in _ends(graph):
        if tensor.file_dtype:
            lines.append(_conversion_line(name, tensor))
        elif tensor.dtype == "uint8":
            lines.append(f"{name} is uint8, as in the file")
    return lines
