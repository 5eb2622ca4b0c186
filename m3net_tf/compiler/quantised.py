# SPDX-License-Identifier: Apache-2.0
"""Names the kind of a file that is not quantised to whole numbers, and how to convert it again."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.names import operator_name

_TYPES = schema.TensorType
_FLOATS = (_TYPES.FLOAT32, _TYPES.FLOAT16)
_SMALL = (_TYPES.INT8, _TYPES.UINT8, _TYPES.INT4)
_WEIGHTS = 1  # the input of an operator that has them
_SOURCES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
_CONVERT = "convert it again with a representative data set and TFLITE_BUILTINS_INT8"
_CUSTOM = (  # part of a custom operator's name, what it is, and what to do
    ("ethos-u", "Vela made it for an Ethos-U", "take the file from before Vela"),
    ("edgetpu", "the Edge TPU's compiler made it", "take the file from before that compiler"),
    ("Flex", "it is TensorFlow's own", "convert without SELECT_TF_OPS, or replace its layer"),
)
_LONGEST_NAME = 80


def require_whole_numbers(model: Any, subgraph: Any) -> None:
    """Refuse a subgraph with custom operators, or with layers whose weights or inputs are float.

    It reads types alone, so that a file is refused for its kind before any of its shapes.

    Raises:
        ModelError: the message names the operator, and how to convert the network.
    """
    named = [(operator_name(model.operatorCodes[op.opcodeIndex]), op) for op in subgraph.operators]
    for kind, _ in named:
        if kind.startswith("CUSTOM"):
            raise ModelError(_custom_line(kind[:_LONGEST_NAME]))
    for kind, op in named:
        types = [subgraph.tensors[at].type for at in _places(op.inputs)]
        fault = _fault(kind, types)
        if fault:
            outputs = _places(op.outputs)
            name = (subgraph.tensors[outputs[0]].name or b"") if outputs else b""
            layer = name.decode(errors="replace").partition(";")[0][:_LONGEST_NAME]
            raise ModelError(f"operator {kind} {layer!r}: {fault}: {_CONVERT}")


def _custom_line(kind: str) -> str:
    for part, origin, step in _CUSTOM:
        if part in kind:
            return f"operator {kind} is not supported, {origin}: {step}"
    return (
        f"operator {kind} is not supported, TensorFlow Lite has no operator of this name: replace "
        "its layer by built-in ones, or take the file from before a vendor's tool"
    )


def _places(indices: Any) -> list[int]:
    return [int(index) for index in (indices if indices is not None else ()) if index >= 0]


def _fault(kind: str, types: list[int]) -> str:
    """What an operator has instead of whole numbers; '' if it has these."""
    if kind == "DEQUANTIZE" and types[:1] == [_TYPES.FLOAT16]:
        return "the network has float16 weights and computes in float"
    if kind not in _SOURCES or len(types) <= max(_WEIGHTS, _SOURCES[kind]):
        return ""
    source, weights = types[_SOURCES[kind]], types[_WEIGHTS]
    if source not in _FLOATS:
        return ""
    if weights in _SMALL:
        return "weights are int8, activations float (dynamic range)"
    return "weights and activations are float"
