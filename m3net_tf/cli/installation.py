# SPDX-License-Identifier: Apache-2.0
"""Checks what commands need on this computer, and says how to get what is missing."""

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.builds.boards import (
    Architecture,
    list_boards,
    load_board,
    machines,
)
from m3net_tf.boards.builds.sources import (
    cached_folder,
    library_sources,
    read_package,
    why_package_unavailable,
    why_sources_unavailable,
)
from m3net_tf.boards.builds.toolchain import compiler_version, missing_packages
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.extras import how_to_install, missing_of, packages_by_extra
from m3net_tf.system.words import counted

_EXTRAS = {
    "train": "training, quantisation, export",
    "firmware": "TensorFlow Lite Micro on the host",
    "many": "--jobs N",
    "microphone": "classify --microphone",
}
_REQUIRED_EXTRAS = ("train",)
_FREE_BYTES = 2_000_000_000  # tools, sources and a small data set
_GIGABYTE = 1_000_000_000

State = Literal["ok", "missing", "optional"]


@dataclasses.dataclass(frozen=True)
class Check:
    """Something that commands need.

    Attributes:
        state: ``optional`` is missing, but few commands need it.
        fix: how to get it; empty if it is there.
    """

    subject: str
    state: State
    detail: str
    fix: str = ""


def run_checks() -> list[Check]:
    """Check packages, compilers, emulators, sources, voices, serial ports and disk space."""
    return [*_packages(), *_tools(), *_emulators(), *_sources(), _voices(), _ports(), *_disk()]


def _packages() -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", "ok", f"{python}, {sys.executable}")
    packages = packages_by_extra()
    if not packages:
        yield Check("m3net_tf", "missing", "not installed", how_to_install("train"))
    for extra in ("", *_EXTRAS) if packages else ():
        absent = missing_of(extra)
        subject = f"packages [{extra}]" if extra else "packages"
        if not absent:
            yield Check(subject, "ok", f"{len(packages.get(extra, ()))} installed")
            continue
        use = f" (for {_EXTRAS[extra]})" if extra else ""
        yield Check(
            subject,
            "missing" if not extra or extra in _REQUIRED_EXTRAS else "optional",
            f"{', '.join(absent)}{use}",
            how_to_install(extra),
        )


def _tools() -> Iterator[Check]:
    for name, architecture in _architectures().items():
        subject = f"tools for firmware ({name})"
        packages = missing_packages(architecture)
        fix = "apt-get install " + " ".join(packages)
        if packages:
            yield Check(subject, _need(name), ", ".join(packages), fix)
        else:
            yield Check(subject, "ok", compiler_version(architecture))
    compiler = shutil.which("cc") or shutil.which("gcc")
    fix = "apt-get install gcc libc6-dev"
    yield _program("C compiler of this computer", compiler, "missing", "cc", fix)


def _program(subject: str, found: str | None, need: State, detail: str, fix: str) -> Check:
    return Check(subject, "ok", found) if found else Check(subject, need, detail, fix)


def _architectures() -> dict[str, Architecture]:
    """The architectures of all boards, by name; none without a source checkout."""
    try:
        boards = [load_board(name) for name in list_boards()]
    except M3NetError:
        return {}  # reported with the emulators
    return {board.arch: board.architecture for board in boards}


def _need(architecture: str) -> State:
    """How much the tools of an architecture matter: only the default board's are required."""
    return "missing" if architecture == load_board(DEFAULT_BOARD).arch else "optional"


def _emulators() -> Iterator[Check]:
    try:
        known = [load_board(machine.board) for machine in machines()]
    except M3NetError as error:
        yield Check("firmware/", "missing", "no source checkout", str(error))
        return
    for name, architecture in _architectures().items():
        emulator = architecture.emulator
        path = shutil.which(emulator.program)
        count = sum(board.arch == name for board in known)
        boards = f"for {counted(count, 'board')}"
        found = path and f"{path}, {boards}"
        fix = f"apt-get install {emulator.package}"
        yield _program(emulator.program, found, _need(name), boards, fix)
    fix = "docs/design/emulation.md says how to install it"
    yield _program("renode", shutil.which("renode"), "optional", "a second emulator", fix)


def _sources() -> Iterator[Check]:
    try:
        require_sources("firmware")
        package = read_package("cmsisdsp")
    except M3NetError:
        return  # reported with the emulators
    if reason := why_package_unavailable(package):
        yield Check("CMSIS-DSP (compiled engine)", "missing", reason, "pip download must work here")
    else:
        yield Check("CMSIS-DSP (compiled engine)", "ok", str(cached_folder(package)))
    if reason := why_sources_unavailable():
        yield Check("sources of TFLM", "optional", reason, "needed with --engine tflm alone")
    else:
        count = len(library_sources())
        yield Check("sources of TFLM", "ok", f"{count} repositories in the cache or reachable")


def _voices() -> Check:
    try:
        from m3net_tf.wake.voices.synthesis import available

        names = [synthesiser.name for synthesiser in available()]
    except (M3NetError, ImportError):  # a package that is missing is reported with the packages
        return Check("speech", "optional", "espeak-ng, for wake", "apt-get install espeak-ng")
    return Check("speech", "ok", ", ".join(names))


def _ports() -> Check:
    try:
        from serial.tools import list_ports
    except ModuleNotFoundError:
        return Check("serial ports", "optional", "pyserial is missing", "pip install pyserial")
    names = [port.device for port in list_ports.comports() if port.vid is not None]
    if not names:
        return Check(
            "serial ports", "optional", "no board", "connect one; none is needed to emulate"
        )
    closed = [name for name in names if not os.access(name, os.R_OK | os.W_OK)]
    if closed:
        fix = "sudo usermod -aG dialout $USER, then log in again"
        return Check("serial ports", "missing", f"no permission for {', '.join(closed)}", fix)
    return Check("serial ports", "ok", ", ".join(names))


def _disk() -> Iterator[Check]:
    for subject, folder in (("cache", cache_folder()), ("current folder", Path.cwd())):
        place = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(place).free
        detail = f"{folder}, {free / _GIGABYTE:.1f} GB free"
        if not os.access(place, os.W_OK):
            yield Check(subject, "missing", f"{folder} is not writable", "M3NET_CACHE=<folder>")
        elif free < _FREE_BYTES:
            yield Check(subject, "missing", detail, f"free {_FREE_BYTES / _GIGABYTE:.0f} GB")
        else:
            yield Check(subject, "ok", detail)
