# SPDX-License-Identifier: Apache-2.0
"""The extras of ``setup.cfg``: which installation brings which package."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from m3net_tf.system.artifacts import parse_json
from m3net_tf.system.checkout import own_checkout
from m3net_tf.system.errors import ConfigError

if TYPE_CHECKING:  # the runtime does without the package packaging
    from packaging.requirements import Requirement

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

    It never asks an index for the project's own name, which anyone could register there: it names
    the checkout, or what pip installed the package from, or else the extra's packages.
    """
    suffix = f"[{extra}]" if extra else ""
    root = own_checkout()
    if root is not None:
        return f"pip install -e '{'.' if root == Path.cwd() else root}{suffix}'"
    if source := _installed_from():
        return f"pip install {shlex.quote(source + suffix)}"
    wanted = (line for name, line in _requirements() if name == extra)
    packages = [shlex.quote(str(line)) for line in wanted if line.name != "m3net-tf"]
    return f"pip install {' '.join(packages)}" if packages else "install it from its checkout again"


def _installed_from() -> str:
    """The folder or file that pip installed the package from; '' if it is not there any more."""
    try:
        text = distribution("m3net_tf").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    url = urlsplit(parse_json(text)["url"]) if text else None
    path = unquote(url.path) if url and url.scheme == "file" else ""
    return path if path and Path(path).exists() else ""


def named(packages: Iterable[str]) -> str:
    """``the package a`` or ``the packages a, b``, without repetition."""
    names = list(dict.fromkeys(packages))
    return f"the package{'s' if len(names) > 1 else ''} {', '.join(names)}"


def missing_with(package: str) -> tuple[str, list[str]]:
    """The extra that brings a package ('' for every installation), and its missing packages."""
    for extra, packages in packages_by_extra().items():
        if package in packages:
            return extra, list(dict.fromkeys([package, *missing_of(extra)]))
    return "", [package]


def missing_of(extra: str) -> list[str]:
    """Packages of an extra that are not installed; '' is the package alone."""
    return [name for name in packages_by_extra().get(extra, ()) if not is_installed(name)]


def packages_by_extra() -> dict[str, list[str]]:
    """Packages of this Python by extra; packages of every installation stand under ''.

    It is empty if ``m3net_tf`` is not installed, only imported from its source folder.
    """
    packages: dict[str, list[str]] = {}
    for extra, requirement in _requirements():
        packages.setdefault(extra, []).append(requirement.name)
    return {"": packages.pop("", []), **packages} if packages else {}


def _requirements() -> Iterator[tuple[str, Requirement]]:
    """The requirements of this Python, each with the first extra that brings it."""
    try:
        facts = distribution("m3net_tf").metadata
    except PackageNotFoundError:
        return
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for line in facts.get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        for extra in ("", *(facts.get_all("Provides-Extra") or ())):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                requirement.name, requirement.marker = canonicalize_name(requirement.name), None
                yield extra, requirement
                break


def package_of(module: str) -> str:
    """The package that contains a top-level module."""
    return _PACKAGES.get(module, module.replace("_", "-"))


def module_of(package: str) -> str:
    """The top-level module of a package, the inverse of :func:`package_of`."""
    return _MODULES.get(package, package.replace("-", "_"))


def is_installed(package: str) -> bool:
    """Whether a package's module can be imported; its variants count, such as tensorflow-cpu."""
    return importlib.util.find_spec(module_of(package)) is not None
