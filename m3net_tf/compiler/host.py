# SPDX-License-Identifier: Apache-2.0
"""Compiled networks on this machine: the same C, built as a shared library."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.system.artifacts import cache_folder, sha256_of, write_bytes, write_text
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import FirmwareError, one_line
from m3net_tf.system.locks import scratch_folder

Items = npt.NDArray[np.int8] | npt.NDArray[np.int16]

#: Warnings that are errors in kernels and generated C.
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Werror")
_TIMEOUT_S = 300.0
_COMPILERS = ("gcc", "cc", "clang")


class _Host:
    """A network of a shared library, with its arena."""

    def __init__(self, library: ctypes.CDLL, name: str, network: CompiledNetwork) -> None:
        self._reset = getattr(library, f"{name}_reset")
        self._reset.argtypes, self._reset.restype = [ctypes.c_void_p], None
        self._network = network
        self.arena = np.zeros(network.plan.arena_bytes, np.int8)
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence: reset the states."""
        self._reset(self.arena.ctypes.data)

    def _outputs(self) -> list[Items]:
        results = []
        for view, tensor in zip(self._network.outputs, self._network.graph.outputs, strict=True):
            start = self._network.plan.places[view.block] + view.offset
            content = self.arena[start : start + tensor.size * tensor.item_bytes].copy()
            results.append(content.view(tensor.dtype).reshape(tensor.shape))
        return results


class HostNetwork(_Host):
    """A network that gets whole inputs."""

    def __init__(self, library: ctypes.CDLL, name: str, network: CompiledNetwork) -> None:
        self._run = getattr(library, f"{name}_run")
        self._run.argtypes, self._run.restype = [ctypes.c_void_p], None
        super().__init__(library, name, network)

    def run(self, *inputs: Items) -> list[Items]:
        """Outputs for inputs of the network's shapes and types."""
        plan, graph = self._network.plan, self._network.graph
        for view, tensor, values in zip(self._network.inputs, graph.inputs, inputs, strict=True):
            start = plan.places[view.block]
            content = np.frombuffer(np.ascontiguousarray(values, tensor.dtype), np.int8)
            self.arena[start : start + content.size] = content
        self._run(self.arena.ctypes.data)
        return self._outputs()


class HostStream(_Host):
    """A streamed network."""

    def __init__(self, library: ctypes.CDLL, name: str, network: CompiledNetwork) -> None:
        self._push = getattr(library, f"{name}_push")
        self._push.argtypes = [ctypes.c_void_p] * (1 + len(network.inputs))
        self._push.restype = ctypes.c_int32
        super().__init__(library, name, network)

    def push(self, *frames: Items) -> list[Items] | None:
        """Take the next lines of each input, of the input's shape with as many lines as the hop.

        Returns:
            The outputs of the window that ends there; None as long as no window is whole.
        """
        inputs = zip(frames, self._network.graph.inputs, strict=True)
        packed = [np.ascontiguousarray(values, tensor.dtype) for values, tensor in inputs]
        is_whole = self._push(self.arena.ctypes.data, *(each.ctypes.data for each in packed))
        return self._outputs() if is_whole else None


def build_host(
    networks: Mapping[str, CompiledNetwork], folder: Path, options: Sequence[str] = ()
) -> dict[str, HostNetwork]:
    """Build networks and the engine as one shared library and load it.

    Args:
        networks: networks by their names in C.
        folder: for sources and library.
        options: further options of the compiler.

    Raises:
        FirmwareError: there is no C compiler, or it refuses the sources.
        ConfigError: there is no source checkout with the engine.
    """
    loaded = _loaded(build_library(networks, folder, options))
    return {name: HostNetwork(loaded, name, network) for name, network in networks.items()}


def build_streams(
    networks: Mapping[str, CompiledNetwork], folder: Path, options: Sequence[str] = ()
) -> dict[str, HostStream]:
    """As :func:`build_host`, of streamed networks."""
    loaded = _loaded(build_library(networks, folder, options))
    return {name: HostStream(loaded, name, network) for name, network in networks.items()}


def kept_library(network: CompiledNetwork, name: str, options: Sequence[str] = ()) -> ctypes.CDLL:
    """The library of a network from the cache, where the first process with it builds it.

    It is kept for the network's C, the kernels, a compiler, its options and a processor.

    Raises:
        FirmwareError, ConfigError: as :func:`build_host`.
        OSError: the cache cannot be written.
    """
    source = emit(network, name)
    compiler = _required_compiler()
    flags = _flags(options)
    key = sha256_of("".join((_kernels_key(compiler, flags), source.header, source.source)).encode())
    library = cache_folder() / "networks" / f"{key}.so"
    if not library.is_file():
        with tempfile.TemporaryDirectory(prefix="m3net-") as folder:
            built = build_library({name: network}, Path(folder), options)
            write_bytes(library, built.read_bytes())
    return _loaded(library)


def build_library(
    networks: Mapping[str, CompiledNetwork], folder: Path, options: Sequence[str] = ()
) -> Path:
    """As :func:`build_host`, without loading it; returns its path."""
    compiler = _required_compiler()
    flags = _flags(options)
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in networks.items():
        emit(network, name).write(folder, name)
    # One source for all: a compiler starts far slower than it reads.
    source, library = folder / "networks_all.c", folder / "networks.so"
    write_text(source, "".join(f'#include "{name}.c"\n' for name in networks))
    kernels = _kernels(compiler, flags)
    _compile([compiler, *flags, "-shared", f"-I{folder}", source, kernels, "-o", library])
    return library


def _loaded(library: Path) -> ctypes.CDLL:
    """A shared library in this process.

    Raises:
        FirmwareError: the system refuses it, as on a disk that is mounted with ``noexec``.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise FirmwareError(
            f"{library} cannot be loaded ({one_line(error)}): delete it, or name another folder "
            "by M3NET_CACHE"
        ) from None


def _flags(options: Sequence[str]) -> tuple[str, ...]:
    return ("-std=c11", "-O1", "-fPIC", *WARNINGS, *options, f"-I{engine_folder()}")


def _kernels_key(compiler: str, flags: Sequence[str]) -> str:
    """Hash of the kernels' sources, a compiler, its flags and the processor."""
    target = [compiler, *flags, "-E", "-dM", "-x", "c", os.devnull]  # version and instruction sets
    macros = subprocess.run(target, capture_output=True, text=True, check=False)
    digest = hashlib.sha256(" ".join([compiler, macros.stdout, *flags]).encode())
    for path in sorted(engine_folder().glob("*.[ch]")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _kernels(compiler: str, flags: Sequence[str]) -> Path:
    """The kernels as one object file, which the cache keeps."""
    kernels = cache_folder() / "kernels" / f"{_kernels_key(compiler, flags)}.o"
    if not kernels.is_file():
        kernels.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(".kernels-", kernels.parent) as scratch:
            made = scratch / kernels.name
            _compile([compiler, *flags, "-r", *engine_sources(), "-o", made])
            made.replace(kernels)
    return kernels


def _compile(command: Sequence[str | Path]) -> None:
    """Run the C compiler.

    Raises:
        FirmwareError: it refuses a source, or takes too long.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise FirmwareError(
            f"the C compiler takes more than {_TIMEOUT_S:.0f} s: run fewer programs beside it"
        ) from None
    if done.returncode != 0:
        raise FirmwareError(f"the C compiler refuses the network: {done.stderr.strip()[:2000]}")


def engine_folder() -> Path:
    """Folder of the kernels.

    Raises:
        ConfigError: there is no source checkout.
    """
    return require_sources("firmware") / "engine"


def engine_sources() -> list[Path]:
    """The kernels' C files, sorted."""
    return sorted(engine_folder().glob("*.c"))


def compiler_missing_reason() -> str:
    """Reason why networks cannot be built for this machine; '' if they can."""
    if _compiler():
        return ""
    return f"no C compiler found ({', '.join(_COMPILERS)}): install one, e.g. apt-get install gcc"


def _required_compiler() -> str:
    compiler = _compiler()
    if compiler is None:
        raise FirmwareError(compiler_missing_reason())
    return compiler


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, _COMPILERS)), None)
