# SPDX-License-Identifier: Apache-2.0
"""Converts plain values of YAML and JSON to frozen dataclasses, section by section, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from m3net_tf.system.errors import ConfigError, require_known_keys

SPELLING = "spelling"
"""Metadata of a key that YAML may spell otherwise, by a word that is a keyword in Python."""
EXPANDED = "expanded"
"""Metadata of a section with short forms: the function that replaces them by keys."""


def to_plain(value: Any) -> Any:
    """Convert tuples to lists, so that only dicts, lists and scalars remain."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def build_section(kind: type, values: Any, section: str) -> Any:
    """Build a dataclass from plain values, section by section.

    Raises:
        ConfigError: an unknown or missing key, a key in both of its spellings, or a value of the
            wrong type; the message names the section and the keys that exist.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"section {section!r} is {values!r}: give keys and values")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = _respelt(values, fields, section)
    hints = typing.get_type_hints(kind)
    require_known_keys(values, fields, f"in section {section!r}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            key = name if section == "recipe" else f"{section}.{name}"
            value = values[name]
            if EXPANDED in field.metadata and isinstance(value, Mapping):
                value = field.metadata[EXPANDED](value)
            arguments[name] = convert(hints[name], value, key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"key {name!r} is missing in section {section!r}: add it")
    return kind(**arguments)


def _respelt(
    values: Mapping[str, Any], fields: Mapping[str, dataclasses.Field[Any]], section: str
) -> Mapping[str, Any]:
    """The values with the fields' names for keys."""
    names = {f.metadata[SPELLING]: name for name, f in fields.items() if SPELLING in f.metadata}
    if both := [(key, name) for key, name in names.items() if {key, name} <= {*values}]:
        raise ConfigError(f"section {section!r} has {' and '.join(map(repr, both[0]))}: remove one")
    return {names.get(key, key): value for key, value in values.items()}


def convert(kind: Any, value: Any, key: str) -> Any:
    """Check a value against its annotation; a whole number is valid as a float.

    Args:
        kind: the annotation: a plain type, ``T | None``, a tuple, or a dataclass.
        value: the value.
        key: its key, for messages.

    Raises:
        ConfigError: the value has another type; the message names the key.
    """
    if dataclasses.is_dataclass(kind):
        return build_section(typing.cast(type, kind), value, key)
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not types.NoneType)
        return convert(kind, value, key)
    if origin is tuple:
        kinds = typing.get_args(kind)
        if kinds[-1] is Ellipsis:
            if not isinstance(value, list | tuple):
                raise ConfigError(f"{key} is {value!r}: give a list")
            kinds = kinds[:1] * len(value)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise ConfigError(f"{key} is {value!r}: give a list of {len(kinds)} values")
        return tuple(convert(k, v, key) for k, v in zip(kinds, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{key} is {value!r}: give keys and values")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{key} has too many digits for a number: shorten it") from None
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{key} is {value!r}: give a value of type {kind.__name__}")
    return value
