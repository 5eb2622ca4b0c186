# SPDX-License-Identifier: Apache-2.0
"""The extras of ``setup.cfg``: which installation brings which package."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.metadata import PackageNotFoundError, requires

from m3net_tf.errors import ConfigError

# Modules that have another name than their package.
_PACKAGES = {"serial": "pyserial", "sklearn": "scikit-learn", "yaml": "pyyaml"}
_MODULES = {package: module for module, package in _PACKAGES.items()}


def require_modules(subject: str, extra: str, *modules: str) -> None:
    """Import the modules of an extra.

    Args:
        subject: what needs them, for the error's message.
        extra: installation that brings them.
        modules: their names.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{subject} needs the package {error.name}: pip install 'm3net_tf[{extra}]'"
        ) from None


def packages_by_extra() -> dict[str, list[str]]:
    """Packages of this Python by extra; those of every installation stand under ''.

    It is empty if ``m3net_tf`` is not installed, only imported from its source folder.
    """
    packages: dict[str, list[str]] = {}
    try:
        lines = requires("m3net_tf") or []
    except PackageNotFoundError:
        return {}
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](.+?)['\"]", line)
        if name and _for_this_python(line):
            key = extra[1] if extra else ""
            packages.setdefault(key, []).append(name[0].lower().replace("_", "-"))
    return packages


def package_of(module: str) -> str:
    """The package that contains a top-level module."""
    return _PACKAGES.get(module, module.replace("_", "-"))


def module_of(package: str) -> str:
    """The top-level module of a package, the inverse of :func:`package_of`."""
    return _MODULES.get(package, package.replace("-", "_"))


def is_installed(package: str) -> bool:
    """Whether a package's module can be imported; its variants count, such as tensorflow-cpu."""
    return importlib.util.find_spec(module_of(package)) is not None


def installation_with(package: str) -> str:
    """The installation that brings a package, such as ``m3net_tf[train]``."""
    for extra, packages in packages_by_extra().items():
        if extra and package in packages:
            return f"m3net_tf[{extra}]"
    return "m3net_tf"


def _for_this_python(line: str) -> bool:
    version = re.search(r"python_version (<|>=) ['\"]3\.(\d+)['\"]", line)
    if version is None:
        return True
    return (sys.version_info.minor < int(version[2])) == (version[1] == "<")
