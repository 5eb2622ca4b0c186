# SPDX-License-Identifier: Apache-2.0
"""Modelled clock cycles of a Cortex-M4: executed instructions times their published costs.

Unicorn executes the firmware and records the basic blocks of one run of the network and the words
that it reads from flash. Each instruction then costs what Arm's *Cortex-M4 Technical Reference
Manual* (DDI 0439, r0p1) says, plus what the board's flash makes the core wait.

Costs, by section 3.3 of the manual ("Instruction set summary"), in cycles:

- data processing, multiplication (also ``SMLAD`` and the long ones), saturation, packing: 1
  (table 3-1); division: 2 to 12, here 7;
- one load: 2; 1 if the instruction before it is a load of one register that does not give its
  address (3.3.3, "LDR [any] are pipelined when possible");
- one store: 1 with an immediate offset (the write buffer), else 2, or 1 after a load (3.3.3);
- ``LDM``, ``STM``, ``PUSH``, ``POP``, ``LDRD`` and ``STRD`` of N registers: 1 + N, never pipelined
  with their neighbours (3.3.3);
- one more for a load or store whose address the data-processing instruction before it computes
  (3.3.3);
- a branch that is not taken: 1; one that is taken: 1 + P, where P is 1 to 3 cycles in which the
  pipeline is filled again (table 3-1). Here P is 2 for a branch to a fixed address, which the core
  may fetch early, and 3 for one to an address in a register;
- instructions of the FPU: 1, multiply-accumulate 3, division and square root 14, loads as above
  (table 7-1).

What the model leaves out: cycles of an unaligned access, contention between fetch and data, and
that an instruction under ``IT`` may be skipped. Flash with lines is fully associative and replaces
the line that was used least recently; the lines have the chip's number and width.
"""

from __future__ import annotations

import array
import collections
import importlib
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import Board, load_board
from m3net_tf.boards.emulation.qemu import UartLog, job_image
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.extras import require_modules

CORE = "cortex-m4f"
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
        line_bytes: bytes that one access gives to the lines below.
        code_lines: lines that keep code; 0: code never waits.
        data_lines: lines that keep data; 0: each read of a datum waits.
    """

    wait_states: int
    line_bytes: int = 16
    code_lines: int = 0
    data_lines: int = 0


FLASHES: Mapping[str, Flash] = {
    "0 wait states": Flash(0),
    # Product specification 1.7: two wait states, and a cache for instructions only, of 2 KiB.
    "nRF52840": Flash(2, code_lines=128),
    # RM0090, 3.5.2: at 168 MHz five wait states; the ART accelerator has 64 lines of 128 bits for
    # instructions and 8 for data.
    "STM32F4": Flash(5, code_lines=64, data_lines=8),
}
"""Flash settings by name."""


PHASES: Mapping[str, re.Pattern[str]] = {
    "multiply": re.compile("smla"),
    "requantise": re.compile("smm|smull|ssat"),
    "gather": re.compile(""),
}
"""What a basic block of our kernels does -> the instructions that show it; the first one counts.

Loops that gather inputs have none of these instructions, and neither has the control around them.
"""


class Cycles(TypedDict):
    """Modelled cost of one run of a network on a Cortex-M4.

    Attributes:
        instructions: executed.
        cycles: modelled cycles by name of the flash setting, see :data:`FLASHES`.
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
class _Instruction:
    """An instruction of the disassembly; its mnemonic has no suffix of the width."""

    address: int
    size: int
    name: str
    operands: str

    @cached_property
    def registers(self) -> list[str]:
        return re.findall(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc|s\d+|d\d+)\b", self.operands)

    @property
    def listed(self) -> int:
        """Number of registers of a list in braces."""
        inside = self.operands.partition("{")[2].partition("}")[0]
        count = 0
        for part in filter(None, map(str.strip, inside.split(","))):
            first, _, last = part.partition("-")
            count += 1 if not last else _number(last) - _number(first) + 1
        return count * (2 if "d" in inside and not re.search(r"\b(r|s)", inside) else 1)

    @property
    def address_registers(self) -> list[str]:
        """Registers that give the address of a load or store."""
        inside = self.operands.partition("[")[2].partition("]")[0]
        if inside:
            return re.findall(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc)\b", inside)
        return self.registers[:1]

    @property
    def is_single_load(self) -> bool:
        return bool(re.match(r"(ldr(?!d|ex)|vldr)", self.name))

    @property
    def is_single_store(self) -> bool:
        return bool(re.match(r"(str(?!d|ex)|vstr)", self.name))

    @property
    def is_multiple(self) -> bool:
        return bool(re.match(r"(ldm|stm|push|pop|ldrd|strd|vldm|vstm|vpush|vpop)", self.name))

    @property
    def is_branch(self) -> bool:
        return bool(re.match(r"(b(?!ic|fi|fc|kpt)|cbz|cbnz|tb[bh])", self.name)) or (
            "pc" in self.registers and self.name.startswith(("ldr", "ldm", "pop", "mov", "add"))
        )

    @property
    def is_indirect(self) -> bool:
        return self.is_branch and not re.match(r"(b(?!x|lx)|cbz|cbnz|bl\b)", self.name)


_NAMED = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}


def _number(register: str) -> int:
    return _NAMED.get(register.strip()) or int(register.strip()[1:])


_SLOW = {"sdiv": 7, "udiv": 7, "vdiv": 14, "vsqrt": 14, "vmla": 3, "vmls": 3, "vfma": 3, "vfms": 3}
_REFILL, _INDIRECT_REFILL = 2, 3


def _cost(instruction: _Instruction, before: _Instruction | None) -> int:
    """Cycles of an instruction after another one, without the refill of a branch."""
    if instruction.is_multiple:
        words = 2 if instruction.name[:4] in ("ldrd", "strd") else instruction.listed
        return 1 + words + _address_stall(instruction, before)
    after_load = (
        before is not None
        and before.is_single_load
        and before.registers[0] not in instruction.address_registers
    )
    if instruction.is_single_load:
        return 1 if after_load else 2 + _address_stall(instruction, before)
    if instruction.is_single_store:
        buffered = after_load or len(instruction.address_registers) == 1
        return (1 if buffered else 2) + _address_stall(instruction, before)
    if instruction.name.startswith(("tbb", "tbh")):
        return 3
    return _SLOW.get(instruction.name.partition(".")[0], 1)


def _address_stall(instruction: _Instruction, before: _Instruction | None) -> int:
    """A cycle if the instruction before computes the address."""
    if before is None or before.is_single_load or before.is_single_store or before.is_multiple:
        return 0
    if before.is_branch or before.name.startswith(("cmp", "cmn", "tst", "teq", "it", "nop")):
        return 0
    written = before.registers[:1]
    return int(bool(written) and written[0] in instruction.address_registers)


def _refill(last: _Instruction) -> int:
    return _INDIRECT_REFILL if last.is_indirect else _REFILL


_LINE = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)[ \t]*([^;@<\n]*)", re.M)


class Disassembly:
    """The instructions of a firmware by address."""

    def __init__(self, text: str) -> None:
        self._at: dict[int, _Instruction] = {}
        for address, raw, name, operands in _LINE.findall(text):
            start = int(address, 16)
            size = len(raw.replace(" ", "")) // 2
            plain = name.removesuffix(".w").removesuffix(".n")
            self._at[start] = _Instruction(start, size, plain, operands.strip())

    def block(self, start: int, size: int) -> list[_Instruction]:
        """Instructions of a basic block.

        Raises:
            FirmwareError: the block is not in the disassembly.
        """
        instructions = []
        place = start
        while place < start + size:
            if place not in self._at:
                raise FirmwareError(f"the firmware ran {place:#x}, which is not code of its ELF")
            instructions.append(self._at[place])
            place += self._at[place].size
        return instructions


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
    trace: Trace, code: Disassembly, flashes: Mapping[str, Flash], starts: Sequence[int] = (0,)
) -> list[KernelCycles]:
    """The modelled cost of consecutive parts of a run.

    Args:
        flashes: settings by name.
        starts: numbers of the blocks with which the parts begin; the last part has the rest.
    """
    starts_and_sizes = trace.blocks[:, 0] << _SIZE_BITS | trace.blocks[:, 1]
    kinds, which = np.unique(starts_and_sizes, return_inverse=True)
    bodies = [code.block(*divmod(kind, 1 << _SIZE_BITS)) for kind in kinds.tolist()]
    costs = np.array([_body_cost(body) for body in bodies], np.int64)[which]
    refills = np.array([_refill(body[-1]) for body in bodies], np.int64)[which]
    jumped = trace.blocks[1:, 0] != trace.blocks[:-1].sum(axis=1)
    costs[:-1] += refills[:-1] * jumped
    costs[1:] += _of_neighbours(bodies, which) * ~jumped
    lengths = np.array([len(body) for body in bodies], np.int64)[which]
    phases = np.array([_phase(body) for body in bodies])[which]
    reads = _in_blocks(trace, trace.reads[:, 0] - 1)
    cycles = {
        name: costs + flash.wait_states * _slow_accesses(trace, flash)
        for name, flash in flashes.items()
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


def _phase(body: Sequence[_Instruction]) -> str:
    names = [instruction.name for instruction in body]
    return next(phase for phase, one in PHASES.items() if any(map(one.match, names)))


def _of_neighbours(
    bodies: Sequence[Sequence[_Instruction]], which: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """What each block but the first costs more (or less) because of the block before it.

    Unicorn also ends a block where a page ends, within a row of loads for instance.
    """
    neighbours, pair = np.unique(which[:-1] * len(bodies) + which[1:], return_inverse=True)
    pairs = ((bodies[at // len(bodies)][-1], bodies[at % len(bodies)][0]) for at in neighbours)
    more = [_cost(first, last) - _cost(first, None) for last, first in pairs]
    return np.array(more, np.int64)[pair]


def _body_cost(body: Sequence[_Instruction]) -> int:
    return sum(_cost(now, before) for before, now in pairwise([None, *body]) if now is not None)


def _in_blocks(trace: Trace, blocks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each block of a run is named."""
    return np.bincount(blocks, minlength=len(trace.blocks))


def _slow_accesses(trace: Trace, flash: Flash) -> npt.NDArray[np.int64]:
    """Accesses of each block that wait for the flash."""
    if not flash.wait_states:
        return _in_blocks(trace, np.zeros(0, np.int64))
    readers = trace.reads[:, 0] - 1
    addresses = trace.reads[:, 1]
    if flash.data_lines:
        readers = readers[_misses(addresses // flash.line_bytes, flash.data_lines)]
    slow = _in_blocks(trace, readers)
    if not flash.code_lines:
        return slow
    first = trace.blocks[:, 0] // flash.line_bytes
    counts = (trace.blocks.sum(axis=1) - 1) // flash.line_bytes - first + 1
    blocks = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(blocks)) - np.repeat(np.cumsum(counts) - counts, counts)
    return slow + _in_blocks(trace, blocks[_misses(first[blocks] + within, flash.code_lines)])


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
        elf: firmware of a board whose core is a Cortex-M4.
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
    if facts.core != CORE:
        raise FirmwareError(f"{board} has no modelled cycles: name a board with {CORE}")
    trace = _Execution(elf, facts).run(clips, function, call)
    code = Disassembly(_tool("objdump", "-d", elf))
    (whole,) = cost_of(trace, code, FLASHES)
    cost: Cycles = {
        "instructions": whole["instructions"],
        "cycles": whole["cycles"],
        "flash_reads": whole["flash_reads"],
    }
    if kernels:
        cost["calls"] = cost_of(trace, code, FLASHES, _starts(trace, _symbols(elf), kernels))
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
        self._cpu.ctl_set_cpu_model(self._arm.UC_CPU_ARM_CORTEX_M4)

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
