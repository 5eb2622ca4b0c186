# SPDX-License-Identifier: Apache-2.0
"""The product's application with TFLite Micro, compiled for the host with sanitisers."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from pathlib import Path

from firmware_helpers import build_with_cmake, run_tool, skip_or_fail

from m3net_tf.boards.builds.library import schema_flags
from m3net_tf.boards.builds.sources import (
    FIRMWARE_DIR,
    Source,
    cmake_variable,
    fetch_source,
    lock_digest,
    read_lock,
    why_sources_unavailable,
)
from m3net_tf.boards.emulation.qemu import UartLog
from m3net_tf.system.artifacts import cache_folder

_SOURCES = ("tflite-micro", "flatbuffers", "gemmlowp", "ruy", "cmsis-dsp")
_LIBRARY = "libm3net_host_tflm.a"


def _sources() -> list[Source]:
    missing_tools = [
        name for name in ("cmake", "ninja", "gcc", "g++", "git") if not shutil.which(name)
    ]
    if missing_tools:
        skip_or_fail("missing: " + " ".join(missing_tools))
    sources = [source for source in read_lock() if source.name in _SOURCES]
    if reason := why_sources_unavailable(sources):
        skip_or_fail(reason)
    return sources


def _checkouts() -> list[str]:
    """CMake's settings for the folders of the sources."""
    return [f"-D{cmake_variable(pinned.name)}={fetch_source(pinned)}" for pinned in _sources()]


def host_library() -> Path:
    """TFLite Micro for the host: compiled once, into the cache (minutes)."""
    folders = _checkouts()
    digest = hashlib.sha256(lock_digest().encode())
    digest.update(run_tool("g++", "--version").partition(b"\n")[0])
    for name in ("host/tflm/CMakeLists.txt", "host/tflm/tflm.cmake", "cmake/tflm_sources.cmake"):
        digest.update((FIRMWARE_DIR / name).read_bytes())
    final = cache_folder() / "libraries" / f"host-{digest.hexdigest()[:16]}" / _LIBRARY
    final.parent.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent.parent / ".host.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be compiling it
        if final.is_file():
            return final
        with tempfile.TemporaryDirectory(dir=final.parent.parent, prefix=".host-") as scratch:
            source = FIRMWARE_DIR / "host" / "tflm"
            # Compiler flags for our own code (coverage) must not change the library in the cache.
            clean = ["env", "-u", "CFLAGS", "-u", "CXXFLAGS", "-u", "LDFLAGS"]
            run_tool(*clean, "cmake", "-G", "Ninja", "-S", source, "-B", scratch, *folders)
            run_tool(*clean, "ninja", "-C", scratch)
            final.parent.mkdir(exist_ok=True)
            (Path(scratch) / _LIBRARY).replace(final)
    return final


def build_app(bundle: Path, build: Path, arena_bytes: int | None = None) -> Path:
    """Compile the application of a bundle for the host; a second call compiles what changed."""
    settings = _checkouts()
    settings += [f"-DM3NET_BUNDLE_DIR={bundle}", f"-DM3NET_HOST_LIBRARY={host_library()}"]
    settings += [f"-DM3NET_ARENA_BYTES={arena_bytes or ''}"]
    (tflite_micro,) = (
        fetch_source(pinned) for pinned in _sources() if pinned.name == "tflite-micro"
    )
    settings += [f"-DCMAKE_CXX_FLAGS={schema_flags(tflite_micro, build / 'schema')}"]
    return build_with_cmake(build, settings, "m3net_app_host")


def run_app(program: Path, image: bytes = b"", commands: bytes = b"") -> UartLog:
    """The application's output for a job image and the commands after it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(image)
        file.flush()
        words = [program, file.name] if image else [program]
        said = run_tool(*words, data=commands)
    log = UartLog()
    log.feed(said)
    return log
