# SPDX-License-Identifier: Apache-2.0
"""The constants of generated C: arrays, and the structures of layers."""

import dataclasses
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.structures import (
    CHANNEL_PAIR,
    ITEM_STRUCTURES,
    TAPS,
    Array,
    ArrayKey,
    Structure,
    number_text,
    row_parts,
)
from m3net_tf.compiler.weights import BLOCKS, WINOGRAD_BLOCK, winograd_items

LINE = 100
"""Most characters of a line."""
_BLOCK_ITEMS = 16  # that a macro of weights takes at most
_TAPS_END = "\n    M3NET_TAPS_END"
_IN_LINES = (WINOGRAD_BLOCK, CHANNEL_PAIR)  # types that kernels read by lines of the flash

Items = npt.NDArray[np.int64]


@dataclasses.dataclass
class Constants:
    """The constants of a source file, each of them once.

    Attributes:
        in_ram: keys of arrays that lie in RAM.
        kinds: kinds of the structures, by their type in C.
        arrays: arrays by name.
        definitions: in C.
        size: see :class:`.CSource`.
    """

    in_ram: set[ArrayKey]
    kinds: dict[str, type[Structure]] = dataclasses.field(default_factory=dict)
    arrays: dict[str, Array] = dataclasses.field(default_factory=dict)
    definitions: list[str] = dataclasses.field(default_factory=list)
    size: int = 0
    _known: dict[ArrayKey, str] = dataclasses.field(default_factory=dict)
    _layers: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

    def requirements(self) -> list[str]:
        """Lines that refuse to compile with an engine of other structures."""
        conditions = [each for kind in self.kinds.values() for each in kind.requirements()]
        lines = "\n".join(f"M3NET_REQUIRE({condition});" for condition in conditions)
        return [lines] if lines else []

    def array(self, owner: str, array: Array) -> str:
        """Expression for an array; equal arrays are one.

        Args:
            owner: network that reads it, which is the start of its name.
        """
        if array.key not in self._known:
            self._known[array.key] = self._define_array(owner, array)
        return self._known[array.key]

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
        """Expression for the address of a structure; equal structures are one.

        Args:
            owner: as for :meth:`array`; ``tag`` is the end of its name.
            local: name of a copy that may be made of it.
            before: gets the statements that make the copy.
            changes: whether the caller needs a copy, because it changes it.
        """
        members = members_text(layer, lambda array: self.array(owner, array))
        key = (layer.ctype, members)
        if key not in self._layers:
            self._layers[key] = self._define_layer(f"{owner}_layer_{tag}", layer, members)
        name = self._layers[key]
        if not changes:
            return f"&{name}"
        before.append(f"{layer.ctype} {local} = {name};")
        return f"&{local}"

    def _define_array(self, owner: str, array: Array) -> str:
        name = f"{owner}_{array.label}_{len(self.arrays)}"
        self.arrays[name] = array
        if array.ctype in ITEM_STRUCTURES:
            kind = ITEM_STRUCTURES[array.ctype]
            self.kinds[kind.ctype] = kind
        align = "M3NET_WORD_ALIGNED " if array.ctype in (*BLOCKS, *TAPS) else ""
        align = "M3NET_LINE_ALIGNED " if array.ctype in _IN_LINES else align
        place = "M3NET_IN_RAM " if array.key in self.in_ram else ""
        # The size of a layer's weights depends on the target, and two channels are one item.
        size = "" if align else len(array.values)
        self.definitions.append(
            f"{align}{place}static const {array.ctype} {name}[{size}] = {{\n{_items(array)}\n}};"
        )
        self.size += array.size
        return name

    def _define_layer(self, name: str, layer: Structure, members: str) -> str:
        self.definitions.append(f"static const {layer.ctype} {name} = {{\n{members}\n}};")
        self.kinds[layer.ctype] = type(layer)
        self.size += layer.device_bytes()
        return name


def members_text(layer: Structure, name_of: Any) -> str:
    """The initial values of a structure's members in C; see :meth:`.Structure.members`."""
    return "\n".join(
        _wrapped(f"    .{name} = {value},") for name, value in layer.members(name_of).items()
    )


def _wrapped(line: str) -> str:
    """A long line, broken at spaces."""
    return textwrap.fill(
        line, LINE, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )


def _items(array: Array) -> str:
    """Items of an array, wrapped."""
    values = array.values
    if array.ctype == WINOGRAD_BLOCK:
        return _winograd_text(values)
    if array.ctype in BLOCKS:
        macro = f"{array.ctype.upper()}S"
        return "\n".join(line for group in values for line in _block_lines(macro, group))
    if array.ctype in TAPS:
        taps = (line for group in values for line in _tap_lines(array.ctype, group))
        return "\n".join(taps) + _TAPS_END
    if values.ndim == 2:
        usual, brief = row_parts(array)
        row_text = _pair_text if array.ctype == CHANNEL_PAIR else _row_text
        if brief is None:
            return row_text(usual)
        return f"#if M3NET_ENGINE_BRIEF\n{row_text(brief)}\n#else\n{row_text(usual)}\n#endif"
    lines, line = [], "   "
    for value in values:
        text = f" {number_text(value)},"
        if len(line) + len(text) > LINE:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def _row_text(rows: Items) -> str:
    return "\n".join("    {" + ", ".join(number_text(v) for v in row) + "}," for row in rows)


def _pair_text(rows: Items) -> str:
    pairs = (", ".join(map(number_text, pair)) for pair in rows.reshape(-1, 2 * rows.shape[1]))
    return "\n".join(f"    M3NET_CHANNELS({pair})," for pair in pairs)


def _winograd_text(values: Items) -> str:
    """Weights in both forms, of which the target takes one."""
    rows = winograd_items(values).reshape(-1, 3, 16)
    lines = ["#if M3NET_ENGINE_WINOGRAD"]
    for row in rows:
        parts = [", ".join(map(str, part)) for part in row]
        lines += [f"    {{{{{parts[0]},", f"      {parts[1]},", f"      {parts[2]}}}}},"]
    lines.append("#else")
    lines += [line for group in values for line in _block_lines("M3NET_BLOCKS", group)]
    return "\n".join([*lines, "#endif"])


def _block_lines(macro: str, group: Items) -> list[str]:
    """Weights of a group of channels, shape (4, items): a macro for up to 16 items."""
    lines = []
    for start in range(0, group.shape[1], _BLOCK_ITEMS):
        part = group[:, start : start + _BLOCK_ITEMS]
        lines += _macro_lines(f"{macro}_{part.shape[1]}", part)
    return lines


def _macro_lines(macro: str, rows: Items) -> list[str]:
    texts = [" " * 8 + ", ".join(map(str, row)) for row in rows]
    return [f"    {macro}(", *(f"{text}," for text in texts[:-1]), f"{texts[-1]}),"]


def _tap_lines(ctype: str, group: Items) -> list[str]:
    """Weights of a group of channels, shape (4, taps): a macro for two taps, or for all."""
    if ctype != TAPS[0]:
        return _macro_lines(f"{ctype.upper()}S", group)
    pairs = (group[:, start : start + 2] for start in range(0, group.shape[1], 2))
    return [f"    M3NET_TAPS({', '.join(map(str, pair.reshape(-1)))})," for pair in pairs]
