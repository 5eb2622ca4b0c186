# SPDX-License-Identifier: Apache-2.0
"""The emulated boards: those whose ``board.toml`` names QEMU's machine."""

from __future__ import annotations

from dataclasses import dataclass

from m3net_tf.boards.builds.boards import Board, Qemu, list_boards, load_board
from m3net_tf.system.errors import FirmwareError


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


def machines() -> tuple[Machine, ...]:
    """The machines that run the firmware of a board, ordered by the board's name.

    Raises:
        ConfigError: there is no source checkout, or a ``board.toml`` has a wrong key.
    """
    return _machines(partial=False)


def partial_machines() -> tuple[Machine, ...]:
    """The machines that lack a part of their board: the firmware reports it and stops.

    Raises:
        ConfigError: as :func:`machines`.
    """
    return _machines(partial=True)


def find_machine(board: str) -> Machine:
    """The emulated machine for a board.

    Raises:
        FirmwareError: no machine emulates that board; the message lists those that do.
        ConfigError: as :func:`machines`.
    """
    emulated = machines()
    for machine in emulated:
        if machine.board == board:
            return machine
    raise FirmwareError(
        f"{board}: no emulator runs this board; emulated boards: "
        + ", ".join(machine.board for machine in emulated)
    )


def emulated_board(board: str) -> str:
    """The board itself if it is emulated, else one with the same core; '' if there is none.

    Raises:
        FirmwareError: there is no such board.
        ConfigError: as :func:`machines`.
    """
    core = load_board(board).core
    names = [machine.board for machine in machines() if load_board(machine.board).core == core]
    return board if board in names else next(iter(names), "")


def _machines(*, partial: bool) -> tuple[Machine, ...]:
    boards = [load_board(name) for name in list_boards()]
    return tuple(
        _machine(board, board.qemu)
        for board in boards
        if board.qemu and board.qemu.partial is partial
    )


def _machine(board: Board, qemu: Qemu) -> Machine:
    return Machine(
        board=board.name,
        emulator="qemu-system-arm",
        package="qemu-system-arm",
        machine=qemu.machine,
        # One nanosecond an instruction: timers of the board advance with the instructions.
        arguments=("-icount", "shift=0"),
        job_address=board.job.start,
        job_bytes=board.job.bytes,
        uart=qemu.uart,
        success_line="m3net done ",
        error_line="m3net error ",
        stall_timeout_s=120.0,
    )
