# SPDX-License-Identifier: Apache-2.0
"""The arena of an engine: exact for a compiled network, measured on this machine for TFLM."""

from __future__ import annotations

from m3net_tf.compiler.engines import COMPILED
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.export.carray import CModel
from m3net_tf.export.compiled import ARENA_SOURCE, arena_bytes, compile_model
from m3net_tf.export.manifest import Arena
from m3net_tf.runtime.interpreter import host_arena_bytes, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.progress import Log, silent

_UNPROVEN_ARENA_FACTOR = 10  # bytes of arena per byte of network, if not measurable


def tflm_arena(network: Int8Network, log: Log = silent) -> Arena:
    """Bytes of TensorFlow Lite Micro's arena, as measured on this machine or guessed."""
    if reason := tflm_unavailable_reason():
        log(reason)
        size = _UNPROVEN_ARENA_FACTOR * network.size_bytes
        return Arena(size, "guess; TFLM is missing")
    # On the device two networks share one arena: the sum is more than they need.
    size = sum(map(host_arena_bytes, network.parts))
    return Arena(size, "TFLite Micro on a 64-bit host")


def engine_arena(
    model: CModel, network: Int8Network, engine: str, log: Log = silent
) -> tuple[Arena, dict[str, CompiledNetwork]]:
    """The arena of an engine, and the compiled networks if it is the compiled one.

    Raises:
        ModelError: the compiler does not support an operator of the network.
    """
    if engine != COMPILED:
        return tflm_arena(network, log), {}
    networks = compile_model(model)
    return Arena(arena_bytes(networks), ARENA_SOURCE), networks
