# SPDX-License-Identifier: Apache-2.0
"""Build a firmware image from an export bundle with CMake, Ninja and the GNU Arm toolchain.

The third-party code is compiled once per core into a static library that lies in the cache under
a key made of everything that could change its bytes: the lock file, the core's flags, the CMake
files and the compiler's version.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m3net_tf.artifacts import cache_folder, write_bytes, write_text
from m3net_tf.checkout import require_sources
from m3net_tf.errors import FirmwareError, M3NetError
from m3net_tf.firmware.pdm import write_pdm_filter
from m3net_tf.firmware.sources import (
    FIRMWARE_DIR,
    Source,
    fetch_sources,
    library_sources,
    lock_digest,
    read_lock,
)
from m3net_tf.firmware.uf2 import read_hex, uf2_blocks
from m3net_tf.locks import locked, scratch_folder, writes_into
from m3net_tf.processes import run_group
from m3net_tf.progress import Log, silent

#: Program -> Debian package that brings it.
TOOLS: dict[str, str] = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "arm-none-eabi-g++": "gcc-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "git": "git",
}

#: Library of the cross compiler -> Debian package that brings it; the compiler itself comes
#: without.
LIBRARIES: dict[str, str] = {
    "libc.a": "libnewlib-arm-none-eabi",
    "libstdc++.a": "libstdc++-arm-none-eabi-newlib",
}

#: For measuring: kernels' scratch memory that the host knows not of.
ARENA_SLACK_BYTES = 64 * 1024

_LIBRARY_FILE = "libm3net_thirdparty.a"
_TOOLCHAIN_FILE = FIRMWARE_DIR / "cmake" / "toolchain-arm-none-eabi.cmake"


@dataclass(frozen=True)
class FirmwareImage:
    """A linked firmware.

    Attributes:
        elf: path of the ELF file; beside it lie the same image as ``.hex`` and ``.bin``, and as
            ``.uf2`` where it starts behind a boot loader that takes that.
        board: board that it is for.
        sections: bytes of each section that takes memory on the board, by name.
        flash_bytes: what lies in flash: code, constants and the initial values of variables.
        ram_bytes: what lies in RAM, the stack included.
    """

    elf: Path
    board: str
    sections: dict[str, int]
    flash_bytes: int
    ram_bytes: int


def missing_packages(tools: dict[str, str] | None = None) -> list[str]:
    """Debian packages of the tools that are not on the path, in a stable order, each once."""
    absent = [package for tool, package in (tools or TOOLS).items() if shutil.which(tool) is None]
    if tools is None:
        absent += [package for name, package in LIBRARIES.items() if not _compiler_has(name)]
    return list(dict.fromkeys(absent))


def _compiler_has(library: str) -> bool:
    """Whether the cross compiler finds a library (false too where there is no compiler)."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return False
    command = ["arm-none-eabi-gcc", f"-print-file-name={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()).is_absolute()


def check_toolchain(tools: dict[str, str] | None = None) -> None:
    """Check that everything a build needs is installed.

    Raises:
        FirmwareError: something is missing; the message has the command that installs it.
    """
    packages = missing_packages(tools)
    if packages:
        raise FirmwareError(
            "firmware tools are missing; install them: apt-get install " + " ".join(packages)
        )


def list_boards() -> list[str]:
    """Names of the boards there are: the folders of ``firmware/boards``.

    Raises:
        ConfigError: there is no source checkout.
    """
    require_sources("firmware")
    return sorted(path.parent.name for path in (FIRMWARE_DIR / "boards").glob("*/board.cmake"))


def board_file(board: str) -> Path:
    """The ``board.cmake`` of a board.

    Raises:
        FirmwareError: there is no such board; the message lists those that exist.
    """
    if board not in list_boards():
        raise FirmwareError(
            f"unknown board {board!r}; boards that exist: {', '.join(list_boards())}"
        )
    return FIRMWARE_DIR / "boards" / board / "board.cmake"


def board_setting(board: str, name: str) -> list[str]:
    """Values of ``set(M3NET_BOARD_<name> ...)`` in a ``board.cmake``; empty if it has none.

    Raises:
        FirmwareError: there is no such board.
    """
    text = re.sub(r"(?m)\s+#.*$", "", board_file(board).read_text(encoding="utf-8"))
    found = re.search(rf'set\(M3NET_BOARD_{name}\b((?:[^")]|"[^"]*")*)\)', text)
    values = re.findall(r'"([^"]*)"|(\S+)', found[1]) if found else []
    return [quoted or plain for quoted, plain in values]


def board_core(board: str) -> str:
    """Name of the core of ``board``, as its ``board.cmake`` says.

    Raises:
        FirmwareError: there is no such board, or it names no core.
    """
    found = board_setting(board, "CORE")
    if not found:
        raise FirmwareError(f"{board_file(board)}: sets no M3NET_BOARD_CORE; add it")
    return found[0]


def board_sources(board: str) -> tuple[Source, ...]:
    """The third-party sources of a firmware for ``board``: the library's and the chip's.

    Raises:
        FirmwareError: there is no such board, or it names a source that the lock file lacks.
    """
    pinned = {source.name: source for source in read_lock()}
    names = board_setting(board, "THIRD_PARTY")
    for name in names:
        if name not in pinned:
            raise FirmwareError(
                f"{board_file(board)}: third_party.lock has no {name}; pin it there"
            )
    return (*library_sources(), *(pinned[name] for name in names))


def _run(command: Sequence[str | Path], log: Path, what: str) -> None:
    """Run a build step with its output in ``log``; a failure names the first error line in it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        code = run_group([str(part) for part in command], stream)
    if code != 0:
        raise FirmwareError(f"{what} failed: {_first_error(log)} (all of it: {log})")


def _first_error(log: Path) -> str:
    """The most telling line of a failed CMake or Ninja log, without its colours."""
    text = re.sub(r"\x1b\[[0-9;]*[mK]", "", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            following = []
            for other in lines[index + 1 :]:
                if other.startswith(("--", "CMake", "Call Stack")):
                    break
                following.append(other)
            return " ".join(following) or line
    for line in lines:
        if re.search(r"\b(error|undefined reference|overflowed)\b", line):
            return line
    return lines[-1] if lines else "no output"


def _source_arguments(folders: dict[str, Path]) -> list[str]:
    return [
        f"-D{one.cmake_variable}={folders[one.name]}" for one in read_lock() if one.name in folders
    ]


def _cmake(
    source: Path, build: Path, settings: Sequence[str], folders: dict[str, Path]
) -> list[str | Path]:
    """Command that configures a CMake project with Ninja and the cross compiler."""
    command: list[str | Path] = ["cmake", "-G", "Ninja", "-S", source, "-B", build]
    command += ["--toolchain", _TOOLCHAIN_FILE, *settings, *_source_arguments(folders)]
    return command


def _compiler_version() -> str:
    done = subprocess.run(
        ["arm-none-eabi-gcc", "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.partition("\n")[0]


def library_key(core: str) -> str:
    """Hash of everything that the library's bytes for ``core`` depend on."""
    digest = hashlib.sha256()
    digest.update(lock_digest().encode())
    digest.update(_compiler_version().encode())
    for path in (
        *sorted((FIRMWARE_DIR / "library").iterdir()),
        FIRMWARE_DIR / "cmake" / "options.cmake",
        FIRMWARE_DIR / "cmake" / "cores" / f"{core}.cmake",
        _TOOLCHAIN_FILE,
    ):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def library_path(core: str, cache: Path | None = None) -> Path:
    """Where the compiled library for ``core`` lies (or will lie) in the cache."""
    return (cache or cache_folder()) / "libraries" / f"{core}-{library_key(core)}" / _LIBRARY_FILE


def build_library(core: str, cache: Path | None = None, report: Log | None = None) -> Path:
    """Compile the third-party library for ``core`` unless the cache has it; returns its path.

    Raises:
        FirmwareError: a tool is missing, the sources cannot be fetched or do not compile.
    """
    check_toolchain()
    final = library_path(core, cache)
    if final.is_file():
        return final
    folders = fetch_sources(cache=cache, report=report)
    libraries = final.parent.parent
    libraries.mkdir(parents=True, exist_ok=True)
    told = report or silent
    with locked(libraries / f".{core}.lock", f"the library for {core}", told):
        if final.is_file():  # another process compiled it while this one waited
            return final
        if report:
            report(f"compiling TensorFlow Lite Micro and CMSIS for {core}, once (a few minutes)")
        with scratch_folder(f".{core}-", libraries) as scratch:
            log = libraries / f"{core}.log"
            _run(
                _cmake(
                    FIRMWARE_DIR / "library", scratch / "build", [f"-DM3NET_CORE={core}"], folders
                ),
                log,
                f"configuring the library for {core}",
            )
            _run(["ninja", "-C", scratch / "build"], log, f"compiling the library for {core}")
            made = scratch / "made"
            made.mkdir()
            (scratch / "build" / _LIBRARY_FILE).rename(made / _LIBRARY_FILE)
            shutil.rmtree(final.parent, ignore_errors=True)
            made.rename(final.parent)
    return final


@writes_into("build_dir", makes=True)
def build_firmware(
    bundle_dir: Path,
    board: str,
    build_dir: Path,
    arena_bytes: int | None = None,
    *,
    app_dir: Path | None = None,
    settings: Sequence[str] = (),
    cache: Path | None = None,
    report: Log | None = None,
) -> FirmwareImage:
    """Build the firmware of one exported model for one board.

    Args:
        bundle_dir: folder that the export wrote (``model.h``, ``model.cc``, ...).
        board: a name of :func:`list_boards`.
        build_dir: folder for CMake's files; reused when it is from the same settings.
        arena_bytes: size of the tensor arena; the exporter's expectation by default.
        app_dir: folder with another application instead of ``firmware/app``.
        settings: choices, ``NAME=VALUE``, as ``board.cmake`` and ``cmake/eembc.cmake`` have them.
        cache: cache folder; :func:`m3net_tf.artifacts.cache_folder` by default.
        report: called with a line for each slow step.

    Raises:
        InUseError: another process builds in ``build_dir``.
        FirmwareError: unknown board or choice, missing tool, unreachable sources, or code that
            fails to compile or to fit.
    """
    core = board_core(board)
    for setting in settings:
        if not re.fullmatch(r"\w+=.*", setting):
            raise FirmwareError(f"{setting!r} is no choice: give NAME=VALUE")
    check_toolchain()
    library = build_library(core, cache, report)
    folders = fetch_sources(board_sources(board), cache=cache, report=report)
    build_dir = build_dir.resolve()
    generated = build_dir / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    write_pdm_filter(generated)
    chosen = build_dir / "settings.txt"
    # CMake keeps choices of before, and refuses a cache of another checkout or of a moved folder.
    fixed = "\n".join([str(FIRMWARE_DIR), str(build_dir), *settings])
    if not chosen.is_file() or chosen.read_text(encoding="utf-8") != fixed:
        (build_dir / "CMakeCache.txt").unlink(missing_ok=True)
        write_text(chosen, fixed)
    arguments = [
        f"-DBOARD={board}",
        f"-DM3NET_BUNDLE_DIR={bundle_dir.resolve()}",
        f"-DM3NET_LIBRARY={library}",
        f"-DM3NET_ARENA_BYTES={'' if arena_bytes is None else arena_bytes}",
        f"-DM3NET_APP_DIR={(app_dir or FIRMWARE_DIR / 'app').resolve()}",
        f"-DM3NET_GENERATED_DIR={generated}",
        *(f"-D{setting}" for setting in settings),
    ]
    _run(
        _cmake(FIRMWARE_DIR, build_dir, arguments, folders),
        build_dir / "configure.log",
        f"configuring the firmware for {board}",
    )
    _refuse_unused(settings, build_dir / "configure.log", board)
    _run(["ninja", "-C", build_dir], build_dir / "build.log", f"building the firmware for {board}")
    elf = build_dir / "m3net_firmware.elf"
    uf2 = elf.with_suffix(".uf2")
    uf2.unlink(missing_ok=True)
    for family in board_setting(board, "UF2_FAMILY"):
        image = read_hex(elf.with_suffix(".hex"))
        # Such a boot loader keeps what is below to itself, and would leave that part out.
        if min(image) >= int(board_setting(board, "UF2_FIRST_ADDRESS")[0], 0):
            write_bytes(uf2, uf2_blocks(image, int(family, 0)))
    return inspect_elf(elf, board)


def _refuse_unused(settings: Sequence[str], log: Path, board: str) -> None:
    """CMake only warns of a choice that nothing asks for, such as another board's."""
    text = log.read_text(encoding="utf-8", errors="replace")
    unused = text.partition("Manually-specified variables were not used by the project:")[2].split()
    for setting in settings:
        if (name := setting.partition("=")[0]) in unused:
            raise FirmwareError(
                f"{board} has no choice {name}: see {board_file(board)} for those that it has"
            )


def inspect_elf(elf: Path, board: str) -> FirmwareImage:
    """Read the section sizes of a linked firmware.

    Raises:
        FirmwareError: ``arm-none-eabi-size`` is missing or cannot read the file.
    """
    check_toolchain({"arm-none-eabi-size": TOOLS["arm-none-eabi-size"]})
    done = subprocess.run(
        ["arm-none-eabi-size", "-A", str(elf)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FirmwareError(f"{elf}: not a firmware ELF ({done.stderr.strip()}); build it again")
    rows = re.findall(r"^(\.[\w.]+)\s+(\d+)\s+(\d+)\s*$", done.stdout, flags=re.MULTILINE)
    loaded = (".text", ".data", ".stack", ".bss", ".noinit", ".dma")
    sections = {name: int(size) for name, size, _ in rows if name in loaded}
    return FirmwareImage(
        elf=elf,
        board=board,
        sections=sections,
        flash_bytes=sections.get(".text", 0) + sections.get(".data", 0),
        ram_bytes=sum(size for name, size in sections.items() if name != ".text"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m m3net_tf.firmware.build BUNDLE --board BOARD --build-dir DIR``."""
    parser = argparse.ArgumentParser(description="Build the firmware of an exported model.")
    parser.add_argument("bundle", type=Path, help="folder written by the export")
    parser.add_argument("--board", default="mps2_an386", help="one of: " + ", ".join(list_boards()))
    parser.add_argument("--build-dir", type=Path, default=Path("build/firmware"))
    parser.add_argument("--arena-bytes", type=int, default=None)
    parser.add_argument(
        "--define", action="append", default=[], help="a choice of the board, NAME=VALUE"
    )
    options = parser.parse_args(arguments)
    try:
        image = build_firmware(
            options.bundle,
            options.board,
            options.build_dir,
            options.arena_bytes,
            settings=options.define,
            report=print,
        )
    except M3NetError as error:
        parser.exit(2, f"error: {error}\n")
    from m3net_tf.firmware.summary import summary_lines

    for line in summary_lines(image):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
