# SPDX-License-Identifier: Apache-2.0
"""Constants apart from the code: generated C reads them as numbered parts of a model.

Another training of the same network has other parts and the same code. So a program can take the
parts of a later training without a new firmware. If the code of both is the same text, the program
computes what the C of the later training computes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.checksum import LAYOUTS, array_bytes
from m3net_tf.compiler.constants import Constants, members_text
from m3net_tf.compiler.structures import Array, ArrayKey, Structure, round_up, structure_bytes

Part = Array | Structure

PART_ALIGNMENT = 16
"""Of each part in an image: the most that a kernel needs."""
_EXPONENTIALS = 256  # entries of a softmax's table, of which a network uses the first ones
_VALUES = r"^.*_(SHA256|ARENA_LOWER_BOUND_BYTES|SCALE|ZERO_POINT)\b.*\n"
"""Macros of a network that no code of its depends on."""


@dataclasses.dataclass
class Parts(Constants):
    """Constants that are parts of a model.

    A structure's pointers are empty. The code copies a structure that has any, and sets them. No
    choice depends on values: only the window and the stream of a network share parts.

    Attributes:
        parts: in the order of their numbers.
        names: their names in C.
    """

    parts: list[Part] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    _numbers: dict[tuple[ArrayKey, int], int] = dataclasses.field(default_factory=dict)
    _seen: dict[tuple[str, ArrayKey], list[npt.NDArray[Any]]] = dataclasses.field(
        default_factory=dict
    )

    def array(self, owner: str, array: Array) -> str:
        """Expression for an array."""
        return f"((const {array.ctype} *)parts[{self._number(owner, array)}])"

    def layer(
        self,
        owner: str,
        tag: str,
        layer: Structure,
        local: str,
        before: list[str],
        *,
        changes: bool,
    ) -> str:
        """Expression for the address of a structure, or of a copy with its pointers."""
        pointers = [(path, self._number(owner, array)) for path, array in _pointers(layer)]
        members = members_text(layer, lambda _: "0")
        number = self._add(layer, self._define_layer(f"{owner}_layer_{tag}", layer, members))
        source = f"(const {layer.ctype} *)parts[{number}]"
        if not pointers and not changes:
            return source
        before.append(f"{layer.ctype} {local} = *{source};")
        before += [f"{local}.{path} = parts[{part}];" for path, part in pointers]
        return f"&{local}"

    def value(self, owner: str, value: int) -> str:
        """Expression for a byte."""
        array = Array("value", "int8_t", np.array([value], np.int64))
        return f"*{self.array(owner, array)}"

    def _number(self, owner: str, array: Array) -> int:
        """The part of an array. Other arrays of the same network are other parts, even if equal."""
        array = _longest(array)
        seen = self._seen.setdefault((owner, array.key), [])
        place = next((at for at, each in enumerate(seen) if each is array.values), len(seen))
        if place == len(seen):
            seen.append(array.values)
        key = array.key, place
        if key not in self._numbers:
            self._numbers[key] = self._add(array, self._define_array(owner, array))
        return self._numbers[key]

    def _add(self, part: Part, name: str) -> int:
        self.parts.append(part)
        self.names.append(name)
        return len(self.parts) - 1

    def facts(self) -> dict[str, int | str]:
        """Macros: the number of parts, and their bytes in an image with each layout."""
        sizes = (
            sum(round_up(len(part_bytes(part, layout)), PART_ALIGNMENT) for part in self.parts)
            for layout in LAYOUTS
        )
        return {"PARTS": len(self.parts), "PARTS_BYTES": f"{{{', '.join(map(str, sizes))}}}"}

    def code(self, name: str) -> list[str]:
        """C of the parts of a network, and of the function that exchanges them."""
        addresses = "\n".join(f"    {self._address(number)}," for number in range(len(self.parts)))
        sizes = "\n".join(f"    sizeof({each})," for each in self.names)
        return [
            f"static const void *const {name}_exported[] = {{\n{addresses}\n}};",
            f"static const void *const *{name}_parts_in_use = {name}_exported;",
            f"void {name}_use(const void *const *parts) {{\n"
            f"  {name}_parts_in_use = parts ? parts : {name}_exported;\n}}",
            f"uint32_t {name}_part_bytes(uint32_t part) {{\n"
            f"  static const uint32_t bytes[] = {{\n{sizes}\n  }};\n"
            f"  return bytes[part];\n}}",
        ]

    def _address(self, number: int) -> str:
        reference = "&" if isinstance(self.parts[number], Structure) else ""
        return reference + self.names[number]

    def prologue(self, name: str) -> str:
        """First statement of a function of a network that reads parts."""
        return f"  const void *const *const parts = {name}_parts_in_use;"

    def declarations(self, name: str) -> list[str]:
        """C declarations of the functions of :meth:`code`."""
        return [
            "",
            "/// Makes all later runs read other parts, which outlast them and are of a network",
            "/// with the same STRUCTURE. Null: the exported ones.",
            f"void {name}_use(const void *const *parts);",
            "",
            "/// Bytes of a part, of which there are PARTS.",
            f"uint32_t {name}_part_bytes(uint32_t part);",
        ]

    def digest(self, functions: Iterable[str], facts: Iterable[str]) -> str:
        """SHA-256 of all that two networks have in common which can exchange their parts.

        Args:
            functions: C of the functions, which are the code.
            facts: macros of the network.
        """
        digest = hashlib.sha256()
        for text in functions:
            digest.update(re.sub(r"\s*//.*", "", text).encode() + b"\0")
        for text in facts:
            digest.update(re.sub(_VALUES, "", f"{text}\n", flags=re.MULTILINE).encode() + b"\0")
        for part in self.parts:
            sizes = (len(part_bytes(part, layout)) for layout in LAYOUTS)
            # A kernel that does not know a member does not compute the same.
            members = [field.name for field in dataclasses.fields(part)]
            digest.update(f"{part.ctype} {' '.join(map(str, [*sizes, *members]))}\n".encode())
        return digest.hexdigest()


def part_bytes(part: Part, layout: str) -> bytes:
    """Bytes of a part in the memory of a device with one of :data:`.checksum.LAYOUTS`."""
    return array_bytes(part, layout) if isinstance(part, Array) else structure_bytes(part)


def _pointers(layer: Structure, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Path in C of each pointer of a structure, and the array to which it points."""
    layer = layer.in_memory()
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        path = f"{prefix}{layer.member(field.name)}"
        if isinstance(value, Array):
            yield path, value
        elif isinstance(value, Structure):
            yield from _pointers(value, f"{path}.")


def _longest(array: Array) -> Array:
    """A table as long as any training makes it; no kernel reads what is added."""
    if array.label != "exponentials" or array.ctype != "int32_t":
        return array
    return dataclasses.replace(
        array, values=np.pad(array.values, (0, _EXPONENTIALS - len(array.values)))
    )
