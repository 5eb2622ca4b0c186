# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on emulated boards, with noise as the recording."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.emulation.streaming import (
    Recording,
    StreamCost,
    measure_stream,
    record,
)
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.lab.bench.engine import network_of_file, untrained_preset
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent

HOPS = 2000
"""Hops whose output bytes are compared by default."""
SUBJECTS = ("streaming_ds_cnn/mlperf", "m3net/plain", "m3net/plain_stream", "ds_cnn/mcu")
"""Network and preset of the networks that are measured by default; they have random weights."""
_TIME_AXIS = 2  # of our networks
_STEADY_FRAMES = 8  # of one loudness


class StreamResult(Provenance):
    """Costs by board and network."""

    boards: dict[str, dict[str, StreamCost]]


def run_bench_stream(
    boards: Sequence[str],
    labels: Sequence[str] = (),
    hops: int = HOPS,
    log: Log = silent,
    *,
    axis: int | None = None,
    hop: int | None = None,
) -> StreamResult:
    """Measure streamed networks.

    Args:
        boards: emulated boards.
        labels: ``NETWORK/PRESET``, or paths of ``.tflite`` files; default: :data:`SUBJECTS`.
        hops: pushes whose output bytes are compared.
        log: receives lines of progress.
        axis: time axis of the files' inputs; by default the one that leaves the least work.
        hop: frames with each push; by default as few as the strides allow.

    Raises:
        ConfigError: a board cannot be emulated, or an unknown network.
        ModelError: a file is missing, or its network does not stream.
        FirmwareError: there is no such emulated board.
    """
    for board in boards:
        find_machine(board)
        if reason := why_no_emulation(board, COMPILED):
            raise ConfigError(f"{board} cannot be emulated ({reason}): name another")
    results: dict[str, dict[str, StreamCost]] = {board: {} for board in boards}
    with tempfile.TemporaryDirectory() as scratch:
        for label in labels or SUBJECTS:
            log(f"{label}: compiling")
            network, maps, classes = _network(label)
            time_axis = axis if label.endswith(".tflite") else _TIME_AXIS
            log(f"{label}: {hops} whole windows on this machine")
            recording = _record(network, time_axis, hop, hops)
            for board in boards:
                log(f"{label} on {board}: building and running")
                folder = Path(scratch) / board
                bundle = folder / "bundle"
                shutil.rmtree(bundle, ignore_errors=True)
                bundle.mkdir(parents=True)
                model, _ = write_untrained(network, maps, classes, bundle)
                results[board][label] = measure_stream(bundle, model, board, folder, recording)
    return {"boards": results, **provenance()}


def _network(label: str) -> tuple[Int8Network, Int8, int]:
    """A network, some of its inputs, and the number of its outputs."""
    if label.endswith(".tflite"):
        return network_of_file(Path(label))
    name, _, preset = label.partition("/")
    return untrained_preset(name, preset)


def _record(network: Int8Network, axis: int | None, hop: int | None, hops: int) -> Recording:
    """Noise whose loudness changes every few frames, up to the extreme values."""
    streamed = stream_network(network.tflite, axis, hop)
    push = streamed.push
    assert push is not None
    shape = list(streamed.graph.inputs[0].shape)
    frames = shape[push.axis] = (push.needed - 1 + hops) * push.hop
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(1, 200, -(-frames // _STEADY_FRAMES)), _STEADY_FRAMES)
    sizes = [-1 if place == push.axis else 1 for place in range(len(shape))]
    noise = rng.normal(0, 1, shape) * loudness[:frames].reshape(sizes)
    items = np.clip(np.round(noise), -128, 127).astype(np.int8)
    return record(network.tflite, push, items)


def stream_table(board: str, networks: dict[str, StreamCost]) -> Table:
    """The networks of a board for the terminal."""
    table = Table("network", title=f"{board}: the whole window, and a hop of it")
    for name in ("hop", "instructions", "of a hop", "ratio", "MACs", "arena", "of a stream"):
        table.add_column(name, justify="right")
    table.add_column("same bytes")
    for label, cost in networks.items():
        table.add_row(
            label,
            f"{cost['hop']} of {cost['window']}",
            f"{cost['window_instructions']:,}",
            f"{cost['hop_instructions']:,}",
            f"{cost['hop_instructions'] / cost['window_instructions']:.3f}",
            f"{cost['hop_macs'] / max(cost['window_macs'], 1):.3f}",
            f"{cost['window_arena_bytes']:,}",
            f"{cost['arena_bytes']:,}",
            f"{'yes' if cost['bytes_equal'] else 'NO'}, in {cost['hops']:,} hops",
        )
    return table
