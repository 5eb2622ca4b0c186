# SPDX-License-Identifier: Apache-2.0
"""Converts plain values of YAML and JSON to the frozen dataclasses of a recipe, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from m3net_tf.errors import ConfigError, require_known_keys
from m3net_tf.frontend import FrontendConfig, frontend_preset

SPELLING = "spelling"
"""Metadata of a key that YAML may spell otherwise, by a word that is a keyword in Python."""


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
    if kind is FrontendConfig and "preset" in values:
        values = _named_frontend(values)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = _respelt(values, fields, section)
    hints = typing.get_type_hints(kind)
    require_known_keys(values, fields, f"in section {section!r}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            key = name if section == "recipe" else f"{section}.{name}"
            arguments[name] = _convert(hints[name], values[name], key)
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


def _named_frontend(values: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of the front end named by ``preset``, overridden by other overrides keys."""
    overrides = dict(values)
    name = _convert(str, overrides.pop("preset"), "frontend.preset")
    rate_hz = _convert(int | None, overrides.get("sample_rate_hz"), "frontend.sample_rate_hz")
    hop_ms = _convert(float | None, overrides.pop("hop_ms", None), "frontend.hop_ms")
    return {**frontend_preset(name, sample_rate_hz=rate_hz, hop_ms=hop_ms).to_dict(), **overrides}


def _convert(kind: Any, value: Any, key: str) -> Any:
    """Check a value against its annotation; a whole number is valid as a float."""
    if dataclasses.is_dataclass(kind):
        return build_section(typing.cast(type, kind), value, key)
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not types.NoneType)
        return _convert(kind, value, key)
    if origin is tuple:
        kinds = typing.get_args(kind)
        if kinds[-1] is Ellipsis:
            if not isinstance(value, list | tuple):
                raise ConfigError(f"{key} is {value!r}: give a list")
            kinds = kinds[:1] * len(value)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise ConfigError(f"{key} is {value!r}: give a list of {len(kinds)} values")
        return tuple(_convert(k, v, key) for k, v in zip(kinds, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{key} is {value!r}: give keys and values")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{key} is {value!r}: give a value of type {kind.__name__}")
    return value
