# SPDX-License-Identifier: Apache-2.0
"""Names of the numbers in TFLite's schema: operators, types of tensors, activations."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema


def _names_of(enumeration: type) -> dict[int, str]:
    return {
        number: name
        for name, number in vars(enumeration).items()
        if isinstance(number, int) and not name.startswith("_")
    }


_OPERATORS = _names_of(schema.BuiltinOperator)
ACTIVATIONS = _names_of(schema.ActivationFunctionType)
#: Types of tensors as NumPy names them, such as ``int8``.
TYPES = {number: name.lower() for number, name in _names_of(schema.TensorType).items()}


def operator_name(code: Any) -> str:
    """Name of an operator code, such as ``CONV_2D``; of a custom one ``CUSTOM`` and its own name.

    Raises:
        KeyError: the schema has no such operator.
    """
    name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"CUSTOM {code.customCode.decode()}" if name == "CUSTOM" else name
