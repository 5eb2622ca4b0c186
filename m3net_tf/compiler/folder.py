# SPDX-License-Identifier: Apache-2.0
"""A folder with all that a compiled network needs: its C and the engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypedDict

from m3net_tf.compiler.emit import CSource, emit
from m3net_tf.compiler.ends import end_notes
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.picture import draw_arena
from m3net_tf.compiler.plan import Improve
from m3net_tf.compiler.striping import TOGETHER
from m3net_tf.compiler.weights import WeightRule
from m3net_tf.system.artifacts import write_text

ENGINE = "engine"  # folder of the kernels beside the network
PICTURE = "arena.svg"  # the arena's blocks over the calls


class NetworkFacts(TypedDict):
    """Facts of a compiled network.

    Attributes:
        arena_bytes: size of the arena.
        lower_bound_bytes: no arena can be smaller.
        ratio: arena to lower bound.
        planner: what found the places in the arena; a solver with its version.
        constant_bytes: weights, biases and tables.
        calls: number of calls of kernels.
        sha256: hash of the ``.tflite`` file.
        saved: what each rewrite saved, where it saved anything.
        ends: a line for each input and output that is not int8 or int16 in the file.
    """

    arena_bytes: int
    lower_bound_bytes: int
    ratio: float
    planner: str
    constant_bytes: int
    calls: int
    sha256: str
    saved: dict[str, int]
    ends: list[str]


def write_network(
    tflite: bytes,
    folder: Path,
    name: str,
    improve: Improve | None = None,
    rule: WeightRule | None = None,
) -> NetworkFacts:
    """Compile a network and write its C, a picture of its memory, and a copy of the engine.

    Args:
        tflite: content of a full-int8 ``.tflite`` file.
        folder: created if it is missing.
        name: prefix of all names in C, and name of the files.
        improve: improves the plan of the memory, such as :func:`.solver.solve`.
        rule: which weights are stored as bytes.

    Raises:
        ModelError: the compiler does not support the network.
        ConfigError: the name is not a valid C identifier, or there is no source checkout.
    """
    network = compile_network(tflite, rule or WeightRule(), improve=improve)
    source = emit(network, name)
    engine = engine_folder()
    (folder / ENGINE).mkdir(parents=True, exist_ok=True)
    for path in sorted([*engine.glob("*.c"), *engine.glob("*.h")]):
        shutil.copyfile(path, folder / ENGINE / path.name)
    source.write(folder, name)
    write_text(folder / PICTURE, draw_arena(network.plan, name))
    return network_facts(network, source)


def network_facts(network: CompiledNetwork, source: CSource) -> NetworkFacts:
    """Facts of a network and its C."""
    return {
        "arena_bytes": network.plan.arena_bytes,
        "lower_bound_bytes": network.plan.lower_bound,
        "ratio": round(network.plan.ratio, 4),
        "planner": network.plan.planner,
        "constant_bytes": source.constant_bytes,
        "calls": len(network.calls),
        "sha256": network.graph.sha256,
        "saved": {
            what: number for what, number in network.saved.items() if number or what == TOGETHER
        },
        "ends": end_notes(network.graph),
    }


def report_lines(path: str, facts: NetworkFacts) -> list[str]:
    """Sizes of a network, and a line for each rewrite that saved something, for the terminal."""
    return [
        f"{path}: {facts['calls']} calls, arena {facts['arena_bytes']} bytes (lower bound "
        f"{facts['lower_bound_bytes']}, ratio {facts['ratio']:.3f}, {facts['planner']}), constants "
        f"{facts['constant_bytes']} bytes of flash",
        *(f"  {line}" for line in facts["ends"]),
        *(f"  {what}: {number}" for what, number in facts["saved"].items()),
    ]
