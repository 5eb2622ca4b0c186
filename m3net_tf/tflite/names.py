# SPDX-License-Identifier: Apache-2.0
"""Names of the numbers in TFLite's schema: operators, types of tensors, activations."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema


def names_of(enumeration: type) -> dict[int, str]:
    """Number -> name of an enumeration of the schema."""
    return {
        number: name
        for name, number in vars(enumeration).items()
        if isinstance(number, int) and not name.startswith("_")
    }


_OPERATORS = names_of(schema.BuiltinOperator)


def builtin_name(code: Any) -> str:
    """Name of an operator code's builtin operator, such as ``CONV_2D``.

    Raises:
        KeyError: the schema has no such operator.
    """
    return _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def operator_name(code: Any) -> str:
    """As :func:`builtin_name`; a custom operator is ``CUSTOM`` and its own name."""
    name = builtin_name(code)
    return f"CUSTOM {code.customCode.decode()}" if name == "CUSTOM" else name
