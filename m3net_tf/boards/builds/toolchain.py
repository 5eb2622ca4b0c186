# SPDX-License-Identifier: Apache-2.0
"""The GNU Arm toolchain: the programs that a build needs, and running one build step."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.boards.builds.sources import FIRMWARE_DIR, read_lock
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


def missing_packages(tools: dict[str, str] | None = None) -> list[str]:
    """Debian packages of the tools that are not in PATH, in a stable order, each once."""
    absent = [package for tool, package in (tools or TOOLS).items() if shutil.which(tool) is None]
    if tools is None:
        absent += [package for name, package in LIBRARIES.items() if not _compiler_has(name)]
    return list(dict.fromkeys(absent))


def _compiler_has(library: str) -> bool:
    """Whether the cross compiler finds a library; false if there is no compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return False
    command = ["arm-none-eabi-gcc", f"-print-file-name={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()).is_absolute()


def check_toolchain(tools: dict[str, str] | None = None) -> None:
    """Check that everything that a build needs is installed.

    Raises:
        FirmwareError: something is missing; the message gives the command that installs it.
    """
    packages = missing_packages(tools)
    if packages:
        raise FirmwareError(
            "firmware tools are missing; install them: apt-get install " + " ".join(packages)
        )


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
    command += ["--toolchain", TOOLCHAIN_FILE, *settings, *_source_arguments(folders)]
    return command


def _source_arguments(folders: dict[str, Path]) -> list[str]:
    return [
        f"-D{source.cmake_variable}={folders[source.name]}"
        for source in read_lock()
        if source.name in folders
    ]


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
