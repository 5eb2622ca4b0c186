# SPDX-License-Identifier: Apache-2.0
"""Renode's keywords that firmware/renode uses, with Renode's arguments, run on QEMU.

Names, order and defaults are as in Renode 1.16.1 (commit d66b0c2aa3d4, the classes
``UartKeywords`` and ``RenodeKeywords`` of its RobotFrameworkEngine). The suites need 1.16.1 or
later: before, the field of a line that came is ``line`` instead of ``Line``. A dry run sees the
signatures only; a real one drives an emulated MPS2 board in the place of Renode's, so that all but
Renode itself is tried.

Time-outs use the host's clock, pauses do nothing, and executed instructions are those that the
firmware reports for its clips.
"""

from __future__ import annotations

import re
import selectors
import subprocess
import time
from pathlib import Path

from robot.utils import DotDict

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation import qemu
from m3net_tf.boards.emulation.qemu import console_command

BOARD = "mps2_an386"
#: Added for each line to the reported cost of front end and network; about Renode's.
LINE_INSTRUCTIONS = 3000


class renode_keywords:
    """An emulated board controlled by Renode's keywords; one at a time."""

    ROBOT_LIBRARY_SCOPE = "TEST"
    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self.ROBOT_LIBRARY_LISTENER = self
        self._process: subprocess.Popen[bytes] | None = None
        self._elf: Path | None = None
        self._image: Path | None = None
        self._lines: list[str] = []
        self._rest = b""
        self._executed = 0

    def end_test(self, data, result) -> None:
        self._stop()

    def execute_command(self, command, machine=None):
        if match := re.fullmatch(r"\$elf=@(\S+)", command):
            self._elf = Path(match[1])
        elif match := re.fullmatch(r"include @(\S+)", command):
            if self._elf is None:
                raise AssertionError("the script was included before it was told the ELF")
        elif match := re.fullmatch(r"sysbus LoadBinary @(\S+) (0x[0-9A-Fa-f]+)", command):
            assert int(match[2], 16) == find_machine(BOARD).job_address
            self._image = Path(match[1])
        elif match := re.fullmatch(r"sysbus\.pdm SetInputFile @(\S+)", command):
            self._hear(Path(match[1]))
        elif command == "sysbus.cpu ExecutedInstructions":
            return f"0x{self._executed:016X}\n"
        else:
            raise AssertionError(f"not prepared for {command!r}")
        return ""

    def create_terminal_tester(
        self,
        uart,
        timeout=None,
        machine=None,
        endLineOption=None,
        defaultPauseEmulation=None,
        defaultWaitForEcho=None,
        defaultMatchNextLine=None,
        binaryMode=False,
    ):
        self._timeout_s = float(timeout)
        self._start()
        return 0

    def wait_for_line_on_uart(
        self,
        content,
        timeout=None,
        testerId=None,
        treatAsRegex=False,
        includeUnfinishedLine=False,
        pauseEmulation=None,
        matchNextLine=None,
    ):
        end_s = time.monotonic() + self._timeout_s
        while True:
            line = self._line(end_s, content)
            costs = [int(cost) for cost in re.findall(r"_instr=(\d+)", line)]
            self._executed += LINE_INSTRUCTIONS + sum(costs)
            if content in line:
                return DotDict(Line=line, Timestamp=0.0, Groups=[])

    def write_to_uart(self, content, testerId=None):
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(content.encode("ascii"))
        self._process.stdin.flush()

    def _start(self) -> None:
        assert self._elf is not None
        command = console_command(self._elf, find_machine(BOARD), "stdio", image=self._image)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _hear(self, sound: Path) -> None:
        """QEMU's board reads its microphone's sound at start, so it starts again."""
        machine = find_machine(BOARD)
        self._image = sound.with_name("microphone.bin")
        self._image.write_bytes(qemu.stream_image(sound.read_bytes(), machine.job_bytes))
        self._stop()
        self._rest = b""
        self._start()
        self.wait_for_line_on_uart("m-ready")

    def _line(self, end_s: float, awaited: str) -> str:
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                ready = selector.select(max(0.0, end_s - time.monotonic()))
                data = self._process.stdout.read1() if ready else b""  # type: ignore[attr-defined]
                if not data:
                    said = " | ".join(self._lines[-5:])
                    raise AssertionError(f"no line with {awaited!r}; the last ones: {said}")
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self._lines.append(line.decode("latin-1").strip("\r"))
        return self._lines[-1]
