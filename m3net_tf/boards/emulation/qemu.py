# SPDX-License-Identifier: Apache-2.0
"""Run a firmware on an emulated board and collect its results for each clip."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3net_tf.boards.emulation import job
from m3net_tf.boards.emulation.machines import Machine
from m3net_tf.boards.emulation.uart import ClipLine, UartLog
from m3net_tf.system.artifacts import naming
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.processes import with_parent
from m3net_tf.system.progress import Log, Task, silent, track

SCRATCH = "m3net-emulation-"
"""Prefix of the temporary folders of emulations."""
_POLL_S = 0.02


@dataclass(frozen=True)
class EmulationResult:
    """Results from an emulated board.

    Attributes:
        labels: (n,) int64, index of the best class of each clip, as the firmware chose it.
        outputs: (n, classes) int8, the model's output bytes.
        features: (n, bins, frames) int8 as the model received them; None unless requested.
        frontend_instructions: (n,) int64, executed in the front end for each clip (0 for clips
            given as features).
        clip_model_instructions: (n,) int64, executed in one run of the model for each clip.
        frontend_instructions_per_frame: mean over all frames, rounded up; 0 for features.
        model_instructions: the largest of ``clip_model_instructions``.
        arena_used_bytes: used part of the tensor arena.
        arena_size_bytes: size of the tensor arena.
        stack_used_bytes: high-water mark of the stack.
        frontend_bytes: RAM of front end and feature ring.
        boot: fields of the firmware's boot line (board, model, sha256, frames, bins, classes).
    """

    labels: np.ndarray
    outputs: np.ndarray
    features: np.ndarray | None
    frontend_instructions: np.ndarray
    clip_model_instructions: np.ndarray
    frontend_instructions_per_frame: int
    model_instructions: int
    arena_used_bytes: int
    arena_size_bytes: int
    stack_used_bytes: int
    frontend_bytes: int
    boot: dict[str, str]


def run_job(
    elf: Path,
    machine: Machine,
    clips: np.ndarray,
    *,
    report_features: bool = False,
    report_instructions: bool = True,
    log: Log = silent,
) -> EmulationResult:
    """Run clips through a firmware on an emulated board, in as many runs as its memory requires.

    Args:
        elf: the firmware.
        machine: the board to emulate.
        clips: (n, ...) int8 features in the shape of the model's input, or (n, samples) int16 PCM.
        report_features: also return the features that the model received.
        report_instructions: also return instruction counts.
        log: receives the progress while the firmware runs.

    Raises:
        FirmwareError: the emulator is missing or stops, the firmware reports an error or stops
            printing, or its output is damaged.
    """
    uart_logs: list[UartLog] = []
    kind = "features" if clips.dtype == np.int8 else "sound"
    with track(log, f"{kind} on {machine.board}", len(clips), "clips") as task:
        for part in job.split_clips(clips, machine.job_bytes):
            image = job.job_image(
                part, report_features=report_features, report_instructions=report_instructions
            )
            uart_logs.append(run_image(elf, machine, image, task))
    return _collect(uart_logs, len(clips))


def run_image(
    elf: Path,
    machine: Machine,
    image: bytes,
    task: Task | None = None,
) -> UartLog:
    """Run a firmware on one job image until its success line; ``task`` counts its clips.

    Raises:
        FirmwareError: as :func:`run_job`.
    """
    with scratch_folder(SCRATCH) as folder:
        image_path = folder / "job.bin"
        console_path = folder / "console.log"
        with naming(image_path):
            image_path.write_bytes(image)
        console_path.touch()
        command = emulator_command(elf, machine, image_path, console_path)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            log = _follow(process, console_path, machine, task)
        finally:
            process.kill()
            process.communicate()
    if log.error is not None:
        code, text = log.error
        raise FirmwareError(f"firmware on {machine.board} reports {code}: {text}")
    return log


def emulator_command(elf: Path, machine: Machine, image: Path, console: Path) -> list[str]:
    """Command line of the emulator with its console in a file.

    The emulated UART never waits for a file, so that instruction counts do not depend on the host.
    """
    return console_command(elf, machine, f"file:{console}", image=image)


def console_command(
    elf: Path,
    machine: Machine,
    console: str,
    *,
    image: Path | None = None,
    arguments: tuple[str, ...] | None = None,
) -> list[str]:
    """Command line of the emulator.

    Args:
        elf: the firmware.
        machine: the board to emulate.
        console: destination of the console, as QEMU names it, such as ``tcp:127.0.0.1:3456``.
        image: job image for the board's memory, if any.
        arguments: replace the machine's own arguments.

    Raises:
        FirmwareError: the firmware or the emulator is missing.
    """
    if not elf.is_file():
        raise FirmwareError(f"{elf}: no such firmware; build it first")
    if shutil.which(machine.emulator) is None:
        raise FirmwareError(
            f"{machine.emulator} not found; install it: apt-get install {machine.package}"
        )
    serial: list[str] = []
    for _ in range(machine.uart):
        serial += ["-serial", "null"]
    loader = f"loader,file={image},addr={machine.job_address:#x},force-raw=on"
    command = [
        machine.emulator,
        "-machine",
        machine.machine,
        *(machine.arguments if arguments is None else arguments),
        "-display",
        "none",
        "-monitor",
        "none",
        *serial,
        "-serial",
        console,
        *(["-device", loader] if image else []),
        "-kernel",
        str(elf),
    ]
    return with_parent(command)


def _follow(
    process: subprocess.Popen[bytes],
    console: Path,
    machine: Machine,
    task: Task | None,
) -> UartLog:
    """Read the console until the success or error line."""
    log = UartLog()
    last_line_s = time.monotonic()
    with console.open("rb") as stream:
        while True:
            ended = process.poll() is not None
            clips_before = len(log.clips)
            if log.feed(stream.read()):
                last_line_s = time.monotonic()
            if task and len(log.clips) > clips_before:
                task.advance(len(log.clips) - clips_before)
            if log.done is not None or log.error is not None:
                return log
            if ended:
                errors = process.stderr.read() if process.stderr else b""
                reason = errors.decode(errors="replace").strip().replace("\n", "; ")
                raise FirmwareError(
                    f"{machine.emulator} stopped with status {process.returncode}: "
                    f"{reason or 'no message'}; console: {log.tail()}"
                )
            if time.monotonic() - last_line_s > machine.stall_timeout_s:
                raise FirmwareError(
                    f"firmware on {machine.board} was silent for {machine.stall_timeout_s:g} s; "
                    f"last console lines: {log.tail()}"
                )
            time.sleep(_POLL_S)


def _collect(logs: Sequence[UartLog], clip_count: int) -> EmulationResult:
    """Combine the logs of several runs of one firmware."""
    lines: list[ClipLine] = [clip for log in logs for clip in log.clips]
    boot, memory = logs[-1].boot, logs[-1].memory
    try:
        classes, bins, frames = (int(boot[key]) for key in ("classes", "bins", "frames"))
        outputs = np.frombuffer(b"".join(line.output for line in lines), np.int8)
        outputs = outputs.reshape(clip_count, classes)
        features = None
        if all(line.features is not None for line in lines):
            joined = b"".join(line.features or b"" for line in lines)
            features = np.frombuffer(joined, np.int8).reshape(clip_count, bins, frames)
        arena_used, arena_size = memory["arena_used"], memory["arena_size"]
        frontend_bytes = memory["frontend_bytes"]
        stack_used = max(log.memory["stack_used"] for log in logs)
    except (KeyError, ValueError):
        raise FirmwareError(
            "the firmware's report is incomplete; build it from this release's sources"
        ) from None
    frontend = np.array([line.frontend_instructions or 0 for line in lines], np.int64)
    model = np.array([line.model_instructions or 0 for line in lines], np.int64)
    frame_count = sum(line.frames for line in lines)
    return EmulationResult(
        labels=np.array([line.label for line in lines], np.int64),
        outputs=outputs,
        features=features,
        frontend_instructions=frontend,
        clip_model_instructions=model,
        frontend_instructions_per_frame=math.ceil(int(frontend.sum()) / max(frame_count, 1)),
        model_instructions=int(model.max()),
        arena_used_bytes=arena_used,
        arena_size_bytes=arena_size,
        stack_used_bytes=stack_used,
        frontend_bytes=frontend_bytes,
        boot=boot,
    )
