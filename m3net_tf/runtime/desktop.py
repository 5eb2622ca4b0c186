# SPDX-License-Identifier: Apache-2.0
"""The engines that run an int8 network on this machine, with the same output bytes."""

import contextlib
import functools
import math
import platform
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from m3net_tf.compiler.engines import COMPILED, TFLM
from m3net_tf.runtime.interpreter import (
    Int8,
    as_input,
    int8_scores,
    load_interpreter,
    run_raw,
    run_reference,
    run_tflm,
)
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError, one_line
from m3net_tf.system.native import native_stderr

Engine = Callable[[Int8], Int8]
"""Runs one network: int8 inputs, (clips, ...), to int8 scores, (clips, classes).

Several threads may call one at once, except the one that :func:`load_streamed` gives.
"""

LITERT = "litert"
#: TFLite's interpreter, TFLite Micro, or the network compiled to C (docs/design/engine.md).
ENGINES = (LITERT, TFLM, COMPILED)

_NAME = "network"
_BEFORE_COMPILING_S = 5.0  # of computing time: about as much as the C compiler takes at first
_TIME_AXIS = 2  # of (batch, bins, frames, channels)
# A compiler that the tests do not use may warn where theirs do not.
_IS_X86 = platform.machine() in ("x86_64", "AMD64")  # other compilers may not know the option
_COMPILER_OPTIONS = ("-O3", *(["-march=native"] if _IS_X86 else []), "-Wno-error")


def load_fastest(parts: Sequence[bytes]) -> tuple[list[Engine], str]:
    """Load networks into the compiled engine or, where that does not run, into ``litert``.

    Returns:
        The engines, and the reason why they are not compiled; '' if they are.

    Raises:
        ModelError: TFLite's interpreter cannot run a network either.
    """
    try:
        return [load_engine(part, COMPILED) for part in parts], ""
    # Small computers have neither a cache folder nor the FlatBuffer schema (ImportError); a cache
    # may be read-only (OSError).
    except (M3NetError, ImportError, OSError) as error:
        return [load_engine(part, LITERT) for part in parts], one_line(error)


def load_engine(tflite: bytes, engine: str, *, fast: bool = False) -> Engine:
    """Load a network into an engine.

    Args:
        engine: one of :data:`ENGINES`.
        fast: XNNPACK's kernels in TFLite's interpreter; their bytes differ from the device's.

    Raises:
        ConfigError: there is no such engine, ``fast`` with one other than ``litert``, or
            ``compiled`` without a source checkout.
        ModelError: the engine cannot run the network.
        FirmwareError: ``compiled`` without a C compiler.
        OSError: ``compiled`` with a cache that cannot be written.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if fast and engine != LITERT:
        raise ConfigError(f"the engine {engine} has no XNNPACK kernels: leave out --fast")
    if engine == COMPILED:
        return load_compiled(tflite)
    if engine == TFLM:
        return functools.partial(run_tflm, tflite)

    def load() -> Engine:
        with native_stderr():  # XNNPACK prints a message
            interpreter = load_interpreter(tflite, fast=fast)
        return lambda features: int8_scores(run_raw(interpreter, features))

    return _in_each_thread(load)


def _in_each_thread(load: Callable[[], Engine]) -> Engine:
    """An engine that each thread loads for itself: interpreters and arenas serve one at a time."""
    own = threading.local()
    own.run = load()

    def run(features: Int8) -> Int8:
        if not hasattr(own, "run"):
            own.run = load()
        scores: Int8 = own.run(features)
        return scores

    return run


def load_compiled(tflite: bytes) -> Engine:
    """Compile a network to C, and that with the system's compiler to a library, which is cached.

    Raises:
        ConfigError: there is no source checkout.
        ModelError: the compiler does not support an operator of the network.
        FirmwareError: there is no C compiler.
        OSError: the cache cannot be written.
    """
    # Only this engine needs the FlatBuffer schema, which tflite-runtime does not have.
    from m3net_tf.compiler.host import HostNetwork, kept_library
    from m3net_tf.compiler.network import compile_network

    try:
        network = compile_network(tflite)
    except ModelError as error:
        raise ModelError(
            f"the compiled engine does not support this network ({error}): use --engine litert"
        ) from None
    library = kept_library(network, _NAME, _COMPILER_OPTIONS)
    dtype = np.dtype(network.graph.inputs[0].dtype).type

    def load() -> Engine:
        host = HostNetwork(library, _NAME, network)

        def run(features: Int8) -> Int8:
            outputs = []
            for clip in features:
                host.reset()  # an LSTM's state must not affect the next clip
                outputs.append(host.run(as_input(clip, dtype))[0].reshape(-1))
            return int8_scores(np.stack(outputs))

        return run

    return _in_each_thread(load)


def load_streamed(tflite: bytes, hop: int) -> Engine:
    """Compile a network for windows of one recording, each of which moves on by ``hop`` frames.

    A window that continues the one before costs its new frames alone; any other is pushed from its
    first frame on. The bytes are the same as from :func:`load_compiled`.

    Args:
        tflite: int8 network of one input, (1, bins, frames, channels).
        hop: frames from a window to the next.

    Raises:
        ConfigError: there is no source checkout.
        ModelError: the compiler does not support the network, or nothing of it streams.
        FirmwareError: there is no C compiler.
        OSError: the cache cannot be written.
    """
    from m3net_tf.compiler.host import HostStream, kept_library
    from m3net_tf.compiler.streaming.network import stream_network

    network = stream_network(tflite, _TIME_AXIS, hop)
    host = HostStream(kept_library(network, _NAME, _COMPILER_OPTIONS), _NAME, network)
    dtype = np.dtype(network.graph.inputs[0].dtype).type
    latest: Int8 | None = None

    def run(features: Int8) -> Int8:
        nonlocal latest
        outputs = []
        for window in features:
            frames = window[:, -hop:]
            if latest is None or not np.array_equal(window[:, :-hop], latest[:, hop:]):
                host.reset()
                missing = -window.shape[1] % hop  # before the window: no output depends on them
                frames = np.pad(window, ((0, 0), (missing, 0), (0, 0)))
            latest = window
            for start in range(0, frames.shape[1], hop):
                pushed = host.push(as_input(frames[:, start : start + hop], dtype))
            assert pushed is not None  # a whole window has been pushed
            outputs.append(pushed[0].reshape(-1))
        return int8_scores(np.stack(outputs))

    return run


def load_adaptive(network: Int8Network, patience_s: float = _BEFORE_COMPILING_S) -> Engine:
    """TFLite's reference kernels, and the compiled network once these have run for a while.

    Short work does not wait for the C compiler, and hours of sound take a third of the time. The
    bytes are the same. Without a C compiler or a source checkout, or if the compiler does not
    support the network, the reference kernels stay.

    Args:
        patience_s: computing time of the reference kernels before the network is compiled.
    """
    compiled: dict[bytes, Engine] = {}
    left_s = patience_s

    def run_part(part: bytes, features: Int8) -> Int8:
        return compiled[part](features) if compiled else run_reference(part, features)

    def run(features: Int8) -> Int8:
        nonlocal left_s
        if left_s <= 0:
            left_s = math.inf  # one attempt
            with contextlib.suppress(M3NetError, OSError):
                compiled.update({part: load_compiled(part) for part in network.parts})
        start_s = time.process_time()
        scores = network.run(run_part, features)
        left_s -= time.process_time() - start_s
        return scores

    return run


def run_compiled(tflite: bytes, features: Int8) -> Int8:
    """Scores by the compiled engine; arguments as for :func:`.interpreter.run_reference`.

    Raises:
        M3NetError: as :func:`load_compiled`.
    """
    return load_compiled(tflite)(features)


def compiled_unavailable_reason() -> str:
    """Reason why compiled networks cannot run on this machine; '' if they can."""
    from m3net_tf.compiler.host import compiler_missing_reason

    return compiler_missing_reason()
