# SPDX-License-Identifier: Apache-2.0
"""The emulated boards, as data: one entry a machine, no code for each.

``job_address`` and ``job_bytes`` must agree with ``board.h`` of the board's folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from m3net_tf.errors import FirmwareError


@dataclass(frozen=True)
class Machine:
    """An emulated board.

    Attributes:
        board: folder of ``firmware/boards`` whose ELF it runs.
        emulator: program that emulates it.
        package: Debian package that brings the emulator.
        machine: the emulator's name for it.
        arguments: further arguments for the emulator.
        job_address: where the job image goes in the board's memory.
        job_bytes: room there.
        uart: index of the serial port that is the console.
        success_line: start of the console line that ends a run well.
        error_line: start of the console line that ends a run with an error.
        stall_timeout_s: longest wait for the next console line, in seconds of the host's clock.
    """

    board: str
    emulator: str
    package: str
    machine: str
    arguments: tuple[str, ...]
    job_address: int
    job_bytes: int
    uart: int
    success_line: str
    error_line: str
    stall_timeout_s: float


# One nanosecond an instruction: timers of the board advance with the instructions, and boot, clip
# and error lines are the same on each.
_FIRST = Machine(
    board="mps2_an386",
    emulator="qemu-system-arm",
    package="qemu-system-arm",
    machine="mps2-an386",
    arguments=("-icount", "shift=0"),
    job_address=0x2100_0000,
    job_bytes=0x0100_0000,
    uart=0,
    success_line="m3net done ",
    error_line="m3net error ",
    stall_timeout_s=120.0,
)

MACHINES: tuple[Machine, ...] = (
    _FIRST,
    replace(_FIRST, board="mps2_an500", machine="mps2-an500", job_address=0x6000_0000),
    replace(_FIRST, board="mps3_an547", machine="mps3-an547", job_address=0x7000_0000),
    replace(_FIRST, board="mps2_an385", machine="mps2-an385"),
    replace(_FIRST, board="mps2_an505", machine="mps2-an505", job_address=0x8000_0000),
)

# Machines that have a part of a board only. netduinoplus2 has an STM32F405 with flash, RAM and
# console; QEMU 7.2 leaves out clocks (RCC, PWR), pins, watchdog and the job's memory, so the
# firmware ends in its report that there is no crystal.
PARTIAL_MACHINES: tuple[Machine, ...] = (
    replace(
        _FIRST,
        board="stm32f4_discovery",
        machine="netduinoplus2",
        job_address=0x1000_0000,
        job_bytes=0x0001_0000,
        uart=1,
    ),
)


def find_machine(board: str) -> Machine:
    """The emulated machine for a board.

    Raises:
        FirmwareError: no machine emulates that board; the message lists those that do.
    """
    for machine in MACHINES:
        if machine.board == board:
            return machine
    raise FirmwareError(
        f"{board}: no emulator runs this board; emulated boards: "
        + ", ".join(machine.board for machine in MACHINES)
    )
