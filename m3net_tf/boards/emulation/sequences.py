# SPDX-License-Identifier: Apache-2.0
"""Networks with a state of their own on emulated boards, where each run follows the one before."""

from pathlib import Path
from typing import NotRequired, TypedDict

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled, build_firmware
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.qemu import UartLog, job_image, run_image
from m3net_tf.boards.emulation.streaming import application
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.compiler.network import compile_network
from m3net_tf.export.c_files import CModel
from m3net_tf.runtime.interpreter import Int8

_BACKENDS: dict[Engine, str] = {COMPILED: "compiled.c", TFLM: "tflm.cc"}


class SequenceCost(TypedDict):
    """A network with a state of its own on a board.

    Attributes:
        instructions: instructions of the most expensive run.
        arena_bytes: memory of the network.
        state_bytes: the part of it that stays from run to run.
        bytes_equal: whether both engines give the same outputs in all runs.
    """

    runs: int
    instructions: int
    arena_bytes: int
    state_bytes: int
    tflm_instructions: NotRequired[int]
    tflm_arena_bytes: NotRequired[int]
    bytes_equal: NotRequired[bool]


def measure_sequence(
    bundle_dir: Path, model: CModel, board: str, folder: Path, inputs: Int8, *, tflm: bool
) -> SequenceCost:
    """Run a network with both engines on the inputs of one sequence.

    Args:
        inputs: int8, shape (runs, ...).

    Raises:
        ModelError: the compiler does not take the network.
        FirmwareError: the firmware does not build or run.
    """
    network = compile_network(model.tflite)
    ours = _run(bundle_dir, model, board, folder, COMPILED, inputs)
    cost: SequenceCost = {
        "runs": len(inputs),
        "instructions": _instructions(ours),
        "arena_bytes": network.plan.arena_bytes,
        "state_bytes": sum(block.size for block in network.state_blocks),
    }
    if tflm:
        theirs = _run(bundle_dir, model, board, folder, TFLM, inputs)
        cost["tflm_instructions"] = _instructions(theirs)
        cost["tflm_arena_bytes"] = theirs.memory["arena_used"]
        cost["bytes_equal"] = _outputs(ours) == _outputs(theirs)
    return cost


def _run(
    bundle_dir: Path, model: CModel, board: str, folder: Path, engine: Engine, inputs: Int8
) -> UartLog:
    own = FIRMWARE_DIR / "sequence"
    sources = (own / "main.c", own / "sequence.h", own / _BACKENDS[engine])
    app = application(folder / f"sequence-{engine}", *sources)
    build = folder / f"build-{engine}"
    if engine == COMPILED:
        elf = build_compiled(bundle_dir, model, board, build, app_dir=app).elf
    else:
        elf = build_firmware(bundle_dir, board, build, app_dir=app).elf
    return run_image(elf, find_machine(board), job_image(inputs))


def _instructions(log: UartLog) -> int:
    return max(clip.model_instructions or 0 for clip in log.clips)


def _outputs(log: UartLog) -> list[bytes]:
    return [clip.output for clip in log.clips]
