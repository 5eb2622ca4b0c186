# SPDX-License-Identifier: Apache-2.0
"""Finds ``experiments/`` and ``firmware/`` in the source checkout, or the wheel's copies."""

import os
from pathlib import Path

from m3net_tf.system.errors import ConfigError

VARIABLE = "M3NET_SOURCES"
_MARKER = Path("firmware") / "third_party.lock"
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_COPIES = "m3net_tf/sources"  # setup.py puts them there


def find_sources(name: str) -> Path:
    """Path of ``experiments`` or ``firmware``; without source checkout the path does not exist.

    The checkout is the folder named by ``M3NET_SOURCES``, otherwise the folder that contains the
    package, otherwise the current folder. Outside a checkout the wheel's copies take its place.
    """
    return _checkout() / name


def require_sources(name: str) -> Path:
    """Like :func:`find_sources`, but the folder must exist.

    Raises:
        ConfigError: there is no checkout, and the package was installed without the copies.
    """
    if (_checkout() / _MARKER).is_file():
        return _checkout() / name
    if configured := os.environ.get(VARIABLE):
        raise ConfigError(
            f"{VARIABLE}={configured} is not a source checkout (no {_MARKER}): correct it"
        )
    raise ConfigError(
        f"this command needs {name}/ of a source checkout: run it in the checkout's folder, or set "
        f"{VARIABLE} to that folder"
    )


def own_checkout() -> Path | None:
    """The checkout that contains the package, or is the current folder; None if there is none."""
    folders = (_PACKAGE_PARENT, Path.cwd())
    return next((folder for folder in folders if (folder / _MARKER).is_file()), None)


def _checkout() -> Path:
    if configured := os.environ.get(VARIABLE):
        return Path(configured).expanduser().resolve()
    folders = (_PACKAGE_PARENT, Path.cwd(), _PACKAGE_PARENT / _COPIES)
    return next((folder for folder in folders if (folder / _MARKER).is_file()), _PACKAGE_PARENT)
