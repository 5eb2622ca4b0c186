# SPDX-License-Identifier: Apache-2.0
"""What a body costs on an emulated board, a second of sound: windows follow each other."""

import tempfile
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.emulation.cycles import run_cycles
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.lab.bench.engine import check_cycles, flash_by_object, flash_of_engine
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.runtime.metadata import Metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log
from m3net_tf.tflite.read import read_graph

_LOUDNESS = 3000  # of the noise that runs through front end and network


class BodyCost(TypedDict):
    """A body without a classifier on a board; one adds a product for each channel and class.

    Attributes:
        window_s: seconds of a window.
        instructions_per_second: of the network, for a second of sound.
        frontend_instructions_per_second: of the front end, likewise.
        cycles_per_second: modelled cycles of the network, likewise, by name of the flash setting;
            absent with ``no_cycles``, the reason why cycles are not modelled.
        flash_bytes: code of the network's operators, weights and tables.
        network_flash_bytes: weights and tables alone.
    """

    board: str
    window_s: float
    instructions_per_second: int
    frontend_instructions_per_second: int
    arena_bytes: int
    flash_bytes: int
    network_flash_bytes: int
    cycles_per_second: NotRequired[dict[str, int]]
    no_cycles: NotRequired[str]


def body_cost(tflite: bytes, metadata: Metadata, board: str, log: Log) -> BodyCost:
    """Build the firmware, and run a window of noise.

    Args:
        tflite: the int8 network from features to embedding.
        metadata: of the whole network.

    Raises:
        ConfigError: the board cannot be emulated here.
        FirmwareError: there is no such emulated board, or the firmware fails.
    """
    if reason := why_no_emulation(board, COMPILED):
        raise ConfigError(reason)
    config = metadata.frontend
    samples = config.sample_count(metadata.frames)
    noise = np.random.default_rng(0).normal(0, _LOUDNESS, (1, samples)).astype(np.int16)
    graph = read_graph(tflite)
    maps = np.random.default_rng(0).integers(-128, 128, graph.inputs[0].shape).astype(np.int8)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        bundle.mkdir()
        log(f"{metadata.name} on {board}: building and running")
        channels = graph.outputs[0].size
        model, columns = write_untrained(Int8Network(tflite), maps, channels, bundle, config)
        image = build_compiled(bundle, model, board, Path(scratch) / "build")
        result = run_job(image.elf, find_machine(board), noise)
        linker_map = image.elf.with_suffix(".map").read_text(encoding="utf-8", errors="replace")
        sizes = flash_by_object(linker_map)
        a_second = config.sample_rate_hz / metadata.window_samples
        cost: BodyCost = {
            "board": board,
            "window_s": 1 / a_second,
            "instructions_per_second": round(result.model_instructions * a_second),
            "frontend_instructions_per_second": round(
                result.frontend_instructions_per_frame * config.sample_rate_hz / config.hop_samples
            ),
            "arena_bytes": result.arena_used_bytes,
            "flash_bytes": flash_of_engine({COMPILED: sizes}, COMPILED),
            "network_flash_bytes": sum(
                size for path, size in sizes.items() if path.endswith("m3net_network.c.obj")
            ),
        }
        try:
            check_cycles([board])
        except ConfigError as error:
            cost["no_cycles"] = str(error)
            return cost
        log(f"{metadata.name} on {board}: modelling cycles")
        cycles, _ = run_cycles(image.elf, board, columns[:1])
    cost["cycles_per_second"] = {
        name: round(count * a_second) for name, count in cycles["cycles"].items()
    }
    return cost
