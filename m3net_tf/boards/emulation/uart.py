# SPDX-License-Identifier: Apache-2.0
"""The firmware's console: lines of ``m3net <word> key=value ...``, separated by CR LF."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

from m3net_tf.system.errors import FirmwareError

PREFIX = "m3net "
_MAX_LINE_BYTES = 1 << 20


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
        clips: clip lines in order.
        error: ``(code, text)`` of the first error line.
        done: fields of the success line.
        lines: all complete lines.
        noise: lines of an emulator or a boot loader, and lines with an unknown word.
    """

    boot: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    clips: list[ClipLine] = field(default_factory=list)
    error: tuple[str, str] | None = None
    done: dict[str, str] | None = None
    lines: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
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
            if line:
                self.noise.append(line)
            return
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
            else:
                self.noise.append(line)
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
