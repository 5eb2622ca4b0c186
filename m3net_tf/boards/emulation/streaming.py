# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on emulated boards: what a hop costs beside the whole window.

Each push of a recording runs on the board. Its output bytes are compared with the whole window's
on this machine, computed by the compiled network and by TensorFlow Lite Micro.
"""

import dataclasses
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.cycles import Cycles, run_cycles
from m3net_tf.boards.emulation.qemu import UartLog, job_image, run_image
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.engines import COMPILED, TFLM
from m3net_tf.compiler.network import CompiledNetwork, Push, compile_network
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import CModel
from m3net_tf.export.pushes import TIME_AXIS
from m3net_tf.runtime.desktop import compiled_unavailable_reason, run_compiled
from m3net_tf.runtime.interpreter import (
    Int8,
    run_reference,
    run_tflm,
    tflm_unavailable_reason,
)
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.errors import FirmwareError, ModelError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted

_NAME = "m3net_stream"
_HOOK = "m3net_operation_done"  # as the whole network calls it
_Item = TypeVar("_Item", np.int8, np.int16)
_WINDOW = re.compile(r"m3net window out=([0-9a-f]+) model_instr=(\d+)")


class StreamCost(TypedDict):
    """A network on a board, whole and streamed.

    Attributes:
        hop: frames with each push.
        window: frames of the window.
        hop_instructions: instructions of the most expensive push.
        hop_macs: multiply-accumulates of a push.
        state_bytes: the part of it that stays from push to push.
        hops: pushes whose output bytes were compared.
        references: what computed the whole windows on this machine.
        window_modelled: modelled cycles of the whole window; only on request.
        hop_modelled: modelled cycles of a push; only on request.
    """

    hop: int
    window: int
    window_instructions: int
    hop_instructions: int
    window_macs: int
    hop_macs: int
    window_arena_bytes: int
    arena_bytes: int
    state_bytes: int
    hops: int
    bytes_equal: bool
    references: list[str]
    window_modelled: NotRequired[Cycles]
    hop_modelled: NotRequired[Cycles]


HOPS = 2000
"""Hops of an export, and runs of its live detection, that a certificate compares."""
_MOST_PRODUCTS = 6_000_000_000  # of the whole windows of a certificate, per engine
_PAYS = 0.8  # of the products of a whole window


@dataclasses.dataclass(frozen=True)
class Recording:
    """Frames that a network takes hop by hop, and the outputs of all whole windows.

    Attributes:
        push: how the network streams.
        pushes: int8, shape (pushes, *shape of the input with the frames of a hop).
        outputs: of the windows that end with a push, from the first whole one on, by what computed
            them on this machine: int8, shape (windows, outputs).
    """

    push: Push
    pushes: Int8
    outputs: dict[str, Int8]


def streamed_export(
    bundle: Bundle, board: str, folder: Path, features: Int8, log: Log = silent
) -> StreamCost | None:
    """What a hop of an export costs on a board, if streaming pays.

    Args:
        features: int8 of shape (clips, bins, frames, 1), which the network takes as
            :func:`in_turn` says.

    Returns:
        None for a network of which more than 0.8 of the products remain, of raw samples, of
        16-bit activations, or with DiffRes.

    Raises:
        FirmwareError: the firmware does not build or run.
    """
    push = _push_of(bundle)
    if push is None:
        return None
    count = (push.needed - 1 + compared_hops(push)) * push.hop
    clips = in_turn(features, -(-count // features.shape[TIME_AXIS]))
    frames = np.concatenate([*clips], axis=1)[None, :, :count]
    recording = record(bundle.tflite, push, frames)
    log(
        f"pushing {counted(len(recording.pushes), 'hop')} through the streamed network on the "
        f"{board}"
    )
    code = bundle.code(log) if bundle.manifest.engine == COMPILED else None
    return measure_stream(bundle.c_folder(log), bundle.c_model, board, folder, recording, code)


def compared_hops(push: Push) -> int:
    """Hops that a certificate compares: :data:`HOPS`, fewer of a network of many products."""
    return min(HOPS, max(_MOST_PRODUCTS // max(push.window_products, 1), 1))


def in_turn(clips: npt.NDArray[_Item], count: int) -> npt.NDArray[_Item]:
    """So many clips: one after the other, then again and again in other orders."""
    rng = np.random.default_rng(0)
    order = list(range(len(clips)))
    while len(order) < count:
        order += rng.permutation(len(clips)).tolist()
    return clips[order[:count]]


def _push_of(bundle: Bundle) -> Push | None:
    if bundle.network.importance or bundle.frontend.kind == "waveform":
        return None
    try:
        streamed = stream_network(bundle.tflite, TIME_AXIS, bundle.manifest.push_columns)
    except ModelError:
        return None
    push = streamed.push
    if push is None or streamed.graph.inputs[0].dtype != "int8":
        return None
    return push if push.products <= _PAYS * push.window_products else None


def record(tflite: bytes, push: Push, frames: Int8) -> Recording:
    """Compute what a network gives for each window of a recording.

    Args:
        tflite: int8 network of one input.
        frames: int8, of the shape of the input with any number of frames.

    Raises:
        ModelError: the recording is shorter than a window.
    """
    axis = push.axis
    hop = push.hop
    window = push.window
    count = frames.shape[axis] // hop
    if count < push.needed:
        raise ModelError(
            f"a recording of {frames.shape[axis]} frames has no window of {window}: give more"
        )
    pushes = np.stack([frames.take(range(i * hop, (i + 1) * hop), axis) for i in range(count)])
    ends = range(push.needed * hop, count * hop + 1, hop)
    windows = np.concatenate([frames.take(range(end - window, end), axis) for end in ends])
    return Recording(push, pushes, whole_windows(tflite, windows))


def whole_windows(tflite: bytes, windows: Int8) -> dict[str, Int8]:
    """Outputs by what runs on this machine: the compiled network and TensorFlow Lite Micro.

    TensorFlow Lite's reference kernels run where both are missing.

    Args:
        windows: shape (windows, *shape of its input).
    """
    outputs: dict[str, Int8] = {}
    if not compiled_unavailable_reason():
        outputs[COMPILED] = run_compiled(tflite, windows)
    if not tflm_unavailable_reason():
        outputs[TFLM] = run_tflm(tflite, windows)
    return outputs or {"litert": run_reference(tflite, windows)}


def measure_stream(
    bundle_dir: Path,
    model: CModel,
    board: str,
    folder: Path,
    recording: Recording,
    code: Mapping[str, str] | None = None,
    *,
    cycles: bool = False,
) -> StreamCost:
    """Push a recording through the streamed network on an emulated board.

    Args:
        code: the whole network's C, as :func:`.build_compiled` takes it.
        cycles: also model the cycles of a push and of the whole window.

    Raises:
        ModelError: the network does not stream.
        ConfigError: Unicorn is missing for the model of cycles.
        FirmwareError: the firmware does not build or run, or cycles are not modelled for the board.
    """
    push = recording.push
    streamed = stream_network(model.tflite, push.axis, push.hop)
    whole = compile_network(model.tflite)
    app = application(folder / "app", FIRMWARE_DIR / "stream" / "main.c")
    emit(streamed, _NAME, _HOOK).write(app, _NAME)
    tensor = whole.graph.inputs[0]
    outer = math.prod(tensor.shape[: push.axis])
    inner = math.prod(tensor.shape[push.axis + 1 :])
    facts = f"#define STREAM_OUTER {outer}\n#define STREAM_INNER {inner * tensor.item_bytes}\n"
    write_text(app / "stream_facts.h", facts)
    elf = build_compiled(bundle_dir, model, board, folder / "build", code, app_dir=app).elf
    log = run_image(elf, find_machine(board), job_image(recording.pushes))
    cost = _cost(streamed, whole, log, recording)
    if cycles:
        first = recording.pushes[: push.needed]  # up to the first whole window
        cost["hop_modelled"], output = run_cycles(elf, board, first, f"{_NAME}_push", len(first))
        cost["window_modelled"], _ = run_cycles(elf, board, first, "m3net_network_run")
        if output != recording.outputs[COMPILED][0].tobytes():
            raise FirmwareError(f"{elf}: Unicorn gives another output than this machine")
    return cost


def application(folder: Path, *sources: Path) -> Path:
    """A new folder with an application that reads its inputs from a job image."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in (*sources, *(FIRMWARE_DIR / "app").glob("job.*")):
        shutil.copyfile(source, folder / source.name)
    return folder


def _cost(
    streamed: CompiledNetwork, whole: CompiledNetwork, log: UartLog, recording: Recording
) -> StreamCost:
    """What the board has printed."""
    push = recording.push
    lines = [match for line in log.lines if (match := _WINDOW.fullmatch(line))]
    if len(lines) != 1 or len(log.clips) != len(recording.pushes):
        raise FirmwareError("the firmware's report is incomplete: build it from this checkout")
    full = [clip for clip in log.clips if clip.frames]
    ours = [clip.output for clip in full]
    references = recording.outputs.values()
    return {
        "hop": push.hop,
        "window": push.window,
        "window_instructions": int(lines[0].group(2)),
        "hop_instructions": max(clip.model_instructions or 0 for clip in full),
        "window_macs": push.window_products,
        "hop_macs": push.products,
        "window_arena_bytes": whole.plan.arena_bytes,
        "arena_bytes": streamed.plan.arena_bytes,
        "state_bytes": sum(block.size for block in streamed.state_blocks),
        "hops": len(ours),
        "bytes_equal": all(ours == [row.tobytes() for row in rows] for rows in references)
        and ours[-1].hex() == lines[0].group(1),
        "references": list(recording.outputs),
    }
