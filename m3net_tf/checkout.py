# SPDX-License-Identifier: Apache-2.0
"""Where ``experiments/`` and ``firmware/`` are, which an installed package does not carry."""

from __future__ import annotations

import os
from pathlib import Path

from m3net_tf.errors import ConfigError

VARIABLE = "M3NET_SOURCES"
_MARKER = Path("firmware") / "third_party.lock"
_PACKAGE_PARENT = Path(__file__).resolve().parents[1]


def find_sources(name: str) -> Path:
    """A folder of the source checkout; it does not exist where there is none.

    The checkout is the folder that ``M3NET_SOURCES`` names, else the one that the package lies in,
    else the current folder.

    Args:
        name: ``experiments`` or ``firmware``.
    """
    return _checkout() / name


def require_sources(name: str) -> Path:
    """As :func:`find_sources`, of a checkout that is there.

    Raises:
        ConfigError: there is none; the message says what to do.
    """
    if (_checkout() / _MARKER).is_file():
        return _checkout() / name
    if named := os.environ.get(VARIABLE):
        raise ConfigError(f"{VARIABLE}={named} is no source checkout (no {_MARKER}): correct it")
    raise ConfigError(
        f"this command needs {name}/ of a source checkout: run it in the checkout's folder, or set "
        f"{VARIABLE} to that folder"
    )


def _checkout() -> Path:
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().resolve()
    is_here = (Path.cwd() / _MARKER).is_file() and not (_PACKAGE_PARENT / _MARKER).is_file()
    return Path.cwd() if is_here else _PACKAGE_PARENT
