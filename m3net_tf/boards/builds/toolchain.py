# SPDX-License-Identifier: Apache-2.0
"""The GNU Arm toolchain: the programs that a build needs, and running one build step."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from m3net_tf.boards.builds.boards import Board
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, MissingError, cmake_variable
from m3net_tf.compiler.engines import COMPILED, Engine
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.processes import run_group

#: Program -> Debian package that contains it.
TOOLS: dict[str, str] = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "arm-none-eabi-g++": "gcc-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "git": "git",
}


#: Library of the cross compiler -> Debian package that contains it, apart from the compiler's.
LIBRARIES: dict[str, str] = {
    "libc.a": "libnewlib-arm-none-eabi",
    "libstdc++.a": "libstdc++-arm-none-eabi-newlib",
}


TOOLCHAIN_FILE = FIRMWARE_DIR / "cmake" / "toolchain-arm-none-eabi.cmake"


def missing_packages(tools: Mapping[str, str] = TOOLS) -> list[str]:
    """Debian packages of the tools that are not in PATH, in a stable order, each once.

    With the C++ compiler its libraries must be there, too.
    """
    absent = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if "arm-none-eabi-g++" in tools:
        absent += [package for name, package in LIBRARIES.items() if not _compiler_has(name)]
    return list(dict.fromkeys(absent))


def _compiler_has(library: str) -> bool:
    """Whether the cross compiler finds a library; false if there is no compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return False
    command = ["arm-none-eabi-gcc", f"-print-file-name={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()).is_absolute()


def check_toolchain(tools: Mapping[str, str] = TOOLS) -> None:
    """Check that everything that a build needs is installed.

    Raises:
        MissingError: something is missing; the message gives the command that installs it.
    """
    packages = missing_packages(tools)
    if packages:
        raise MissingError(
            "firmware tools are missing; install them: apt-get install " + " ".join(packages)
        )


def check_tools(board: Board, engine: Engine, *, emulated: bool = False) -> None:
    """Check that the tools are installed that a build for a board calls.

    Args:
        board: the board.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`.
        emulated: whether the board's emulator is needed, too.

    Raises:
        MissingError: as :func:`check_toolchain`.
    """
    tools = dict(TOOLS)
    if engine == COMPILED:
        del tools["arm-none-eabi-g++"]
        if not board.third_party:
            del tools["git"]
    if emulated and board.machine:
        tools[board.machine.emulator] = board.machine.package
    check_toolchain(tools)


def compiler_version() -> str:
    """First line of the cross compiler's version."""
    done = subprocess.run(
        ["arm-none-eabi-gcc", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.partition("\n")[0]


def cmake_command(
    source: Path, build: Path, settings: Sequence[str], folders: dict[str, Path]
) -> list[str | Path]:
    """Command that configures a CMake project with Ninja and the cross compiler."""
    command: list[str | Path] = ["cmake", "-G", "Ninja", "-S", source, "-B", build]
    checkouts = [f"-D{cmake_variable(name)}={folder}" for name, folder in folders.items()]
    return [*command, "--toolchain", TOOLCHAIN_FILE, *settings, *checkouts]


def run_step(command: Sequence[str | Path], log: Path, what: str) -> None:
    """Run a build step with its output in ``log``.

    Raises:
        FirmwareError: it fails; the message quotes the first error in the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        code = run_group([str(part) for part in command], stream)
    if code != 0:
        raise FirmwareError(f"{what} failed: {_first_error(log)} (full log: {log})")


def _first_error(log: Path) -> str:
    """The first error in the log of a failed CMake or Ninja step, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*[mK]", "", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            following = []
            for next_line in lines[index + 1 :]:
                if next_line.startswith(("--", "CMake", "Call Stack")):
                    break
                following.append(next_line)
            return " ".join(following) or line
    for line in lines:
        if re.search(r"\b(error|undefined reference|overflowed)\b", line):
            return line
    return lines[-1] if lines else "no output"
