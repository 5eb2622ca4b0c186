# SPDX-License-Identifier: Apache-2.0
"""An export as a WebAssembly module: front end, compiled network and detector, for browsers.

``firmware/wasm/module.c`` says which functions the module has. It needs no imports. Its front end
computes in whole numbers, so features, scores and events are the same on every machine.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import engine_sources
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.system.artifacts import write_bytes
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import FirmwareError

_TOOLS = {"clang": "clang", "wasm-ld": "lld"}  # with the Debian packages that have them
_CORE = ("classifier", "crc32", "detector", "frontend", "level", "recognizer", "ring", "warp")
_DEFINITIONS = ("M3NET_ENGINE_COMPILED", "M3NET_FRONTEND_FIXED", "NDEBUG")
_OPTIONS = (
    *("--target=wasm32", "-std=c11", "-O2", "-ffreestanding", "-nostdlib", "-nostdinc"),
    "-mbulk-memory",  # memcpy and memset without a library
    *("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-Wl,--no-entry"),
    *("-Wl,--strip-all", "-Wl,-z,stack-size=16384"),
)
_TIMEOUT_S = 300.0


def missing_tools() -> dict[str, str]:
    """The missing programs that a module needs, with their Debian packages."""
    return {tool: package for tool, package in _TOOLS.items() if shutil.which(tool) is None}


def wasm_unavailable_reason() -> str:
    """Reason why modules cannot be built on this machine; '' if they can."""
    if missing := missing_tools():
        packages = " ".join(missing.values())
        return f"{' and '.join(missing)} not found: apt-get install {packages}"
    return ""


def build_module(networks: Mapping[str, CompiledNetwork], export: Path, module: Path) -> None:
    """Build the module of an export.

    Args:
        networks: the compiled networks of the export by their names in C: ``m3net_network``, and
            with DiffRes ``m3net_importance``.
        export: folder of the export, for the settings and tables of front end and detector.

    Raises:
        ConfigError: there is no source checkout.
        FirmwareError: a tool is missing, or the compiler refuses the sources.
    """
    firmware = require_sources("firmware")
    if reason := wasm_unavailable_reason():
        raise FirmwareError(reason)
    with tempfile.TemporaryDirectory(prefix="m3net-") as folder:
        generated = Path(folder)
        linked = Path(folder) / "module.wasm"
        for name, network in networks.items():
            emit(network, name).write(generated, name)
        sources = [
            firmware / "wasm" / "module.c",
            firmware / "compiled" / "inference.c",
            *(firmware / "core" / f"{name}.c" for name in _CORE),
            *engine_sources(),
            *(generated / f"{name}.c" for name in networks),
            export / "frontend_tables.c",
            *export.glob("warp_tables.c"),  # with DiffRes
        ]
        folders = [*(firmware / name for name in ("wasm", "core", "engine")), generated, export]
        headers = _run(["clang", "-print-resource-dir"]).strip() + "/include"  # stdint.h
        command = ["clang", *_OPTIONS, "-isystem", headers]
        streams = [network.stream for network in networks.values() if network.stream]
        hops = [f"M3NET_MODEL_PUSH_COLUMNS={each.push.hop}" for each in streams if each.push]
        definitions = [*_DEFINITIONS, *hops]  # as model.h of a firmware
        command += [f"-D{name}" for name in definitions] + [f"-I{folder}" for folder in folders]
        command += [*map(str, sources), "-o", str(linked)]
        _run(command)
        write_bytes(module, linked.read_bytes())


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise FirmwareError(f"clang cannot build the module: {done.stderr.strip()[:2000]}")
    return done.stdout
