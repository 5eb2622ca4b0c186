# SPDX-License-Identifier: Apache-2.0
"""A folder with all that a compiled network needs: its C and the engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import write_text
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.picture import draw_arena

ENGINE = "engine"  # folder of the kernels beside the network
PICTURE = "arena.svg"  # what lies where in the arena, from call to call


def write_network(tflite: bytes, folder: Path, name: str) -> dict[str, Any]:
    """Compile a network and write its C, a picture of its memory, and a copy of the engine.

    Args:
        tflite: content of a full-int8 ``.tflite`` file.
        folder: is made if it is not there.
        name: start of all names of C, and the files' name.

    Returns:
        Facts of the network: ``arena_bytes``, ``lower_bound_bytes``, ``ratio``,
        ``constant_bytes``, ``calls``, ``sha256`` and ``saved`` by each rewrite.

    Raises:
        ModelError: the compiler cannot take the network.
        ConfigError: the name is no name of C, or there is no source checkout.
    """
    network = compile_network(tflite)
    source = emit(network, name)
    engine = engine_folder()
    (folder / ENGINE).mkdir(parents=True, exist_ok=True)
    for path in sorted([*engine.glob("*.c"), *engine.glob("*.h")]):
        shutil.copyfile(path, folder / ENGINE / path.name)
    source.write(folder, name)
    write_text(folder / PICTURE, draw_arena(network.plan, name))
    return {
        "arena_bytes": network.plan.arena_bytes,
        "lower_bound_bytes": network.plan.lower_bound,
        "ratio": round(network.plan.ratio, 4),
        "constant_bytes": source.constant_bytes,
        "calls": len(network.calls),
        "sha256": network.graph.sha256,
        "saved": {what: number for what, number in network.saved.items() if number},
    }
