# SPDX-License-Identifier: Apache-2.0
"""A runner of the MLPerf Tiny serial protocol, written from its description alone.

It implements the benchmark's runner on the wire, independently of this firmware: commands end
in ``%``, an answer ends with the line that contains ``m-ready``, inputs go out as hexadecimal in
pieces of 31 bytes, and the lines that carry values are matched whole.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

CHUNK_BYTES = 31
LINE_TIMEOUT_S = 60.0
INFER_TIMEOUT_S = 300.0
LOOPS = 5

_NAME = re.compile(r"^m-(name)-dut-\[([^\]]+)\]$")
_PROFILE = re.compile(r"^m-(model|profile)-\[([^\]]+)\]$")
_RESULTS = re.compile(r"^m-results-\[([^\]]+)\]$")
_LAP = re.compile(r"^m-lap-us-([0-9]+)$")


class Wire(Protocol):
    def read(self, timeout_s: float) -> bytes: ...

    def write(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class Infer:
    """The output of one ``infer`` command."""

    lines: list[str]
    laps_us: list[int]
    results: np.ndarray


class Runner:
    """The benchmark's runner on a wire, whose time-outs leave room for a busy computer."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._bytes = b""

    def line(self, timeout_s: float) -> str:
        until_s = time.monotonic() + timeout_s
        while b"\n" not in self._bytes:
            left_s = until_s - time.monotonic()
            assert left_s > 0, f"no line in time; so far {self._bytes!r}"
            self._bytes += self.wire.read(left_s)
        line, _, self._bytes = self._bytes.partition(b"\n")
        return line.replace(b"\r", b"").replace(b"\0", b"").decode("ascii")

    def until_ready(self, timeout_s: float = LINE_TIMEOUT_S) -> list[str]:
        lines = [self.line(timeout_s)]
        while "m-ready" not in lines[-1]:
            lines.append(self.line(timeout_s))
        return lines[:-1]

    def command(self, text: str, timeout_s: float = LINE_TIMEOUT_S) -> list[str]:
        """Lines of the answer, without ``m-ready``."""
        self.wire.write(text.encode("ascii") + b"%")
        return self.until_ready(timeout_s)

    def identify(self) -> tuple[str, str]:
        """Name of the device and id of its model."""
        (name,) = self.command("name")
        match = _NAME.match(name)
        assert match, name
        matches = [_PROFILE.match(line) for line in self.command("profile")]
        values = {parsed[1]: parsed[2] for parsed in matches if parsed}
        return match[2], values["model"]

    def download(self, data: bytes) -> None:
        lines = self.command(f"db load {len(data)}")
        assert lines == [f"m-[Expecting {len(data)} bytes]"], lines
        for start in range(0, len(data), CHUNK_BYTES):
            last = start + CHUNK_BYTES >= len(data)
            lines = self.command("db " + data[start : start + CHUNK_BYTES].hex())
            assert lines == (["m-load-done"] if last else []), lines

    def infer(self, runs: int, warmup: int) -> Infer:
        lines = self.command(f"infer {runs} {warmup}", INFER_TIMEOUT_S)
        results = [match[1] for line in lines if (match := _RESULTS.match(line))]
        assert len(results) == 1, lines
        return Infer(
            lines,
            [int(match[1]) for line in lines if (match := _LAP.match(line))],
            np.array([float(value) for value in results[0].split(",")]),
        )

    def accuracy(self, inputs: list[bytes]) -> np.ndarray:
        """Accuracy mode: scores of every input, each row divided by its sum."""
        rows = []
        for data in inputs:
            self.download(data)
            inference = self.infer(1, 0)
            assert inference.results.sum() > 0
            rows.append(inference.results / inference.results.sum())
        return np.array(rows)

    def performance(self, data: bytes, runs: int, warmup: int) -> float:
        """Performance mode: the median throughput of five loops, in inferences a second."""
        rates = []
        for _ in range(LOOPS):
            self.download(data)
            first_us, last_us = self.infer(runs, warmup).laps_us
            assert last_us > first_us
            rates.append(runs / ((last_us - first_us) * 1e-6))
        return float(np.median(rates))
