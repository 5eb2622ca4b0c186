# SPDX-License-Identifier: Apache-2.0
"""The instructions of a firmware, by the disassembly of GNU objdump, and what each reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from m3net_tf.system.errors import FirmwareError

_CORE_REGISTER = re.compile(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc)\b")
_REGISTER = re.compile(r"\b(?:r\d+|sl|fp|ip|sp|lr|pc|s\d+|d\d+)\b")
_SHIFTED = re.compile(r"(\w+), (?:lsl|lsr|asr|ror) #")
_LONG_MULTIPLY = re.compile(r"[su]ml(a|s)l|umaal")
_ACCUMULATES = re.compile(r"ml[as](?!l)|smla(?!l)|sml[s]d|smml[as]|usada8")
_WIDENING_ADD = re.compile(r"[su]xta")
_KEEPS_FIRST = re.compile(r"movt|bfi|bfc|v(f?n?ml[as]|fn?m[as])")
_ONE_SOURCE = re.compile(r"mov(?!t)|mvn|neg|clz|rbit|rev|[su]xt[bh]|[su]sat|[su]bfx|vmov|vcvt|vneg")
_COMPARES = re.compile(r"cmp|cmn|tst|teq|vcmp")
_NAMED = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}


@dataclass(frozen=True)
class Operands:
    """The registers of an instruction by their use.

    Attributes:
        written: for its result.
        updated: an address that it moves on.
        plain: that it reads as operands.
        address: of a load or store.
        shifted: that it shifts before use.
        accumulated: to which it adds a product, or a widened value.
        stored: that it stores.
    """

    written: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    shifted: tuple[str, ...] = ()
    accumulated: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instruction:
    """An instruction of the disassembly; its mnemonic has no suffix of the width."""

    address: int
    size: int
    name: str
    operands: str

    @cached_property
    def registers(self) -> list[str]:
        """All of its registers, in their order."""
        return _REGISTER.findall(self.operands)

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
        return _CORE_REGISTER.findall(inside) if inside else self.registers[:1]

    @cached_property
    def is_single_load(self) -> bool:
        """Whether it loads one register."""
        return bool(re.match(r"(ldr(?!d|ex)|vldr)", self.name))

    @cached_property
    def is_single_store(self) -> bool:
        """Whether it stores one register."""
        return bool(re.match(r"(str(?!d|ex)|vstr)", self.name))

    @cached_property
    def is_multiple(self) -> bool:
        """Whether it loads or stores several registers."""
        return bool(re.match(r"(ldm|stm|push|pop|ldrd|strd|vldm|vstm|vpush|vpop)", self.name))

    @property
    def words(self) -> int:
        """Number of registers that such an instruction loads or stores."""
        return 2 if self.name[:4] in ("ldrd", "strd") else self.listed

    @cached_property
    def is_branch(self) -> bool:
        """Whether it may continue elsewhere."""
        return bool(re.match(r"(b(?!ic|fi|fc|kpt)|cbz|cbnz|tb[bh])", self.name)) or (
            "pc" in self.registers and self.name.startswith(("ldr", "ldm", "pop", "mov", "add"))
        )

    @property
    def is_indirect(self) -> bool:
        """Whether a register or memory gives the place."""
        return self.is_branch and not re.match(r"(b(?!x|lx)|cbz|cbnz|bl\b)", self.name)

    @cached_property
    def multiplies(self) -> bool:
        """Whether it is a multiplication of integers."""
        return bool(re.match(r"mul|ml[as]|sm[lmu]|um[lau]|usad", self.name))

    @cached_property
    def shifts_operand(self) -> bool:
        """Whether it shifts a register before its own operation; moves only shift."""
        return not self.name.startswith("mov") and bool(_SHIFTED.search(self.operands))

    @cached_property
    def uses(self) -> Operands:
        """Its registers by their use."""
        if self.is_single_load or self.is_single_store or self.is_multiple:
            return self._memory_uses()
        if self.is_branch or not self.registers:
            return Operands(plain=tuple(self.registers))
        if _COMPARES.match(self.name):
            return Operands(plain=tuple(self.registers))
        first, *others = self.registers
        if _LONG_MULTIPLY.match(self.name):
            both = (first, others[0])
            return Operands(both, plain=tuple(others[1:]), accumulated=both)
        if re.match(r"[su]mull", self.name):
            return Operands((first, others[0]), plain=tuple(others[1:]))
        if _ACCUMULATES.match(self.name):
            return Operands((first,), plain=tuple(others[:2]), accumulated=tuple(others[2:]))
        if _WIDENING_ADD.match(self.name):
            return Operands((first,), shifted=tuple(others[1:]), accumulated=tuple(others[:1]))
        if _KEEPS_FIRST.match(self.name):
            return Operands((first,), plain=tuple(others), accumulated=(first,))
        if len(others) == 1 and not _ONE_SOURCE.match(self.name):
            others = [first, *others]  # "add r0, r1" is short for "add r0, r0, r1"
        shifted = tuple(_SHIFTED.findall(self.operands)) if self.shifts_operand else ()
        plain = tuple(register for register in others if register not in shifted)
        return Operands((first,), plain=plain, shifted=shifted)

    def _memory_uses(self) -> Operands:
        registers = self.registers
        is_load = self.name.startswith(("ldr", "ldm", "pop", "vldr", "vldm", "vpop"))
        if "[" in self.operands:
            data = registers[: 2 if self.name[:4] in ("ldrd", "strd") else 1]
            address = self.address_registers
            updates = "!" in self.operands or "]," in self.operands
        else:
            inside = self.operands.partition("{")[2]
            data = _REGISTER.findall(inside)
            address = ["sp"] if self.operands.startswith("{") else registers[:1]
            updates = "!" in self.operands or address == ["sp"]
        base = tuple(address[:1]) if updates else ()
        if is_load:
            return Operands(tuple(data), base, address=tuple(address))
        return Operands(updated=base, address=tuple(address), stored=tuple(data))


def _number(register: str) -> int:
    return _NAMED.get(register.strip()) or int(register.strip()[1:])


_LINE = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)[ \t]*([^;@<\n]*)", re.M)


class Disassembly:
    """The instructions of a firmware by address."""

    def __init__(self, text: str) -> None:
        self._at: dict[int, Instruction] = {}
        for address, raw, name, operands in _LINE.findall(text):
            start = int(address, 16)
            size = len(raw.replace(" ", "")) // 2
            plain = name.removesuffix(".w").removesuffix(".n")
            self._at[start] = Instruction(start, size, plain, operands.strip())

    def block(self, start: int, size: int) -> list[Instruction]:
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
