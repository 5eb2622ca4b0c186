# SPDX-License-Identifier: Apache-2.0
"""The GNU toolchain of a board: the programs that a build needs."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from m3net_tf.boards.builds.boards import Architecture, Board
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.system.errors import FirmwareError

#: Program of this computer that builds call -> Debian package that contains it.
TOOLS: dict[str, str] = {"cmake": "cmake", "ninja": "ninja-build", "git": "git"}

#: The programs and libraries of an architecture that C++ needs.
_CXX = ("g++", "libstdc++.a")


def missing_packages(
    architecture: Architecture, engine: Engine = TFLM, tools: Mapping[str, str] = TOOLS
) -> list[str]:
    """Debian packages of what a build needs and is not installed, in a stable order, each once.

    Args:
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`; only TensorFlow Lite Micro needs
            C++.
    """
    unneeded = _CXX if engine == COMPILED else ()
    programs = {
        program(architecture, name): package
        for name, package in architecture.programs.items()
        if name not in unneeded
    }
    absent = [
        package
        for program, package in {**programs, **tools}.items()
        if shutil.which(program) is None
    ]
    compiler = program(architecture, "gcc")
    absent += [
        package
        for name, package in architecture.libraries.items()
        if name not in unneeded and not _compiler_has(compiler, name)
    ]
    return list(dict.fromkeys(absent))


def _compiler_has(compiler: str, library: str) -> bool:
    """Whether the cross compiler finds a library; false if there is no compiler."""
    if shutil.which(compiler) is None:
        return False
    command = [compiler, f"-print-file-name={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()).is_absolute()


def check_toolchain(
    architecture: Architecture, engine: Engine = TFLM, tools: Mapping[str, str] = TOOLS
) -> None:
    """Check that everything that a build needs is installed; arguments as :func:`missing_packages`.

    Raises:
        MissingError: something is missing; the message gives the command that installs it.
    """
    packages = missing_packages(architecture, engine, tools)
    if packages:
        raise MissingError(
            "firmware tools are missing; install them: apt-get install " + " ".join(packages)
        )


def check_tools(board: Board, engine: Engine, *, emulated: bool = False) -> None:
    """Check that a board can have an engine, and that the tools of its build are installed.

    Raises:
        FirmwareError: the board's architecture does not have the engine; the message names those
            that it has.
        MissingError: as :func:`check_toolchain`.
    """
    if engine not in board.architecture.engines:
        raise FirmwareError(
            f"{board.name} has no --engine {engine}, which is for other cores than its "
            f"{board.core}: choose {' or '.join(board.architecture.engines)}"
        )
    tools = dict(TOOLS)
    if engine == COMPILED and not board.third_party:
        del tools["git"]
    if emulated and board.machine:
        tools[board.machine.emulator] = board.machine.package
    check_toolchain(board.architecture, engine, tools)


def program(architecture: Architecture, name: str) -> str:
    """A program of an architecture's toolchain, with its prefix."""
    return f"{architecture.toolchain}-{name}"


def compiler_version(architecture: Architecture) -> str:
    """First line of the cross compiler's version."""
    command = [program(architecture, "gcc"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
