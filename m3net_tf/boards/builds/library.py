# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro and CMSIS as a library, compiled once per core, and TFLite's schema.

The library's key in the cache covers everything that can change its bytes: the lock file, the
core's flags, the CMake files and the compiler's version.

TFLite's schema comes without its object API, for builds that take half the time. Its generated
header also defines a C++ object for each table, with functions that convert to and from it.
TensorFlow Lite Micro calls none of them, but a compiler instantiates their templates in every file
that includes the header. Code from the shorter header is the same.
"""

import hashlib
import re
import shutil
from pathlib import Path

from m3net_tf.boards.builds.boards import load_architecture
from m3net_tf.boards.builds.cmake import cmake_command, run_step
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, fetch_sources, lock_digest
from m3net_tf.boards.builds.toolchain import check_toolchain, compiler_version
from m3net_tf.system.artifacts import cache_folder, update_text
from m3net_tf.system.locks import locked, scratch_folder
from m3net_tf.system.progress import Log, silent

_ARCHITECTURE = "cortex_m"
"""The one for which TensorFlow Lite Micro is built."""
_LIBRARY_FILE = "libm3net_thirdparty.a"
_SCHEMA = Path("tensorflow", "lite", "schema", "schema_generated.h")
#: First line of a definition that belongs to the object API; it ends with a brace in column 0.
_OBJECT_API = re.compile(
    r"struct \w+T : public ::flatbuffers::NativeTable"
    r"|struct \w+Union \{"
    r"|inline .*(\w+T::|\w+Union::|\bUnPack|\bPack\(|const \w+T \*_o)"
)


def library_key(core: str) -> str:
    """Hash of everything that the library's bytes for ``core`` depend on."""
    digest = hashlib.sha256()
    architecture = load_architecture(_ARCHITECTURE)
    digest.update(lock_digest().encode())
    digest.update(compiler_version(architecture).encode())
    for path in (
        *sorted((FIRMWARE_DIR / "library").iterdir()),
        FIRMWARE_DIR / "cmake" / "options.cmake",
        FIRMWARE_DIR / "cmake" / "tflm_sources.cmake",
        FIRMWARE_DIR / "cmake" / "cores" / f"{core}.cmake",
        architecture.toolchain_file,
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
    architecture = load_architecture(_ARCHITECTURE)
    check_toolchain(architecture)
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
            settings = [f"-DM3NET_CORE={core}"]
            source = FIRMWARE_DIR / "library"
            configure = cmake_command(architecture, source, build, settings, folders)
            run_step(configure, log, f"configuring the library for {core}")
            run_step(["ninja", "-C", build], log, f"compiling the library for {core}")
            finished = scratch / "finished"
            finished.mkdir()
            (build / _LIBRARY_FILE).rename(finished / _LIBRARY_FILE)
            shutil.rmtree(final.parent, ignore_errors=True)
            finished.rename(final.parent)
    return final


def without_object_api(header: str) -> str:
    """A header that ``flatc`` generated, without the definitions of its object API."""
    kept = ["#pragma GCC system_header\n"]  # not our code: no warnings
    dropping = False
    for line in header.splitlines(keepends=True):
        dropping = dropping or _OBJECT_API.match(line) is not None
        if not dropping:
            kept.append(line)
        ends = line.startswith("}") or (not line.startswith(" ") and line.rstrip().endswith("}"))
        dropping = dropping and not ends
    return "".join(kept)


def schema_flags(tflite_micro: Path, folder: Path) -> str:
    """Write the shorter schema below ``folder``; returns the flags that put it before the full one.

    Args:
        folder: a build's folder; a header there that is up to date stays untouched.
    """
    text = without_object_api((tflite_micro / _SCHEMA).read_text(encoding="utf-8"))
    path = folder / _SCHEMA
    path.parent.mkdir(parents=True, exist_ok=True)
    update_text(path, text)
    return f'-iquote "{folder}"'
