# SPDX-License-Identifier: Apache-2.0
"""The firmware on an emulated board: a job image with clips goes in, console lines come out.

A job image is what the firmware reads from the board's memory. Little endian: magic ``M3NJ``,
u16 version, u16 kind, u32 clip count, u32 bytes of one clip, u32 CRC-32 of the payload, u32 flags,
two reserved u32; then the clips.

Console lines have the form ``m3net <word> key=value ...`` and end with CR LF.
"""

import math
import re
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import Machine
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.system.artifacts import naming
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.processes import with_parent
from m3net_tf.system.progress import Log, Task, silent, track

MAGIC = b"M3NJ"
VERSION = 1
KIND_FEATURES = 0
KIND_PCM = 1
KIND_STREAM = 2
KIND_LIVE = 3
FLAG_FEATURES = 1
FLAG_INSTRUCTIONS = 2
HEADER = struct.Struct("<4sHHIIII2I")

PREFIX = "m3net "
_MAX_LINE_BYTES = 1 << 20
SCRATCH = "m3net-emulation-"
"""Prefix of the temporary folders of emulations."""
_POLL_S = 0.02

ClipArray = npt.NDArray[np.int8] | npt.NDArray[np.int16]
"""Clips as features or as samples."""


def clip_kind(clips: ClipArray) -> int:
    """Kind of job for an array of clips.

    Raises:
        FirmwareError: the array is neither int8 features nor int16 PCM, or has no clips.
    """
    kinds = {np.dtype(np.int8): KIND_FEATURES, np.dtype(np.int16): KIND_PCM}
    if clips.dtype not in kinds:
        raise FirmwareError(
            f"clips are {clips.dtype}: give int8 features or int16 samples (n, values)"
        )
    if clips.ndim < 2 or clips.shape[0] == 0 or clips[0].size == 0:
        raise FirmwareError(f"clips have shape {clips.shape}: give at least one clip (n, values)")
    return kinds[clips.dtype]


def job_image(
    clips: ClipArray, *, report_features: bool = False, report_instructions: bool = True
) -> bytes:
    """The image of clips, shape (n, ...), int8 features or int16 PCM.

    Raises:
        FirmwareError: as :func:`clip_kind`.
    """
    kind = clip_kind(clips)
    payload = np.ascontiguousarray(clips, dtype=clips.dtype.newbyteorder("<")).tobytes()
    flags = FLAG_FEATURES * report_features + FLAG_INSTRUCTIONS * report_instructions
    clip_bytes = len(payload) // len(clips)
    header = HEADER.pack(
        MAGIC, VERSION, kind, len(clips), clip_bytes, zlib.crc32(payload), flags, 0, 0
    )
    return header + payload


def stream_image(samples: bytes, capacity_bytes: int, kind: int = KIND_STREAM) -> bytes:
    """The image of a long sound, the input of an emulated board's microphone.

    Args:
        samples: little-endian int16 samples.
        kind: ``KIND_STREAM``, or ``KIND_LIVE`` for live detection without a microphone.

    Raises:
        FirmwareError: the sound is empty, ends within a sample, or does not fit.
    """
    if not samples or len(samples) % 2:
        raise FirmwareError("the sound has no whole 16-bit samples: give int16 PCM")
    if HEADER.size + len(samples) > capacity_bytes:
        raise FirmwareError(
            f"a sound of {len(samples)} bytes exceeds the board's job memory of {capacity_bytes} "
            "bytes; shorten it"
        )
    crc = zlib.crc32(samples)
    return HEADER.pack(MAGIC, VERSION, kind, 1, len(samples), crc, 0, 0, 0) + samples


def split_clips(clips: ClipArray, capacity_bytes: int) -> list[ClipArray]:
    """Split clips into batches whose images fit ``capacity_bytes``.

    Raises:
        FirmwareError: a single clip does not fit, or as :func:`clip_kind`.
    """
    clip_kind(clips)
    per_image = (capacity_bytes - HEADER.size) // clips[0].nbytes
    if per_image < 1:
        raise FirmwareError(
            f"a clip of {clips[0].nbytes} bytes exceeds the board's job memory of "
            f"{capacity_bytes} bytes; shorten the clip"
        )
    return [clips[start : start + per_image] for start in range(0, len(clips), per_image)]


@dataclass(frozen=True)
class ClipLine:
    """The firmware's result for one clip."""

    index: int
    label: int
    output: bytes
    features: bytes | None
    frontend_instructions: int | None
    model_instructions: int | None
    frames: int


@dataclass
class UartLog:
    """Collects the console's bytes and parses each complete line.

    Attributes:
        boot: fields of the boot line.
        memory: fields of the memory line, as numbers.
        error: ``(code, text)`` of the first error line.
        done: fields of the success line.
    """

    boot: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    clips: list[ClipLine] = field(default_factory=list)
    error: tuple[str, str] | None = None
    done: dict[str, str] | None = None
    lines: list[str] = field(default_factory=list)
    _rest: bytes = b""

    def feed(self, data: bytes) -> int:
        """Add received bytes; return how many lines they completed.

        Raises:
            FirmwareError: a line with the prefix is damaged, or a line is too long.
        """
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        if len(self._rest) > _MAX_LINE_BYTES:
            raise FirmwareError(
                "the console sends a line without end; build the firmware of this release"
            )
        for piece in pieces:
            self._line(piece.decode("ascii", errors="replace").strip("\r"))
        return len(pieces)

    def tail(self, count: int = 3) -> str:
        """The last lines, shortened and joined for an error message."""
        lines = [*self.lines[-count:], self._rest.decode("ascii", errors="replace")]
        shown = [line if len(line) <= 160 else line[:157] + "..." for line in lines if line]
        return " | ".join(shown) if shown else "nothing"

    def _line(self, line: str) -> None:
        self.lines.append(line)
        if not line.startswith(PREFIX):
            return  # of an emulator or a boot loader
        word, _, rest = line[len(PREFIX) :].partition(" ")
        try:
            if word == "boot":
                self.boot = _fields(rest)
            elif word == "memory":
                self.memory = {key: int(value) for key, value in _fields(rest).items()}
            elif word == "clip":
                self._clip(rest)
            elif word == "error":
                code, _, text = rest.partition(" ")
                self.error = self.error or (code, text)
            elif word == "done":
                self._done(rest)
        except (KeyError, ValueError):
            shown = line if len(line) <= 120 else line[:117] + "..."
            raise FirmwareError(
                f"damaged console line {shown!r}; build the firmware and run it again"
            ) from None

    def _clip(self, rest: str) -> None:
        index, _, fields_text = rest.partition(" ")
        if " error " in f" {rest} " or not fields_text.strip():
            raise ValueError(rest)
        values = _fields(fields_text)

        def number(key: str) -> int | None:
            return int(values[key]) if key in values else None

        clip = ClipLine(
            index=int(index),
            label=int(values["label"]),
            output=bytes.fromhex(values["out"]),
            features=bytes.fromhex(values["feat"]) if "feat" in values else None,
            frontend_instructions=number("frontend_instr"),
            model_instructions=number("model_instr"),
            frames=int(values["frames"]),
        )
        if clip.index != len(self.clips) or not clip.output:
            raise ValueError(rest)
        self.clips.append(clip)

    def _done(self, rest: str) -> None:
        values = _fields(rest)
        crc = 0
        for clip in self.clips:
            crc = zlib.crc32(clip.output, crc)
        if int(values["clips"]) != len(self.clips) or int(values["crc"], 16) != crc:
            raise ValueError(rest)
        self.done = values


def _fields(text: str) -> dict[str, str]:
    """``a=1 b=2`` as a dictionary."""
    fields: dict[str, str] = {}
    for item in text.split():
        match = re.fullmatch(r"(\w+)=(.*)", item)
        if not match:
            raise ValueError(item)
        fields[match.group(1)] = match.group(2)
    return fields


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
        stack_used_bytes: high-water mark of the stack.
        frontend_bytes: RAM of front end and feature ring.
    """

    labels: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.int8]
    features: npt.NDArray[np.int8] | None
    frontend_instructions: npt.NDArray[np.int64]
    clip_model_instructions: npt.NDArray[np.int64]
    frontend_instructions_per_frame: int
    model_instructions: int
    arena_used_bytes: int
    arena_size_bytes: int
    stack_used_bytes: int
    frontend_bytes: int


def run_job(
    elf: Path,
    machine: Machine,
    clips: ClipArray,
    *,
    report_features: bool = False,
    log: Log = silent,
) -> EmulationResult:
    """Run clips through a firmware on an emulated board, in as many runs as its memory requires.

    Args:
        clips: (n, ...) int8 features in the shape of the model's input, or (n, samples) int16 PCM.
        report_features: also return the features that the model received.

    Raises:
        FirmwareError: the emulator is missing or stops, the firmware reports an error or stops
            printing, or its output is damaged.
    """
    uart_logs: list[UartLog] = []
    kind = "features" if clips.dtype == np.int8 else "sound"
    with track(log, f"{kind} on {machine.board}", len(clips), "clips") as task:
        for part in split_clips(clips, machine.job_bytes):
            image = job_image(part, report_features=report_features)
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
        # The emulated UART never waits for a file, so instruction counts do not depend on the host.
        command = console_command(elf, machine, f"file:{console_path}", image=image_path)
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
        console: destination of the console, as QEMU names it, such as ``file:console.log``.
        arguments: replace the machine's own arguments.

    Raises:
        FirmwareError: the firmware or the emulator is missing.
    """
    if not elf.is_file():
        raise FirmwareError(f"{elf}: no such firmware; build it first")
    if shutil.which(machine.emulator) is None:
        raise MissingError(
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
        *machine.options,
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


def emulator_version(machine: Machine) -> str:
    """The emulator's name and version, as it prints them; its name if it prints nothing."""
    if shutil.which(machine.emulator) is None:
        return machine.emulator
    command = [machine.emulator, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] or machine.emulator


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
    boot = logs[-1].boot
    memory = logs[-1].memory
    try:
        classes, bins, frames = (int(boot[key]) for key in ("classes", "bins", "frames"))
        outputs = np.frombuffer(b"".join(line.output for line in lines), np.int8)
        outputs = outputs.reshape(clip_count, classes)
        features = None
        if all(line.features is not None for line in lines):
            joined = b"".join(line.features or b"" for line in lines)
            features = np.frombuffer(joined, np.int8).reshape(clip_count, bins, frames)
        arena_used = memory["arena_used"]
        arena_size = memory["arena_size"]
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
    )
