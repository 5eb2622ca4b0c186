# SPDX-License-Identifier: Apache-2.0
"""Messages of the monitor protocol and the values in them (``docs/reference/protocol.md``)."""

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import FirmwareError

_FIELD = re.compile(r"(\w+)=(\S*)")
_NUMBER = re.compile(r"[0-9]{1,18}\Z")


class BoardError(FirmwareError):
    """The board refused a command."""

    def __init__(self, port: str, code: str, text: str) -> None:
        super().__init__(f"{port}: the board reports {code}: {text}")
        self.code = code


class NoAnswerError(FirmwareError):
    """The board did not answer in time."""


@dataclass(frozen=True)
class Message:
    """A line of the board.

    Attributes:
        word: first word after ``m3net``.
        rest: text after it.
        data: bytes after a ``data`` or ``audio`` line, otherwise empty.
    """

    word: str
    rest: str
    data: bytes = b""

    @property
    def fields(self) -> dict[str, str]:
        """The ``key=value`` words."""
        return dict(_FIELD.findall(self.rest))

    def number(self, key: str) -> int:
        """A field as a number.

        Raises:
            FirmwareError: the line has no such number.
        """
        try:
            return int(self.fields[key], 0)
        except (KeyError, ValueError):
            raise FirmwareError(
                f"the board's line 'm3net {self.word} {self.rest[:80]}' lacks the number {key}; "
                "build the firmware from this release"
            ) from None


@dataclass(frozen=True)
class Reply:
    """The answer to a command: its last line and the lines before it."""

    last: Message
    lines: list[Message] = field(default_factory=list)

    def number(self, key: str) -> int:
        """A number of the last line."""
        return self.last.number(key)

    def numbers(self) -> dict[str, int]:
        """All numbers of the last line."""
        return {key: int(value) for key, value in self.last.fields.items() if _NUMBER.match(value)}


@dataclass(frozen=True)
class DeviceInfo:
    """Facts that a board reports.

    Attributes:
        version: fields of its version line (core, clock_hz, counter, audio, baud, reset).
        model: fields of the model (name, sha256, bytes, input_bytes, classes).
        frontend: rate_hz, frame_samples, hop_samples, bins, frames.
    """

    board: str
    version: dict[str, str]
    model: dict[str, str]
    frontend: dict[str, int]
    labels: tuple[str, ...]
    block_bytes: int
    buffer_bytes: int


@dataclass(frozen=True)
class Result:
    """One inference on the board.

    Attributes:
        output: int8 scores, shape (classes,).
        run_us: time of loading and running by the board's own clock, microseconds a run.
        model_cost: cost of one run, in the counter's unit.
        frontend_cost: cost of all columns of the clip, in the counter's unit; 0 for features.
        frames: columns that the front end computed; 0 for features.
    """

    label: int
    output: npt.NDArray[np.int8]
    run_us: float
    model_cost: int
    frontend_cost: int
    frames: int
