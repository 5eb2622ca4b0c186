# SPDX-License-Identifier: Apache-2.0
"""Finds ``experiments/`` and ``firmware/``, which an installed package does not contain."""

from __future__ import annotations

import os
from pathlib import Path

from m3net_tf.errors import ConfigError

VARIABLE = "M3NET_SOURCES"
_MARKER = Path("firmware") / "third_party.lock"
_PACKAGE_PARENT = Path(__file__).resolve().parents[1]


def find_sources(name: str) -> Path:
    """Path of a folder of the source checkout; without a checkout the path does not exist.

    The checkout is the folder named by ``M3NET_SOURCES``, otherwise the folder that contains the
    package, otherwise the current folder.

    Args:
        name: ``experiments`` or ``firmware``.
    """
    return _checkout() / name


def require_sources(name: str) -> Path:
    """Like :func:`find_sources`, but the checkout must exist.

    Raises:
        ConfigError: there is no checkout.
    """
    if (_checkout() / _MARKER).is_file():
        return _checkout() / name
    if configured := os.environ.get(VARIABLE):
        raise ConfigError(
            f"{VARIABLE}={configured} is no source checkout (no {_MARKER}): correct it"
        )
    raise ConfigError(
        f"this command needs {name}/ of a source checkout: run it in the checkout's folder, or set "
        f"{VARIABLE} to that folder"
    )


def _checkout() -> Path:
    if configured := os.environ.get(VARIABLE):
        return Path(configured).expanduser().resolve()
    is_here = (Path.cwd() / _MARKER).is_file() and not (_PACKAGE_PARENT / _MARKER).is_file()
    return Path.cwd() if is_here else _PACKAGE_PARENT
