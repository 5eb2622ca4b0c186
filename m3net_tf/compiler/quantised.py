# SPDX-License-Identifier: Apache-2.0
"""Names the kind of a file that is not quantised to whole numbers, and how to convert it again."""

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Graph

_FLOATS = ("float32", "float16")
_SMALL = ("int8", "uint8", "int4")
_WEIGHTS = 1  # the input of an operator that has them
_SOURCES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
_CONVERT = "convert it again with a representative data set and TFLITE_BUILTINS_INT8"
_CUSTOM = (  # part of a custom operator's name, what it is, and what to do
    ("ethos-u", "Vela made it for an Ethos-U", "take the file from before Vela"),
    ("edgetpu", "the Edge TPU's compiler made it", "take the file from before that compiler"),
    ("Flex", "it is TensorFlow's own", "convert without SELECT_TF_OPS, or replace its layer"),
)
_LONGEST_NAME = 80


def require_whole_numbers(graph: Graph) -> None:
    """Refuse a network with custom operators, or with layers whose weights or inputs are float.

    It reads types alone, so that a file is refused for its kind before any of its shapes.

    Raises:
        ModelError: the message names the operator, and how to convert the network.
    """
    for op in graph.operations:
        if op.kind.startswith("CUSTOM"):
            raise ModelError(_custom_line(op.kind[:_LONGEST_NAME]))
    for op in graph.operations:
        fault = _fault(op.kind, [tensor.dtype for tensor in op.inputs if tensor is not None])
        if fault:
            layer = op.layer[:_LONGEST_NAME] if op.outputs else ""
            raise ModelError(f"operator {op.kind} {layer!r}: {fault}: {_CONVERT}")


def _custom_line(kind: str) -> str:
    for part, origin, step in _CUSTOM:
        if part in kind:
            return f"operator {kind} is not supported, {origin}: {step}"
    return (
        f"operator {kind} is not supported, TensorFlow Lite has no operator of this name: replace "
        "its layer by built-in ones, or take the file from before a vendor's tool"
    )


def _fault(kind: str, types: list[str]) -> str:
    """What an operator has instead of whole numbers; '' if it has these."""
    if kind == "DEQUANTIZE" and types[:1] == ["float16"]:
        return "the network has float16 weights and computes in float"
    if kind not in _SOURCES or len(types) <= max(_WEIGHTS, _SOURCES[kind]):
        return ""
    source, weights = types[_SOURCES[kind]], types[_WEIGHTS]
    if source not in _FLOATS:
        return ""
    if weights in _SMALL:
        return "weights are int8, activations float (dynamic range)"
    return "weights and activations are float"
