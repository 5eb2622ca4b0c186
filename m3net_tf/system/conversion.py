# SPDX-License-Identifier: Apache-2.0
"""Converts plain values of YAML and JSON to dataclasses, checked by their annotations, and back.

``Literal`` annotations list the choices of a key, and the annotations of this module limit numbers.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from m3net_tf.system.errors import ConfigError, require_known_keys

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
ShareAboveZero = Annotated[float, Meta(gt=0, le=1)]
ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""A seed of NumPy's global generator, which Keras seeds too."""

HASHED_IF_CHANGED = "hashed_if_changed"
"""Metadata of fields that are newer than published results, whose hashes lack their defaults."""

T = TypeVar("T")
_READ: dict[Callable[..., Any], dict[str, object]] = {}  # reading annotations takes a millisecond
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "keys and values",
}
_LIMITS = {
    "at least": "ge",
    "more than": "gt",
    "at most": "le",
    "below": "lt",
    "a multiple of": "multiple_of",
}


def to_plain(value: Any) -> Any:
    """Convert tuples to lists, so that only dicts, lists and scalars remain."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(kind: type[T], values: Any, section: str) -> T:
    """Build a dataclass from plain values, section by section.

    Args:
        kind: the dataclass; its fields may be dataclasses.
        section: its name, for messages; the keys of ``recipe`` are named without it.

    Raises:
        ConfigError: a key is unknown or missing, or its value has another type or is out of range;
            the message names the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"section {section!r} is {values!r}: give keys and values")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    require_known_keys(values, fields, f"in section {section!r}")
    for name, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise ConfigError(f"key {name!r} is missing in section {section!r}: add it")
    kinds = _annotations(kind)
    prefix = "" if section == "recipe" else f"{section}."
    return kind(**{name: convert(kinds[name], values[name], prefix + name) for name in values})


def check_values(instance: Any, section: str) -> None:
    """Check the fields of a dataclass against their annotations.

    Raises:
        ConfigError: a value has another type or is out of range; the message names its key.
    """
    for name, kind in _annotations(type(instance)).items():
        convert(kind, getattr(instance, name), f"{section}.{name}")


def newer_defaults(instance: Any) -> set[str]:
    """Names of the fields newer than published results that have their defaults."""
    return {
        field.name
        for field in dataclasses.fields(instance)
        if HASHED_IF_CHANGED in field.metadata and getattr(instance, field.name) == field.default
    }


def _annotations(kind: Callable[..., Any]) -> dict[str, object]:
    if kind not in _READ:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        _READ[kind] = {field.name: hints[field.name] for field in fields}
    return _READ[kind]


def convert(kind: Any, value: Any, key: str) -> Any:
    """Check a value against its annotation; a whole number is valid as a float.

    Raises:
        ConfigError: the value has another type, is out of range or is not finite; the message
            names the key.
    """
    parts = typing.get_args(kind)
    if value is None and types.NoneType in parts:
        return None
    if typing.get_origin(kind) is dict and isinstance(value, dict):
        return {
            convert(parts[0], name, f"a key of {key}"): convert(parts[1], item, f"{key}.{name}")
            for name, item in value.items()
        }
    for section in (kind, *parts):
        if dataclasses.is_dataclass(section) and isinstance(section, type):
            if isinstance(value, section):
                return value
            if typing.get_origin(kind) is not tuple:
                return from_plain(section, value, key)
            if isinstance(value, list | tuple):
                return tuple(convert(section, v, f"{key}[{i}]") for i, v in enumerate(value))
            raise ConfigError(f"{key} is {value!r}: give a list")
    if isinstance(value, float):
        value = float(value)  # NumPy's float64 is a float, but msgspec refuses it
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_message(kind, value, key, str(error))) from None
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{key} is {value!r}: give a finite number")
    return converted


def _message(kind: Any, value: Any, key: str, reason: str) -> str:
    """The error for a value, from msgspec's reason, such as ``Expected `int` - at `$[0]```."""
    reason, _, place = reason.partition(" - at ")
    for index in re.findall(r"\[(\d+)\]", place):
        key = f"{key}[{index}]"
        value = value[int(index)]
    if reason == "Number out of range":
        return f"{key} has too many digits for a number: shorten it"
    if choices := [*_choices(kind)]:
        return f"{key} is {value!r}: choose one of {', '.join(map(str, choices))}"
    expected = re.match(r"Expected `(.*?)`( of length \d+)?", reason)
    if expected is None:
        return f"{key} is {value!r}: {reason}"
    words = " or ".join(_WORDS.get(word, word) for word in expected[1].split(" | "))
    allowed = ", ".join(dict.fromkeys([words + (expected[2] or ""), *_limits(kind)]))
    return f"{key} is {value!r}: give {allowed}"


def _limits(kind: Any) -> Iterable[str]:
    for part in (kind, *typing.get_args(kind)):
        for meta in getattr(part, "__metadata__", ()):
            for word, attribute in _LIMITS.items():
                if (limit := getattr(meta, attribute)) is not None:
                    yield f"{word} {limit:.10g}"


def _choices(kind: Any) -> Iterable[Any]:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return parts
    return (choice for part in parts for choice in _choices(part))
