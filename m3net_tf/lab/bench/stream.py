# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on emulated boards, with noise as the recording.

A file whose network keeps a state of its own is not streamed: each run is a hop, and TensorFlow
Lite Micro runs it, too.
"""

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from rich.table import Table

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.emulation.sequences import SequenceCost, measure_sequence
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.emulation.streaming import (
    Recording,
    StreamCost,
    measure_stream,
    record,
)
from m3net_tf.compiler.engines import COMPILED, TFLM
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.export.c_files import CModel
from m3net_tf.lab.bench.engine import (
    bytes_row,
    check_cycles,
    figures_table,
    network_of_file,
    untrained_preset,
)
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import load_recipe

HOPS = 2000
"""Hops whose output bytes are compared by default."""
SUBJECTS: Mapping[str, str] = {
    "streaming_ds_cnn/mlperf": "streaming_ds_cnn",
    "m3net/plain": "m3net_plain",
    "m3net/plain_stream": "m3net_plain_stream",
    "ds_cnn/mcu": "ds_cnn",
}
"""Network and preset of the networks that are measured by default, which have random weights; the
recipe in ``experiments/mcu/`` whose front end is measured with each."""
_TIME_AXIS = 2  # of our networks
_STEADY_FRAMES = 8  # of one loudness
_LOUDNESS = 3000  # of the front end's noise


class AlwaysOn(TypedDict):
    """What a microphone that never stops costs with a network, which decides at each frame.

    Attributes:
        decisions_per_second: a hop of several frames needs as many states, pushed in turn.
        instructions: instructions of front end and network, for a second of sound.
    """

    decisions_per_second: float
    frontend_instructions: int
    instructions: int


class BoardStreams(TypedDict):
    """Costs on a board, by network.

    Attributes:
        streams: costs of the whole window and of a hop.
        always_on: costs of the networks in :data:`SUBJECTS`, with the front ends of their recipes.
        sequences: costs of the networks with a state of their own.
    """

    streams: dict[str, StreamCost]
    always_on: dict[str, AlwaysOn]
    sequences: dict[str, SequenceCost]


class StreamResult(Provenance):
    """Costs by board."""

    boards: dict[str, BoardStreams]


def run_bench_stream(
    boards: Sequence[str],
    labels: Sequence[str] = (),
    hops: int = HOPS,
    log: Log = silent,
    *,
    axis: int | None = None,
    hop: int | None = None,
    cycles: bool = False,
) -> StreamResult:
    """Measure streamed networks.

    Args:
        labels: ``NETWORK/PRESET``, or paths of ``.tflite`` files; default: :data:`SUBJECTS`.
        hops: pushes whose output bytes are compared.
        axis: time axis of the files' inputs; by default the one that leaves the least work.
        hop: frames with each push; by default as few as the strides allow.
        cycles: also model the cycles of a hop and of the whole window.

    Raises:
        ConfigError: a board cannot be emulated, an unknown network, or cycles cannot be modelled.
        ModelError: a file is missing, or its network does not stream.
        FirmwareError: there is no such emulated board.
    """
    for board in boards:
        find_machine(board)
        if reason := why_no_emulation(board, COMPILED):
            raise ConfigError(f"{board} cannot be emulated ({reason}): name another")
    if cycles:
        check_cycles(boards)
    results: dict[str, BoardStreams] = {
        board: {"streams": {}, "always_on": {}, "sequences": {}} for board in boards
    }
    with tempfile.TemporaryDirectory() as scratch:
        for label in labels or SUBJECTS:
            log(f"{label}: compiling")
            network, maps, classes = _network(label)
            recording = None
            if not compile_network(network.tflite).states:
                log(f"{label}: {hops} whole windows on this machine")
                time_axis = axis if label.endswith(".tflite") else _TIME_AXIS
                recording = _record(network, time_axis, hop, hops)
            for board, costs in results.items():
                log(f"{label} on {board}: building and running")
                folder = Path(scratch) / board
                bundle = folder / "bundle"
                shutil.rmtree(bundle, ignore_errors=True)
                bundle.mkdir(parents=True)
                frontend = _frontend(label)
                model, _ = write_untrained(network, maps, classes, bundle, frontend)
                place = (bundle, model, board, folder)
                if recording is None:
                    inputs = _noise((hops, *maps.shape[1:]))
                    tflm = not why_no_emulation(board, TFLM)
                    costs["sequences"][label] = measure_sequence(*place, inputs, tflm=tflm)
                    continue
                cost = costs["streams"][label] = measure_stream(*place, recording, cycles=cycles)
                if frontend:
                    costs["always_on"][label] = _always_on(*place, frontend, cost)
    return {"boards": results, **provenance()}


def _noise(shape: Sequence[int]) -> Int8:
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def _frontend(label: str) -> FrontendConfig | None:
    """The front end of a network's recipe; None for other networks and files."""
    if label not in SUBJECTS:
        return None
    folder = require_sources("experiments") / "mcu"
    return load_recipe(folder / f"{SUBJECTS[label]}_speech_commands.yaml").frontend


def _always_on(
    bundle: Path,
    model: CModel,
    board: str,
    folder: Path,
    frontend: FrontendConfig,
    cost: StreamCost,
) -> AlwaysOn:
    """The cost with the front end, which the ordinary firmware runs on a window of noise."""
    image = build_compiled(bundle, model, board, folder / "sound")
    samples = frontend.sample_count(model.input_bytes // frontend.feature_bins)
    noise = np.random.default_rng(0).normal(0, _LOUDNESS, (1, samples)).astype(np.int16)
    per_frame = run_job(image.elf, find_machine(board), noise).frontend_instructions_per_frame
    frames = frontend.sample_rate_hz / frontend.hop_samples
    return {
        "decisions_per_second": frames,
        "frontend_instructions": per_frame,
        "instructions": math.ceil(frames * (per_frame + cost["hop_instructions"])),
    }


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


def stream_table(title: str, cost: StreamCost, always_on: AlwaysOn | None) -> Table:
    """A streamed network on a board for the terminal."""
    table = figures_table(title, "whole window", "a hop", "ratio")
    pairs = {
        "frames": (cost["window"], cost["hop"]),
        "instructions": (cost["window_instructions"], cost["hop_instructions"]),
        "MACs": (cost["window_macs"], cost["hop_macs"]),
        "arena": (cost["window_arena_bytes"], cost["arena_bytes"]),
    }
    if "hop_modelled" in cost:
        whole, part = cost["window_modelled"]["cycles"], cost["hop_modelled"]["cycles"]
        pairs |= {f"cycles, {setting}": (whole[setting], part[setting]) for setting in whole}
    for name, (window, hop) in pairs.items():
        table.add_row(name, f"{window:,}", f"{hop:,}", f"{hop / max(window, 1):.3f}")
    if always_on:
        table.add_row("front end, a frame", "", f"{always_on['frontend_instructions']:,}")
        table.add_row("all instructions, a second", "", f"{always_on['instructions']:,}")
    table.add_row(*bytes_row(cost["bytes_equal"], f"{cost['hops']:,} hops"))
    return table


def sequence_table(title: str, cost: SequenceCost) -> Table:
    """A network that keeps a state of its own on a board, for the terminal."""
    table = figures_table(title, "compiled", "TFLite Micro", "ratio")
    pairs = {
        "instructions": (cost["instructions"], cost.get("tflm_instructions")),
        "arena": (cost["arena_bytes"], cost.get("tflm_arena_bytes")),
    }
    for name, (ours, theirs) in pairs.items():
        others = (f"{theirs:,}", f"{ours / theirs:.3f}") if theirs else ()
        table.add_row(name, f"{ours:,}", *others)
    table.add_row("state in the arena", f"{cost['state_bytes']:,}")
    if "bytes_equal" in cost:
        table.add_row(*bytes_row(cost["bytes_equal"], f"{cost['runs']:,} runs"))
    return table
