# SPDX-License-Identifier: Apache-2.0
"""Last stage: a compiled network as C source and header, the same bytes for the same input."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.calls import Block, Call, View
from m3net_tf.compiler.checksum import intact_declaration, intact_definition
from m3net_tf.compiler.emit_stripes import StripeWriter
from m3net_tf.compiler.ends import end_notes
from m3net_tf.compiler.graph import Tensor
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.compiler.stripes import Stripe
from m3net_tf.compiler.structures import ROWS, Array, Structure, number_text
from m3net_tf.compiler.weights import BLOCKS
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.csource import blocks, c_linkage, defines, float_literal, guarded, notice
from m3net_tf.system.csource import string_literal as text_literal
from m3net_tf.system.errors import ConfigError

_LINE = 100
_ORIGIN = "by m3net compile; do not edit"
_INT16_SCRATCH = (
    "convolve",
    "convolve_16",
    "lstm",
    "lstm_16",
)  # kernels whose scratch memory is not of int32
_ENGINE_HEADER = "engine.h"
_STATES = (
    "/// Empties the states in the arena, which outlast a run: the next run continues the sequence",
    "/// of the one before. Call it before the first run and where a new sequence begins. In",
    "/// between, write nothing but the inputs into the arena.",
)
_NO_STATES = ("/// Does nothing: no run of this network depends on the one before.",)
_BLOCK_ITEMS = 16  # most items of a macro of weights
_TAPS_END = "\n    M3NET_TAPS_END"

Items = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class CSource:
    """The generated files.

    Attributes:
        header: declares the network and its sizes.
        source: constants and the function.
        constant_bytes: flash of weights, channels, tables, constant tensors and layers on a core
            with the DSP extension; without the function that checks them.
    """

    header: str
    source: str
    constant_bytes: int

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.h`` and ``<name>.c``."""
        write_text(folder / f"{name}.h", self.header)
        write_text(folder / f"{name}.c", self.source)


def emit(network: CompiledNetwork, name: str, hook: str = "") -> CSource:
    """The C of a network.

    Args:
        network: see :func:`m3net_tf.compiler.network.compile_network`.
        name: start of all names of C, and the files' name.
        hook: name of a C function ``void (const char *operation)`` to call after each kernel;
            the header declares it. '' for none.

    Raises:
        ConfigError: the name is no name of C.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(f"{name!r} is no name in C: use letters, digits and underscores")
    writer = _Writer(network, name, hook)
    statements = [writer.call(index, call) for index, call in enumerate(network.calls)]
    function = "\n".join(
        [f"void {name}_run(int8_t *arena) {{", *statements, "}"]
        if statements
        else [f"void {name}_run(int8_t *arena) {{", "  (void)arena;", "}"]
    )
    top = notice(_ORIGIN, line_comments=True) + "\n"
    includes = f'#include "{name}.h"\n\n#include "{_ENGINE_HEADER}"'
    intact = intact_definition(name, writer.arrays)
    source = top + blocks(
        includes, *writer.requirements(), *writer.constants, writer.reset(), function, intact
    )
    return CSource(top + _header(network, name, hook), source, writer.constant_bytes)


class _Writer:
    """The constants of a source file while its statements are made."""

    def __init__(self, network: CompiledNetwork, name: str, hook: str) -> None:
        self._network = network
        self._name = name
        self._hook = hook
        self._known: dict[tuple[str, bytes], str] = {}
        self._layers: dict[tuple[str, str], str] = {}
        self._kinds: dict[str, type[Structure]] = {}
        self.arrays: dict[str, Array] = {}
        self.constants: list[str] = []
        self.constant_bytes = 0

    def call(self, index: int, call: Call) -> str:
        """A comment, a call, and the call of the hook if there is one."""
        if isinstance(call, Stripe):
            text = StripeWriter(self, index, call).statement()
        else:
            arguments = [self._argument(index, call, item) for item in call.arguments]
            line = self.statement(2, call.kernel, arguments)
            text = f"  // {index}: {self.comment(call.comment)}\n{line}"
        if self._hook:
            text += f"\n  {self._hook}({text_literal(call.operator)});"
        return text

    def requirements(self) -> list[str]:
        """What the engine must have in common with this compiler, if there is anything."""
        conditions = [each for kind in self._kinds.values() for each in kind.requirements()]
        lines = "\n".join(f"M3NET_REQUIRE({condition});" for condition in conditions)
        return [lines] if lines else []

    def reset(self) -> str:
        """The function that empties the states."""
        lines = []
        for state in self._network.states:
            place = self._network.plan.places[state.block]
            for value, count in state.start:
                lines.append(f"  m3net_fill({value}, {count}, {_sum('arena', place)});")
                place += count
        return "\n".join(
            [f"void {self._name}_reset(int8_t *arena) {{", *(lines or ["  (void)arena;"]), "}"]
        )

    def statement(self, indent: int, kernel: str, arguments: list[str]) -> str:
        """The call of a kernel."""
        prefix = f"{' ' * indent}m3net_{kernel}("
        line = prefix + ", ".join(arguments) + ");"
        if len(line) > _LINE:
            line = prefix + (",\n" + " " * len(prefix)).join(arguments) + ");"
        return line

    def comment(self, text: str) -> str:
        """Text that cannot end a comment or the line."""
        return _comment(text)

    def _argument(self, index: int, call: Call, item: Any) -> str:
        if isinstance(item, int):
            return str(item)
        if isinstance(item, Structure):
            return "&" + self.constant_layer(str(index), item)
        if isinstance(item, Array):
            return self.array(item)
        if isinstance(item, Block):
            return self.scratch(call.kernel, item)
        assert isinstance(item, View)
        return self.place(item)

    def scratch(self, kernel: str, block: Block) -> str:
        """Scratch memory in the type that a kernel takes."""
        ctype = "int16_t" if kernel in _INT16_SCRATCH else "int32_t"
        return f"({ctype} *)(void *)({_sum('arena', self._network.plan.places[block])})"

    def place(self, view: View) -> str:
        """Where a view begins."""
        if view.block.data is not None:
            values = np.frombuffer(view.block.data + b"\0\0\0", np.int8).astype(np.int64)
            return _sum(self.array(Array("constant", "int8_t", values)), view.offset)
        return _sum("arena", self._network.plan.places[view.block] + view.offset)

    def array(self, array: Array) -> str:
        """Name of an array; equal arrays are one."""
        key = (array.ctype, array.values.tobytes() + str(array.values.shape).encode())
        if key not in self._known:
            name = f"{self._name}_{array.label}_{len(self._known)}"
            self._known[key] = name
            self.arrays[name] = array
            if array.ctype in ROWS:
                self._kinds[array.ctype] = ROWS[array.ctype]
            align = "M3NET_WORD_ALIGNED " if array.ctype in (*BLOCKS, "m3net_tap") else ""
            # The number of items of a layer's weights depends on the target.
            size = "" if align else len(array.values)
            self.constants.append(
                f"{align}static const {array.ctype} {name}[{size}] = {{\n{_items(array)}\n}};"
            )
            self.constant_bytes += array.size
        return self._known[key]

    def constant_layer(self, tag: str, layer: Structure) -> str:
        """Name of a structure; equal structures are one."""
        members = "\n".join(
            _wrapped(f"    .{name} = {value},") for name, value in layer.members(self.array).items()
        )
        key = (layer.ctype, members)
        if key not in self._layers:
            name = f"{self._name}_layer_{tag}"
            self._layers[key] = name
            self.constants.append(f"static const {layer.ctype} {name} = {{\n{members}\n}};")
            self._kinds[layer.ctype] = type(layer)
            self.constant_bytes += layer.device_bytes()
        return self._layers[key]


def _wrapped(line: str) -> str:
    """A line, broken at spaces where it is too long."""
    return textwrap.fill(
        line, _LINE, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )


def _sum(base: str, offset: int) -> str:
    if offset == 0:
        return base
    return f"{base} + {offset}" if offset > 0 else f"{base} - {-offset}"


def _items(array: Array) -> str:
    """Items of an array, wrapped."""
    values = array.values
    if array.ctype in BLOCKS:
        macro = f"{array.ctype.upper()}S"
        return "\n".join(line for group in values for line in _block_lines(macro, group))
    if array.ctype == "m3net_tap":
        return "\n".join(line for group in values for line in _tap_lines(group)) + _TAPS_END
    if values.ndim == 2:
        return "\n".join("    {" + ", ".join(number_text(v) for v in row) + "}," for row in values)
    lines, line = [], "   "
    for value in values:
        text = f" {number_text(value)},"
        if len(line) + len(text) > _LINE:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def _block_lines(macro: str, group: Items) -> list[str]:
    """Weights of a group of channels, shape (4, items): a macro for up to 16 items."""
    lines = []
    for start in range(0, group.shape[1], _BLOCK_ITEMS):
        part = group[:, start : start + _BLOCK_ITEMS]
        rows = [" " * 8 + ", ".join(map(str, row)) for row in part]
        lines += [f"    {macro}_{part.shape[1]}(", *(f"{row}," for row in rows)]
        lines[-1] = f"{rows[-1]}),"
    return lines


def _tap_lines(group: Items) -> list[str]:
    """Weights of a group of channels, shape (4, taps): a macro for two taps."""
    pairs = (group[:, start : start + 2] for start in range(0, group.shape[1], 2))
    return [f"    M3NET_TAPS({', '.join(map(str, pair.reshape(-1)))})," for pair in pairs]


def _comment(text: str) -> str:
    """Text that cannot end a comment or the line."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text).rstrip(
        "\\"
    )


def _header(network: CompiledNetwork, name: str, hook: str) -> str:
    prefix = f"{name.upper()}_"
    plan, notes = network.plan, end_notes(network.graph)
    settings: dict[str, int | str] = {
        "SHA256": text_literal(network.graph.sha256),
        "ARENA_BYTES": plan.arena_bytes,
        "ARENA_LOWER_BOUND_BYTES": plan.lower_bound,
        "STATE_BYTES": sum(state.block.size for state in network.states),
    }
    for which, views, tensors in (
        ("INPUT", network.inputs, network.graph.inputs),
        ("OUTPUT", network.outputs, network.graph.outputs),
    ):
        settings[f"{which}_COUNT"] = len(views)
        for index, (view, tensor) in enumerate(zip(views, tensors, strict=True)):
            settings.update(_end(f"{which}_{index}_", view, tensor, plan.places[view.block]))
    declaration = [
        "/// Memory that kernels also use as numbers of 16 and 32 bits.",
        "typedef union {",
        f"  int8_t bytes[{prefix}ARENA_BYTES];",
        f"  int16_t halves[{prefix}ARENA_BYTES / 2];",
        f"  int32_t words[{prefix}ARENA_BYTES / 4];",
        f"}} {name}_arena;",
        "",
        *(_STATES if network.states else _NO_STATES),
        f"void {name}_reset(int8_t *arena);",
        "",
        "/// Computes the outputs from the inputs in the bytes of an arena, or in allocated memory",
        "/// that is aligned to four bytes. The inputs are overwritten.",
        f"void {name}_run(int8_t *arena);",
        "",
        intact_declaration(name),
    ]
    if hook:
        declaration += [
            "",
            "/// The caller defines it; it is called after each kernel.",
            f"void {hook}(const char *operation);",
        ]
    return guarded(
        f"{prefix}H_",
        "#include <stddef.h>\n#include <stdint.h>",
        "\n".join([*(f"// {_comment(line)}." for line in notes), defines(prefix, settings)]),
        c_linkage(["\n".join(declaration)]),
        name_guard_at_end=True,
    )


def _end(prefix: str, view: View, tensor: Tensor, place: int) -> dict[str, int | str]:
    """Facts of an input or output."""
    return {
        f"{prefix}OFFSET": place + view.offset,
        f"{prefix}BYTES": tensor.size * tensor.item_bytes,
        f"{prefix}SCALE": float_literal(tensor.scale),
        f"{prefix}ZERO_POINT": f"({tensor.zero_point})",
    }
