# SPDX-License-Identifier: Apache-2.0
"""Modelled clock cycles of a run: executed instructions times their published costs.

Unicorn executes the firmware and records the basic blocks of one run of the network and the words
that it reads from flash. Each instruction then costs what :mod:`.core_costs` says for the core,
plus what the board's flash makes the core wait.

What the models leave out: cycles of an unaligned access, contention between fetch and data, a full
store buffer, misses of a cache for RAM, and that an instruction under ``IT`` may be skipped. Flash
with lines is fully associative and replaces the line that was used least recently; the lines have
the chip's number and width.

A Cortex-M55 has no model: Unicorn does not execute Helium, which its kernels use.
"""

from __future__ import annotations

import array
import collections
import importlib
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import Board, load_board
from m3net_tf.boards.emulation.core_costs import CoreCosts, CortexM4, CortexM7, CortexM33
from m3net_tf.boards.emulation.instructions import Disassembly, Instruction
from m3net_tf.boards.emulation.qemu import UartLog, job_image
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.extras import require_modules

_RUN = "m3net_recognizer_run"
_PERIPHERALS = ((0x4000_0000, 0x2000_0000), (0xE000_0000, 0x0010_0000))
_PAGE = 0x1000
_UART_ROOM = 0x20
_SIZE_BITS = 16  # of the bytes of a basic block
_IF_THEN = 0x0600_FC00  # bits of the program status register
_RESULT_TIMEOUT_US = 600_000_000


@dataclass(frozen=True)
class Flash:
    """How long flash makes the core wait.

    Attributes:
        wait_states: cycles of an access, less one, of the flash itself.
        line_bytes: bytes of a line.
        code_lines: lines that keep code; 0: code never waits.
        data_lines: lines that keep data; 0: each read of a datum waits.
        line_accesses: accesses that fill a line.
        shared: whether the lines for code keep data, too.
    """

    wait_states: int = 0
    line_bytes: int = 16
    code_lines: int = 0
    data_lines: int = 0
    line_accesses: int = 1
    shared: bool = False


FLASHES: Mapping[str, Flash] = {
    "0 wait states": Flash(0),
    # Product specification 1.7: two wait states, and a cache for instructions only, of 2 KiB.
    "nRF52840": Flash(2, code_lines=128),
    # RM0090, 3.5.2: at 168 MHz five wait states; the ART accelerator has 64 lines of 128 bits for
    # instructions and 8 for data.
    "STM32F4": Flash(5, code_lines=64, data_lines=8),
}
"""Flash settings of a Cortex-M4 by name."""
# RM0456: one cache of 8 KiB on the code bus, lines of 128 bits; four wait states at 160 MHz, as in
# ST's examples for the board.
_STM32U575 = Flash(4, code_lines=512, shared=True)
# RM0455: words of 128 bits; caches of 16 KiB with lines of 32 bytes; six wait states at 280 MHz, as
# in ST's examples for the board.
_STM32H7A3 = Flash(6, line_bytes=32, code_lines=512, data_lines=512, line_accesses=2)


@dataclass(frozen=True)
class Timing:
    """What cycles are modelled for.

    Attributes:
        core: the costs of its instructions.
        flash: its flash.
        mispredicted: cycles of a branch that goes elsewhere than the last time.
    """

    core: CoreCosts = field(default_factory=CortexM4)
    flash: Flash = Flash()
    mispredicted: int = 0


CORE = "cortex-m4f"
_M4, _M33 = CortexM4(), CortexM33()
TIMINGS: Mapping[str, Mapping[str, Timing]] = {
    CORE: {name: Timing(_M4, flash) for name, flash in FLASHES.items()},
    "cortex-m33": {"0 wait states": Timing(_M33), "STM32U575": Timing(_M33, _STM32U575)},
    "cortex-m7": {
        "best case": Timing(CortexM7(dual=True)),
        "worst case": Timing(CortexM7(dual=False), _STM32H7A3, mispredicted=8),
    },
}
"""Settings by name for each core that has modelled cycles."""
_UNICORN_CORES = {CORE: "M4", "cortex-m33": "M33", "cortex-m7": "M7"}


PHASES: Mapping[str, re.Pattern[str]] = {
    "multiply": re.compile("smla"),
    "requantise": re.compile("smm|smull|ssat"),
    "gather": re.compile(""),
}
"""What a basic block of our kernels does -> the instructions that show it; the first one counts.

Loops that gather inputs have none of these instructions, and neither has the control around them.
"""


class Cycles(TypedDict):
    """Modelled cost of one run of a network.

    Attributes:
        instructions: executed.
        cycles: modelled cycles by name of the setting, see :data:`TIMINGS`.
        flash_reads: reads of data from flash.
        calls: on request, the cost from the start of each kernel to the start of the next one.
    """

    instructions: int
    cycles: dict[str, int]
    flash_reads: int
    calls: NotRequired[list[KernelCycles]]


class KernelCycles(Cycles):
    """Modelled cost of a part of a run.

    Attributes:
        phases: instructions by what their basic block does, a name of :data:`PHASES`.
    """

    phases: dict[str, int]


@dataclass(frozen=True)
class Trace:
    """What one run of a network executed.

    Attributes:
        blocks: start and bytes of each basic block, in their order.
        reads: for each read of a datum from flash, the number of blocks before it, its address.
        output: bytes of the network's last output.
    """

    blocks: npt.NDArray[np.int64]
    reads: npt.NDArray[np.int64]
    output: bytes


def cost_of(
    trace: Trace, code: Disassembly, timings: Mapping[str, Timing], starts: Sequence[int] = (0,)
) -> list[KernelCycles]:
    """The modelled cost of consecutive parts of a run.

    Args:
        timings: settings by name.
        starts: numbers of the blocks with which the parts begin; the last part has the rest.
    """
    starts_and_sizes = trace.blocks[:, 0] << _SIZE_BITS | trace.blocks[:, 1]
    kinds, which = np.unique(starts_and_sizes, return_inverse=True)
    bodies = [code.block(*divmod(kind, 1 << _SIZE_BITS)) for kind in kinds.tolist()]
    jumped = trace.blocks[1:, 0] != trace.blocks[:-1].sum(axis=1)
    elsewhere = _in_blocks(trace, _elsewhere(which))
    lengths = np.array([len(body) for body in bodies], np.int64)[which]
    phases = np.array([_phase(body) for body in bodies])[which]
    reads = _in_blocks(trace, trace.reads[:, 0] - 1)
    of_cores = {
        timing.core: _core_cycles(bodies, which, jumped, timing.core) for timing in timings.values()
    }
    cycles = {
        name: of_cores[timing.core]
        + timing.mispredicted * elsewhere
        + timing.flash.wait_states * _slow_accesses(trace, timing.flash)
        for name, timing in timings.items()
    }
    return [
        {
            "instructions": int(lengths[part].sum()),
            "cycles": {name: int(each[part].sum()) for name, each in cycles.items()},
            "flash_reads": int(reads[part].sum()),
            "phases": {name: int(lengths[part][phases[part] == name].sum()) for name in PHASES},
        }
        for part in map(slice, starts, [*starts[1:], None])
    ]


def _core_cycles(
    bodies: Sequence[Sequence[Instruction]],
    which: npt.NDArray[np.int64],
    jumped: npt.NDArray[np.bool_],
    core: CoreCosts,
) -> npt.NDArray[np.int64]:
    """Cycles of each block of a run on a core whose memory never waits."""
    alone = np.array([core.cycles(body) for body in bodies], np.int64)
    refills = np.array([core.refill(body) for body in bodies], np.int64)
    costs = alone[which]
    costs[:-1] += refills[which[:-1]] * jumped
    # Unicorn also ends a block where a page ends, within a row of loads for instance.
    joined = np.ones_like(jumped) if core.joins_jumps else ~jumped
    numbers = which[:-1] * len(bodies) + which[1:]
    neighbours, pair = np.unique(numbers[joined], return_inverse=True)
    together = [
        core.cycles([*bodies[first], *bodies[second]])
        for first, second in (divmod(number, len(bodies)) for number in neighbours.tolist())
    ]
    more = np.array(together, np.int64)
    more -= alone[neighbours // len(bodies)] + alone[neighbours % len(bodies)]
    costs[1:][joined] += more[pair]
    return costs


def _elsewhere(which: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of the blocks that another block follows than the last time."""
    order = np.argsort(which[:-1], kind="stable")
    kind, successor = which[:-1][order], which[1:][order]
    moved: npt.NDArray[np.int64] = (kind[1:] == kind[:-1]) & (successor[1:] != successor[:-1])
    return order[1:][moved]


def _phase(body: Sequence[Instruction]) -> str:
    names = [instruction.name for instruction in body]
    return next(phase for phase, one in PHASES.items() if any(map(one.match, names)))


def _in_blocks(trace: Trace, blocks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each block of a run is named."""
    return np.bincount(blocks, minlength=len(trace.blocks))


def _slow_accesses(trace: Trace, flash: Flash) -> npt.NDArray[np.int64]:
    """Accesses to the flash of each block, for which the core waits."""
    if not flash.wait_states:
        return _in_blocks(trace, np.zeros(0, np.int64))
    readers = trace.reads[:, 0] - 1
    lines = trace.reads[:, 1] // flash.line_bytes
    if flash.shared:
        blocks, fetched = _fetches(trace, flash)
        # A block is fetched before it reads.
        order = np.argsort(np.concatenate([2 * blocks, 2 * readers + 1]), kind="stable")
        missed = _misses(np.concatenate([fetched, lines])[order], flash.code_lines)
        slow = _in_blocks(trace, np.concatenate([blocks, readers])[order][missed])
        return slow * flash.line_accesses
    if flash.data_lines:
        readers = readers[_misses(lines, flash.data_lines)]
    slow = _in_blocks(trace, readers)
    if flash.code_lines:
        blocks, fetched = _fetches(trace, flash)
        slow += _in_blocks(trace, blocks[_misses(fetched, flash.code_lines)])
    return slow * flash.line_accesses


def _fetches(trace: Trace, flash: Flash) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each line of code that a run fetches: number of the block, and of the line."""
    first = trace.blocks[:, 0] // flash.line_bytes
    counts = (trace.blocks.sum(axis=1) - 1) // flash.line_bytes - first + 1
    blocks = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(blocks)) - np.repeat(np.cumsum(counts) - counts, counts)
    return blocks, first[blocks] + within


def _misses(lines: npt.NDArray[np.int64], capacity: int) -> list[int]:
    """Places of the accesses to lines that are not among those used last."""
    kept: collections.OrderedDict[int, None] = collections.OrderedDict()
    missed = list[int]()
    latest = None
    for place, line in enumerate(lines.tolist()):
        if line == latest:
            continue
        latest = line
        if line in kept:
            kept.move_to_end(line)
            continue
        missed.append(place)
        kept[line] = None
        if len(kept) > capacity:
            kept.popitem(last=False)
    return missed


def require_cycles_packages() -> None:
    """Check that cycles can be modelled.

    Raises:
        ConfigError: Unicorn is not installed; the message says how to install it.
    """
    require_modules("the model of cycles", "cycles", "unicorn")


def run_cycles(
    elf: Path,
    board: str,
    clips: npt.NDArray[np.int8],
    function: str = _RUN,
    call: int = 1,
    kernels: Sequence[str] = (),
) -> tuple[Cycles, bytes]:
    """Run a firmware and model the cycles of one call of a function.

    Args:
        elf: firmware of a board whose core is one of :data:`TIMINGS`.
        clips: int8, shape (n, ...): inputs in the shape that the firmware takes.
        function: its name; by default one run of the network.
        call: which of its calls, from 1 on.
        kernels: functions that it calls in this order, to model each of these calls.

    Returns:
        The modelled cost, and the bytes of the last clip's output.

    Raises:
        ConfigError: Unicorn is not installed.
        FirmwareError: the board has another core, the firmware does not finish, or it calls other
            kernels.
    """
    require_cycles_packages()
    facts = load_board(board)
    if facts.core not in TIMINGS:
        cores = ", ".join(TIMINGS)
        raise FirmwareError(f"{board} has no modelled cycles: name a board with one of {cores}")
    timings = TIMINGS[facts.core]
    trace = _Execution(elf, facts).run(clips, function, call)
    code = Disassembly(_tool("objdump", "-d", elf))
    (whole,) = cost_of(trace, code, timings)
    cost: Cycles = {
        "instructions": whole["instructions"],
        "cycles": whole["cycles"],
        "flash_reads": whole["flash_reads"],
    }
    if kernels:
        cost["calls"] = cost_of(trace, code, timings, _starts(trace, _symbols(elf), kernels))
    return cost, trace.output


def _starts(trace: Trace, symbols: Mapping[str, int], kernels: Sequence[str]) -> list[int]:
    """Numbers of the blocks with which functions begin that a run calls in the given order."""
    entries = {kernel: symbols[kernel] & ~1 for kernel in kernels}
    calls = iter(np.flatnonzero(np.isin(trace.blocks[:, 0], list(entries.values()))).tolist())
    starts = []
    for kernel in kernels:
        start = next((at for at in calls if trace.blocks[at, 0] == entries[kernel]), None)
        if start is None:
            raise FirmwareError(f"the firmware calls {kernel} less often than the network")
        starts.append(start)
    return starts


def _tool(name: str, option: str, elf: Path) -> str:
    done = subprocess.run(
        [f"arm-none-eabi-{name}", option, str(elf)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FirmwareError(f"{elf}: not a firmware ELF ({done.stderr.strip()}); build it again")
    return done.stdout


class _Execution:
    """A firmware in Unicorn, whose peripherals are memory, with a console that is read."""

    def __init__(self, elf: Path, board: Board) -> None:
        # Unicorn has no types.
        self._unicorn: Any = importlib.import_module("unicorn")
        self._arm: Any = importlib.import_module("unicorn.arm_const")
        self._elf, self._board, self._console = elf, board, UartLog()
        mode = self._unicorn.UC_MODE_THUMB | self._unicorn.UC_MODE_MCLASS
        self._cpu = self._unicorn.Uc(self._unicorn.UC_ARCH_ARM, mode)
        model = f"UC_CPU_ARM_CORTEX_{_UNICORN_CORES[board.core]}"
        self._cpu.ctl_set_cpu_model(getattr(self._arm, model))

    def run(self, clips: npt.NDArray[np.int8], function: str, call: int) -> Trace:
        """Run the firmware with some clips and record one call of a function."""
        cpu = self._cpu
        arm = self._arm
        uc = self._unicorn
        self._load(clips)
        symbols = _symbols(self._elf)
        uart = int(self._board.constants["uart_base"])
        cpu.hook_add(uc.UC_HOOK_MEM_WRITE, self._heard, begin=uart, end=uart + _UART_ROOM)
        begin = symbols[function] & ~1
        self._start(self._word(self._flash.start + 4), begin)
        for _ in range(call - 1):
            end = cpu.reg_read(arm.UC_ARM_REG_LR) & ~1
            self._start(begin, end)
            self._start(end, begin)
        # Numbers of 64 bits, because there are millions.
        blocks = array.array("q")
        reads = array.array("q")
        hooks = [
            cpu.hook_add(uc.UC_HOOK_BLOCK, lambda _, at, size, __: blocks.extend((at, size))),
            cpu.hook_add(
                uc.UC_HOOK_MEM_READ,
                self._reader(blocks, reads),
                begin=self._flash.start,
                end=self._flash.start + self._flash.bytes - 1,
            ),
        ]
        end = cpu.reg_read(arm.UC_ARM_REG_LR)
        self._start(begin, end & ~1)
        for hook in hooks:
            cpu.hook_del(hook)
        self._start(end, None)
        if self._console.done is None:
            raise FirmwareError(
                f"the firmware does not finish; its last lines: {self._console.tail()}"
            )
        output = self._console.clips[-1].output
        return Trace(_pairs(blocks), _pairs(reads), output)

    def _reader(self, blocks: array.array[int], reads: array.array[int]) -> Callable[..., None]:
        """The callback for reads from flash."""
        state = self._arm.UC_ARM_REG_XPSR

        def read(cpu: Any, _: int, at: int, __: int, ___: int, ____: Any) -> None:
            reads.extend((len(blocks) // 2, at))
            # Unicorn 2.1.4 sets the state of an IT block for the callback and does not take it
            # back: the next basic block would run under its condition.
            status = cpu.reg_read(state)
            if status & _IF_THEN:
                cpu.reg_write(state, status & ~_IF_THEN)

        return read

    @property
    def _flash(self) -> Any:
        return self._board.memory["flash"]

    def _word(self, address: int) -> int:
        return int.from_bytes(self._cpu.mem_read(address, 4), "little")

    def _load(self, clips: npt.NDArray[np.int8]) -> None:
        cpu = self._cpu
        arm = self._arm
        for memory in [*self._board.memory.values(), self._board.job]:
            cpu.mem_map(memory.start, -(-memory.bytes // _PAGE) * _PAGE)
        for start, size in _PERIPHERALS:
            cpu.mem_map(start, size)
        cpu.mem_write(self._flash.start, self._elf.with_suffix(".bin").read_bytes())
        image = job_image(clips, report_features=False, report_instructions=False)
        cpu.mem_write(self._board.job.start, image)
        cpu.reg_write(arm.UC_ARM_REG_SP, self._word(self._flash.start))

    def _start(self, begin: int, until: int | None) -> None:
        stop = self._flash.start + self._flash.bytes if until is None else until
        try:
            self._cpu.ctl_flush_tb()  # code that was translated before would run past the end
            self._cpu.emu_start(begin | 1, stop, timeout=_RESULT_TIMEOUT_US)
        except self._unicorn.UcError as error:
            place = self._cpu.reg_read(self._arm.UC_ARM_REG_PC)
            raise FirmwareError(
                f"the firmware stops at {place:#x} ({error}): {self._console.tail()}"
            ) from None

    def _heard(self, cpu: Any, _: int, at: int, __: int, value: int, ___: Any) -> None:
        if at == int(self._board.constants["uart_base"]):
            self._console.feed(bytes([value & 0xFF]))
            if self._console.done or self._console.error:
                cpu.emu_stop()


def _pairs(numbers: array.array[int]) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64).reshape(-1, 2)


def _symbols(elf: Path) -> dict[str, int]:
    lines = (line.split() for line in _tool("nm", "--defined-only", elf).splitlines())
    return {parts[2]: int(parts[0], 16) for parts in lines if len(parts) == 3}
