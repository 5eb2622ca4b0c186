# SPDX-License-Identifier: Apache-2.0
"""A folder with all that a compiled network needs: its C and the engine."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3net_tf.compiler.emit import CSource, emit
from m3net_tf.compiler.ends import end_notes
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import CompiledNetwork, Push
from m3net_tf.compiler.picture import draw_arena
from m3net_tf.compiler.striping import TOGETHER
from m3net_tf.system.artifacts import naming, write_text

ENGINE = "engine"  # folder of the kernels beside the network
PICTURE = "arena.svg"  # the arena's blocks over the calls


NetworkFacts = dict[str, Any]
"""Facts of a compiled network, for JSON.

``planner`` found the places in the arena, no arena can be smaller than ``lower_bound_bytes``,
``ends`` has a line for each input and output that is not int8 or int16 in the file, and ``saved``
what each rewrite saved. ``push`` says how a streamed network streams: the ``axis`` of its inputs,
lines with each push (``hop``) and of a ``window``, multiply-accumulates of both, the bytes of the
arena that stay, and what became of each operator; ``stream``: the same where the C has both.
"""


def write_network(network: CompiledNetwork, folder: Path, name: str) -> NetworkFacts:
    """Write the C of a network, a picture of its memory, and a copy of the engine.

    Args:
        network: see :func:`.network.compile_network` and :func:`.streaming.network.stream_network`.
        folder: created if it is missing.
        name: prefix of all names in C, and name of the files.

    Raises:
        ConfigError: the name is not a valid C identifier, or there is no source checkout.
    """
    source = emit(network, name)
    engine = engine_folder()
    (folder / ENGINE).mkdir(parents=True, exist_ok=True)
    for path in sorted([*engine.glob("*.c"), *engine.glob("*.h")]):
        copy = folder / ENGINE / path.name
        with naming(copy):
            shutil.copyfile(path, copy)
    source.write(folder, name)
    write_text(folder / PICTURE, draw_arena(network.plan, name, network.state_blocks))
    return network_facts(network, source)


def network_facts(network: CompiledNetwork, source: CSource) -> NetworkFacts:
    """Facts of a network and its C."""
    facts: NetworkFacts = {
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
    if network.push is not None:
        facts["push"] = _push_facts(network, network.push)
    if (stream := network.stream) and stream.push:
        push = _push_facts(stream, stream.push)
        facts["stream"] = {"arena_bytes": stream.plan.arena_bytes, "push": push}
    return facts


def _push_facts(network: CompiledNetwork, push: Push) -> dict[str, Any]:
    return {
        "axis": push.axis,
        "hop": push.hop,
        "window": push.window,
        "products": push.products,
        "window_products": push.window_products,
        "state_bytes": sum(block.size for block in network.state_blocks),
        "layers": [dataclasses.asdict(layer) for layer in push.layers],
    }


def report_lines(path: str, facts: NetworkFacts) -> list[str]:
    """Sizes of a network, and a line for each rewrite that saved something, for the terminal."""
    return [
        f"{path}: {facts['calls']} calls, arena {facts['arena_bytes']} bytes (lower bound "
        f"{facts['lower_bound_bytes']}, ratio {facts['ratio']:.3f}, {facts['planner']}), constants "
        f"{facts['constant_bytes']} bytes of flash",
        *(f"  {line}" for line in facts["ends"]),
        *(f"  {what}: {number}" for what, number in facts["saved"].items()),
        *(_push_lines(facts["push"]) if "push" in facts else ()),
        *([_stream_line(facts["stream"])] if "stream" in facts else ()),
    ]


def _stream_line(stream: dict[str, Any]) -> str:
    return f"{_push_line(stream['push'])}, arena {stream['arena_bytes']} bytes"


def _push_line(push: dict[str, Any]) -> str:
    share = push["products"] / max(push["window_products"], 1)
    return (
        f"  streams along axis {push['axis']}, {push['hop']} of {push['window']} lines with each "
        f"push: {push['products']} of {push['window_products']} MACs ({share:.3f}), state "
        f"{push['state_bytes']} bytes"
    )


def _push_lines(push: dict[str, Any]) -> Iterator[str]:
    """How a network streams: a line for each layer."""
    yield _push_line(push)
    for layer in push["layers"]:
        lines = f", {layer['lines']} of {layer['window_lines']} lines" if layer["lines"] else ""
        kept = f", {layer['kept_bytes']} bytes stay" if layer["kept_bytes"] else ""
        yield f"    {layer['name']}: {layer['state']}{lines}{kept}"
