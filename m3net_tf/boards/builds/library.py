# SPDX-License-Identifier: Apache-2.0
"""The third-party library: compiled once per core, kept in the cache.

Its key in the cache covers everything that can change its bytes: the lock file, the core's flags,
the CMake files and the compiler's version.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from m3net_tf.boards.builds.sources import FIRMWARE_DIR, fetch_sources, lock_digest
from m3net_tf.boards.builds.toolchain import (
    TOOLCHAIN_FILE,
    check_toolchain,
    cmake_command,
    compiler_version,
    run_step,
)
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.locks import locked, scratch_folder
from m3net_tf.system.progress import Log, silent

_LIBRARY_FILE = "libm3net_thirdparty.a"


def library_key(core: str) -> str:
    """Hash of everything that the library's bytes for ``core`` depend on."""
    digest = hashlib.sha256()
    digest.update(lock_digest().encode())
    digest.update(compiler_version().encode())
    for path in (
        *sorted((FIRMWARE_DIR / "library").iterdir()),
        FIRMWARE_DIR / "cmake" / "options.cmake",
        FIRMWARE_DIR / "cmake" / "tflm_sources.cmake",
        FIRMWARE_DIR / "cmake" / "cores" / f"{core}.cmake",
        TOOLCHAIN_FILE,
    ):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def library_path(core: str, cache: Path | None = None) -> Path:
    """Path of the compiled library for ``core`` in the cache, whether or not it exists."""
    return (cache or cache_folder()) / "libraries" / f"{core}-{library_key(core)}" / _LIBRARY_FILE


def build_library(core: str, cache: Path | None = None, report: Log | None = None) -> Path:
    """Compile the third-party library for ``core`` unless the cache has it; return its path.

    Raises:
        FirmwareError: a tool is missing, or the sources cannot be fetched or do not compile.
    """
    check_toolchain()
    final = library_path(core, cache)
    if final.is_file():
        return final
    folders = fetch_sources(cache=cache, report=report)
    libraries = final.parent.parent
    libraries.mkdir(parents=True, exist_ok=True)
    with locked(libraries / f".{core}.lock", f"the library for {core}", report or silent):
        if final.is_file():  # another process compiled it while this one waited
            return final
        if report:
            report(f"compiling TensorFlow Lite Micro and CMSIS for {core}, once (a few minutes)")
        with scratch_folder(f".{core}-", libraries) as scratch:
            log = libraries / f"{core}.log"
            build = scratch / "build"
            configure = cmake_command(
                FIRMWARE_DIR / "library", build, [f"-DM3NET_CORE={core}"], folders
            )
            run_step(configure, log, f"configuring the library for {core}")
            run_step(["ninja", "-C", build], log, f"compiling the library for {core}")
            finished = scratch / "finished"
            finished.mkdir()
            (build / _LIBRARY_FILE).rename(finished / _LIBRARY_FILE)
            shutil.rmtree(final.parent, ignore_errors=True)
            finished.rename(final.parent)
    return final
