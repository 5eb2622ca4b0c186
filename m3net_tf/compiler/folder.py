# SPDX-License-Identifier: Apache-2.0
"""A folder with all that a compiled network needs: its C and the engine."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from m3net_tf.compiler.emit import CSource, emit
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import CompiledNetwork, Push
from m3net_tf.compiler.passes import REMOVED
from m3net_tf.compiler.picture import draw_arena
from m3net_tf.compiler.striping import TOGETHER
from m3net_tf.compiler.winograd import USED, WinogradLayer, winograd_layers
from m3net_tf.system.artifacts import naming, write_text
from m3net_tf.system.words import counted
from m3net_tf.tflite.ends import end_notes

ENGINE = "engine"  # folder of the kernels beside the network
_LITTLE = 0.9  # of a window's products: with more than these left, a stream saves little
PICTURE = "arena.svg"  # the arena's blocks over the calls


class NetworkFacts(TypedDict):
    """Facts of a compiled network.

    Attributes:
        lower_bound_bytes: no arena can be smaller.
        ratio: arena to lower bound.
        planner: what found the places in the arena; a solver with its version.
        constant_bytes: weights, biases and tables.
        calls: number of calls of kernels.
        sha256: hash of the ``.tflite`` file.
        saved: what each rewrite saved, where it saved anything.
        removed: for each layer that lost output channels, how many of them and why.
        winograd: each layer that has the form of :mod:`.winograd`, and its cost of flash.
        ends: a line for each input and output that is not int8 or int16 in the file.
        state_bytes: of a network that continues from run to run, what stays in the arena.
        push: how a streamed network streams.
        stream: the arena and the pushes of the same network streamed, where its C has both.
    """

    arena_bytes: int
    lower_bound_bytes: int
    ratio: float
    planner: str
    constant_bytes: int
    calls: int
    sha256: str
    saved: dict[str, int]
    removed: NotRequired[list[dict[str, str | int]]]
    winograd: NotRequired[list[WinogradLayer]]
    ends: list[str]
    state_bytes: NotRequired[int]
    push: NotRequired[PushFacts]
    stream: NotRequired[StreamFacts]


class StreamFacts(TypedDict):
    """Size of the arena of a streamed network, and how the network streams."""

    arena_bytes: int
    push: PushFacts


class PushFacts(TypedDict):
    """How a network streams.

    Attributes:
        axis: streamed dimension of its inputs.
        hop: lines with each push.
        window: lines of a window.
        products: multiply-accumulate operations of a push.
        window_products: products of a whole window.
        state_bytes: the part of the arena that stays from push to push.
        layers: what became of each operator.
        axes: the share of the products that each axis leaves, where the compiler chose one.
    """

    axis: int
    hop: int
    window: int
    products: int
    window_products: int
    state_bytes: int
    layers: list[dict[str, str | int]]
    axes: NotRequired[dict[int, float]]


def write_network(network: CompiledNetwork, folder: Path, name: str) -> NetworkFacts:
    """Write the C of a network, a picture of its memory, and a copy of the engine.

    ``name`` is the prefix of all names in C, and the name of the files. A missing folder is made.

    Raises:
        ConfigError: the name does not fit (:func:`.names.require_name`), or there is no source
            checkout.
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
    removed: list[dict[str, str | int]] = [
        {"name": op.name, **dataclasses.asdict(op.removed)}
        for op in network.graph.operations
        if op.removed
    ]
    if removed:
        facts["removed"] = removed
    if layers := winograd_layers(network.calls):
        facts["winograd"] = layers
    if network.push is not None:
        facts["push"] = _push_facts(network, network.push)
    elif network.states:
        facts["state_bytes"] = _state_bytes(network)
    if (stream := network.stream) and stream.push:
        push = _push_facts(stream, stream.push)
        facts["stream"] = {"arena_bytes": stream.plan.arena_bytes, "push": push}
    return facts


def _state_bytes(network: CompiledNetwork) -> int:
    return sum(block.size for block in network.state_blocks)


def _push_facts(network: CompiledNetwork, push: Push) -> PushFacts:
    facts: PushFacts = {
        "axis": push.axis,
        "hop": push.hop,
        "window": push.window,
        "products": push.products,
        "window_products": push.window_products,
        "state_bytes": _state_bytes(network),
        "layers": [dataclasses.asdict(layer) for layer in push.layers],
    }
    if len(push.shares) > 1:
        facts["axes"] = {axis: round(share, 4) for axis, share in push.shares.items()}
    return facts


def report_lines(folder: Path, name: str, facts: NetworkFacts) -> list[str]:
    """Sizes of a network, and a line for each rewrite that saved something, for the terminal.

    A stream that saves little is the last line.
    """
    pushes = [facts["push"]] if "push" in facts else []
    pushes += [facts["stream"]["push"]] if "stream" in facts else []
    return [
        f"{folder}/{name}.c: {counted(facts['calls'], 'call')}, arena {facts['arena_bytes']} "
        "bytes (lower "
        f"bound {facts['lower_bound_bytes']}, ratio {facts['ratio']:.3f}, {facts['planner']}), "
        f"constants {facts['constant_bytes']} bytes of flash",
        *(f"  {line}" for line in facts["ends"]),
        *_saved_lines(facts),
        *([_state_line(name, facts["state_bytes"])] if "state_bytes" in facts else ()),
        *(_push_lines(facts["push"]) if "push" in facts else ()),
        *([_stream_line(facts["stream"])] if "stream" in facts else ()),
        *(
            f"WARNING: {_share(push):.3f} of the MACs remain with each push along axis "
            f"{push['axis']}: this stream saves little (docs/design/streaming.md)"
            for push in pushes
            if _share(push) > _LITTLE
        ),
    ]


def _saved_lines(facts: NetworkFacts) -> Iterator[str]:
    """What each rewrite saved, and a line for each layer that lost channels."""
    for what, number in facts["saved"].items():
        yield f"  {what}: {number}"
        if what == REMOVED:
            for layer in facts.get("removed", ()):
                yield (
                    f"    {layer['name']}: {layer['constant']} constant and {layer['unread']} "
                    f"unread of {layer['channels']}"
                )
        if what == USED:
            for wide in facts.get("winograd", ()):
                yield f"    {wide['name']}: {wide['added_bytes']} bytes of flash more with DSP"


def _state_line(name: str, size: int) -> str:
    return (
        f"  the network keeps {size} bytes of state in the arena: each {name}_run continues the "
        f"sequence of the run before; call {name}_reset before the first run and where a new "
        "sequence begins"
    )


def _stream_line(stream: StreamFacts) -> str:
    return f"{_push_line(stream['push'])}, arena {stream['arena_bytes']} bytes"


def _share(push: PushFacts) -> float:
    """Of a window's products, the part that a push needs."""
    return push["products"] / max(push["window_products"], 1)


def _push_line(push: PushFacts) -> str:
    return (
        f"  streams along axis {push['axis']}, {push['hop']} of {push['window']} lines with each "
        f"push: {push['products']} of {push['window_products']} MACs ({_share(push):.3f}), state "
        f"{push['state_bytes']} bytes"
    )


def _push_lines(push: PushFacts) -> Iterator[str]:
    """How a network streams: a line for each axis that does, and for each layer."""
    yield _push_line(push)
    for axis, share in push.get("axes", {}).items():
        yield f"    along axis {axis} {share:.3f} of the MACs remain"
    for layer in push["layers"]:
        lines = f", {layer['lines']} of {layer['window_lines']} lines" if layer["lines"] else ""
        kept = f", {layer['kept_bytes']} bytes stay" if layer["kept_bytes"] else ""
        yield f"    {layer['name']}: {layer['state']}{lines}{kept}"
