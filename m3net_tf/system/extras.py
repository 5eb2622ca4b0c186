# SPDX-License-Identifier: Apache-2.0
"""The extras of ``setup.cfg``: which installation brings which package."""

import importlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from m3net_tf.system.checkout import own_checkout
from m3net_tf.system.errors import ConfigError

# Modules that have another name than their package.
_PACKAGES = {"serial": "pyserial", "sklearn": "scikit-learn", "yaml": "pyyaml"}
_MODULES = {package: module for module, package in _PACKAGES.items()}


def require_modules(subject: str, extra: str, *modules: str) -> None:
    """Import the modules of an extra, which a subject needs.

    Raises:
        ConfigError: some are not installed; the message names subject, extra and all of them.
    """
    missing: list[str] = []
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            missing.append(package_of((error.name or module).partition(".")[0]))
    if missing:
        raise ConfigError(f"{subject} needs {named(missing)}: {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """The command that installs an extra where the user stands; '' is the package alone.

    It never asks an index for the project's own name, which anyone could register there.
    """
    suffix = f"[{extra}]" if extra else ""
    root = own_checkout()
    if root is None:
        return (
            f"pip install 'FILE{suffix}', with the wheel that m3net_tf was installed from as FILE"
        )
    return f"pip install -e '{'.' if root == Path.cwd() else root}{suffix}'"


def named(packages: Iterable[str]) -> str:
    """``the package a`` or ``the packages a, b``, without repetition."""
    names = list(dict.fromkeys(packages))
    return f"the package{'s' if len(names) > 1 else ''} {', '.join(names)}"


def missing_with(package: str) -> tuple[str, list[str]]:
    """The extra that brings a package ('' for every installation), and its missing packages."""
    for extra, packages in packages_by_extra().items():
        if package in packages:
            return extra, [name for name in packages if name == package or not is_installed(name)]
    return "", [package]


def packages_by_extra() -> dict[str, list[str]]:
    """Packages of this Python by extra; packages of every installation stand under ''.

    It is empty if ``m3net_tf`` is not installed, only imported from its source folder.
    """
    try:
        facts = metadata("m3net_tf")
    except PackageNotFoundError:
        return {}
    from packaging.requirements import Requirement  # the runtime does without it
    from packaging.utils import canonicalize_name

    requirements = [Requirement(line) for line in facts.get_all("Requires-Dist") or ()]
    packages: dict[str, list[str]] = {"": []}
    for requirement in requirements:
        for extra in ("", *(facts.get_all("Provides-Extra") or ())):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                packages.setdefault(extra, []).append(canonicalize_name(requirement.name))
                break
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
