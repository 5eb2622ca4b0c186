# SPDX-License-Identifier: Apache-2.0
"""Published costs of instructions on a Cortex-M4, a Cortex-M33 and a Cortex-M7, in cycles.

**Cortex-M4.** Arm, *Cortex-M4 Technical Reference Manual* (DDI 0439, r0p1), section 3.3:

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

**Cortex-M33.** We know of no table by Arm. The costs are measurements of an RP2350 (r1p0) in
https://github.com/jnk0le/random, ``pipeline cycle test/doc/cortex_m33.md`` (commit 14b71da): one
instruction a cycle; a result of a load, a multiplication, a widening addition or an operation on a
shifted operand is there a cycle later than others, except for sums and stores;
``LDM`` and its like take N cycles, ``LDRD`` two; a taken branch takes 2. A second instruction of 16
bits issues with a first one of 16 bits if it is a ``B``, a ``NOP`` or an ``IT``. What is not
measured there (division, branches to an address in a register, the FPU) costs what it costs on a
Cortex-M4, as in LLVM, whose scheduler has one model for both (``ARMProcessors.td``).

**Cortex-M7.** We know of no table by Arm. LLVM's scheduler has a model of the core
(``llvm/lib/Target/ARM/ARMScheduleM7.td``, commit 6a55533): which instructions issue together, and
after how many cycles a result is there. ``LDM`` and its like take half a cycle a register, and a
mispredicted branch at most 8 cycles, by measurements of an STM32H743
(``pipeline cycle test/doc/cortex_m7.md``, commit 0b9c602). The best case issues all pairs of
neighbours that the model permits, and predicts each branch. The worst case issues one instruction a
cycle, and mispredicts each branch that goes elsewhere than the last time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from m3net_tf.boards.emulation.instructions import Instruction, Operands

_Body = Sequence[Instruction]


class CoreCosts(Protocol):
    """What instructions cost on a core."""

    @property
    def joins_jumps(self) -> bool:
        """Whether an instruction may issue together with a branch that leads to it."""

    def cycles(self, body: _Body) -> int:
        """Cycles of consecutive instructions, without what a taken branch at the end adds."""

    def refill(self, body: _Body) -> int:
        """Cycles that the branch at the end of a basic block adds if it is taken."""


_SLOW = {"sdiv": 7, "udiv": 7, "vdiv": 14, "vsqrt": 14, "vmla": 3, "vmls": 3, "vfma": 3, "vfms": 3}
_REFILL, _INDIRECT_REFILL = 2, 3
_TABLE_BRANCH = 3


def _slow(instruction: Instruction) -> int:
    return _SLOW.get(instruction.name.partition(".")[0], 1)


class CortexM4:
    """The Cortex-M4: costs depend on the instruction and the one before."""

    joins_jumps = False

    def cycles(self, body: _Body) -> int:
        """Cycles of consecutive instructions."""
        return sum(
            _cost_on_m4(now, before) for before, now in pairwise([None, *body]) if now is not None
        )

    def refill(self, body: _Body) -> int:
        """Cycles that a taken branch adds."""
        return _INDIRECT_REFILL if body[-1].is_indirect else _REFILL


def _cost_on_m4(instruction: Instruction, before: Instruction | None) -> int:
    """Cycles of an instruction after another one, without the refill of a branch."""
    if instruction.is_multiple:
        return 1 + instruction.words + _address_stall(instruction, before)
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
    return _TABLE_BRANCH if instruction.name.startswith(("tbb", "tbh")) else _slow(instruction)


def _address_stall(instruction: Instruction, before: Instruction | None) -> int:
    """A cycle if the instruction before computes the address."""
    if before is None or before.is_single_load or before.is_single_store or before.is_multiple:
        return 0
    if before.is_branch or before.name.startswith(("cmp", "cmn", "tst", "teq", "it", "nop")):
        return 0
    written = before.registers[:1]
    return int(bool(written) and written[0] in instruction.address_registers)


@dataclass(frozen=True)
class _Pipeline:
    """How a core issues instructions in their order, one group of them a cycle.

    Attributes:
        pairs: whether an instruction issues together with the one before it.
        occupies: cycles for which an instruction keeps others from issuing.
        latency: cycles until a result can be read as a plain operand of a later instruction.
        early: more cycles for which an address or an operand to shift waits for a result. A sum
            and a store wait for a cycle less.
    """

    pairs: Callable[[Instruction, Instruction], bool]
    occupies: Callable[[Instruction], int]
    latency: Callable[[Instruction], int]
    early: Callable[[Instruction], int]

    def issue(self, body: _Body) -> int:
        """Cycles until the last instruction has issued."""
        now, group = 0, list[Instruction]()
        ready: dict[str, tuple[int, int]] = {}
        for instruction in body:
            earliest = _earliest(instruction.uses, ready)
            if len(group) == 1 and earliest <= now and self.pairs(group[0], instruction):
                group.append(instruction)
            else:
                if group:
                    now += max(map(self.occupies, group))
                now = max(now, earliest)
                group = [instruction]
            for register in instruction.uses.written:
                ready[register] = now + self.latency(instruction), self.early(instruction)
            for register in instruction.uses.updated:
                ready[register] = now + 1, 0
        return now + max(map(self.occupies, group), default=0)


def _earliest(uses: Operands, ready: Mapping[str, tuple[int, int]]) -> int:
    """The first cycle in which all operands are there."""
    cycles = [ready[register][0] for register in uses.plain if register in ready]
    early = (*uses.address, *uses.shifted)
    cycles += [sum(ready[register]) for register in early if register in ready]
    late = (*uses.accumulated, *uses.stored)
    cycles += [ready[register][0] - 1 for register in late if register in ready]
    return max(cycles, default=0)


def _is_16_bit(instruction: Instruction) -> bool:
    return instruction.size == 2


_BRANCH = re.compile(r"b(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?$")
_SETS_FLAGS = re.compile(r"cmp|cmn|tst|teq|(add|sub|rsb|adc|sbc|mov|mvn|and|orr|eor|bic|mul)s$")
_SHIFT_SETS_FLAGS = re.compile(r"(lsl|lsr|asr|ror)s$")


def _sets_flags(instruction: Instruction) -> bool:
    return bool(_SETS_FLAGS.match(instruction.name) or _SHIFT_SETS_FLAGS.match(instruction.name))


def _pairs_on_m33(first: Instruction, second: Instruction) -> bool:
    if not (_is_16_bit(first) and _is_16_bit(second)):
        return False
    name = second.name
    return bool(_BRANCH.match(name) or name == "nop" or re.match(r"it[te]*$", name))


def _occupies_on_m33(instruction: Instruction) -> int:
    if instruction.is_multiple:
        return instruction.words
    if instruction.name == "muls":
        return 2
    return _TABLE_BRANCH if instruction.name.startswith(("tbb", "tbh")) else _slow(instruction)


def _latency_on_m33(instruction: Instruction) -> int:
    is_slow = (
        instruction.is_single_load
        or instruction.is_multiple
        or instruction.multiplies
        or instruction.shifts_operand
        or re.match("[su]xta", instruction.name)
    )
    return _occupies_on_m33(instruction) + (1 if is_slow and instruction.name != "muls" else 0)


class CortexM33:
    """The Cortex-M33: one instruction a cycle, and some branches for nothing."""

    joins_jumps = False
    _pipeline = _Pipeline(
        pairs=_pairs_on_m33,
        occupies=_occupies_on_m33,
        latency=_latency_on_m33,
        early=lambda _: 0,
    )

    def cycles(self, body: _Body) -> int:
        """Cycles of consecutive instructions."""
        return self._pipeline.issue(body)

    def refill(self, body: _Body) -> int:
        """Cycles that a taken branch adds."""
        last = body[-1]
        if last.is_indirect:
            return _INDIRECT_REFILL
        pairs = len(body) > 1 and _pairs_on_m33(body[-2], last)
        return 2 if pairs and _sets_flags(body[-2]) else 1


_SIMD = re.compile(
    r"[su]xt|[su]bfx|[su]sat|pkh|rev|rbit|q(d)?(add|sub)|[su]h?(add|sub)(8|16)|sel$|usad"
)
_FIRST_ONLY = re.compile(r"bfi|bfc|clz|ldrex")
_ALONE = re.compile(r"[su]div|tb[bh]|v?mrs|v?msr|dmb|dsb|isb|cpsi|svc|bkpt|strex")
_SHIFTS = re.compile(r"bf[ic]|[su]xta|pkh|[su]bfx|[su]sat|rev|rbit|lsl|lsr|asr|ror")
_EARLY_ALU = re.compile(r"(add|sub)s?w?$|movs?$")


def _units_of_m7(instruction: Instruction) -> set[str]:
    """What only one instruction of a cycle can use; two loads and two operations fit."""
    units = set()
    if instruction.is_single_store:
        units.add("store")
    if instruction.multiplies:
        units.add("multiply")
    if instruction.is_branch:
        units.add("branch")
    if _SIMD.match(instruction.name):
        units.add("simd")
    if instruction.shifts_operand or _SHIFTS.match(instruction.name):
        units.add("shift")
    if instruction.name.startswith("v") and not instruction.is_single_load:
        units.add("float")
    return units


def _pairs_on_m7(first: Instruction, second: Instruction) -> bool:
    if any(one.is_multiple or _ALONE.match(one.name) for one in (first, second)):
        return False
    if _SIMD.match(second.name) or _FIRST_ONLY.match(second.name):
        return False
    if first.is_branch:
        return True
    return not _units_of_m7(first) & _units_of_m7(second)


_SLOW_ON_M7 = {"sdiv": 7, "udiv": 7, "vdiv": 16, "vsqrt": 16}


def _occupies_on_m7(instruction: Instruction) -> int:
    if instruction.is_multiple:
        return -(-instruction.words // 2)
    if instruction.name.startswith(("tbb", "tbh")):
        return 2
    return _SLOW_ON_M7.get(instruction.name.partition(".")[0], 1)


_SLOW_LOAD = re.compile(r"ldrs?[bh]")
_TWO_CYCLES = re.compile(r"q(d)?(add|sub)|[su]sat|usad")


def _latency_on_m7(instruction: Instruction) -> int:
    name = instruction.name
    if instruction.is_multiple:
        return _occupies_on_m7(instruction)
    if instruction.multiplies or _SLOW_LOAD.match(name) or _TWO_CYCLES.match(name):
        return 2
    if name.startswith("v") and not (instruction.is_single_load or instruction.is_single_store):
        return 3
    return _occupies_on_m7(instruction)


def _early_on_m7(instruction: Instruction) -> int:
    """How much longer an address waits; results of the first arithmetic unit are in time."""
    in_time = _EARLY_ALU.match(instruction.name) and not instruction.shifts_operand
    return 0 if in_time else 1


class CortexM7:
    """The Cortex-M7, whose branches are predicted.

    Attributes:
        dual: whether two instructions issue in a cycle where they may.
    """

    def __init__(self, dual: bool) -> None:
        self.joins_jumps = dual
        self._pipeline = _Pipeline(
            pairs=_pairs_on_m7 if dual else lambda first, second: False,
            occupies=_occupies_on_m7,
            latency=_latency_on_m7,
            early=_early_on_m7,
        )

    def cycles(self, body: _Body) -> int:
        """Cycles of consecutive instructions."""
        return self._pipeline.issue(body)

    def refill(self, body: _Body) -> int:
        """Cycles that a taken branch adds: none, because it is predicted."""
        return 0
