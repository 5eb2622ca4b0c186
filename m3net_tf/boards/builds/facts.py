# SPDX-License-Identifier: Apache-2.0
"""Facts in TOML files: tables whose keys and types are checked."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.system.errors import ConfigError, require_known_keys

_NAMES: Mapping[type, str] = {
    bool: "true or false",
    dict: "a table",
    int: "a whole number",
    list: "a list of strings",
    str: "a string",
}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct it") from None


def check_table(
    table: Mapping[str, Any],
    required: Mapping[str, type],
    optional: Mapping[str, type],
    where: str,
) -> None:
    """Refuse a table with an unknown key, without a required one, or with a value of a wrong type.

    Args:
        table: the table.
        required: type of the value of each key that must be there: one of those in ``_NAMES``.
        optional: the same of the keys that may be there.
        where: the place of the table, as ``in board.toml`` or ``in table 'uf2' of board.toml``.

    Raises:
        ConfigError: naming the first such key and its place.
    """
    kinds = {**required, **optional}
    require_known_keys(table, kinds, where)
    require_keys(table, required, where)
    for key, value in table.items():
        is_right = type(value) is kinds[key]
        if isinstance(value, list):
            is_right = is_right and all(isinstance(item, str) for item in value)
        if not is_right:
            raise ConfigError(f"key {key!r} {where} is {value!r}: give {_NAMES[kinds[key]]}")


def require_keys(table: Mapping[str, Any], required: Collection[str], where: str) -> None:
    """Refuse a table that lacks a key.

    Raises:
        ConfigError: naming the first missing key and its place.
    """
    for key in required:
        if key not in table:
            raise ConfigError(f"key {key!r} is missing {where}: add it")
