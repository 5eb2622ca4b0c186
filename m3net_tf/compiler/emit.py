# SPDX-License-Identifier: Apache-2.0
"""Last stage: a compiled network as C source and header, the same bytes for the same input."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3net_tf.compiler.calls import Block, Call, View
from m3net_tf.compiler.checksum import intact_declaration, intact_definition
from m3net_tf.compiler.constants import LINE, Constants
from m3net_tf.compiler.names import require_name
from m3net_tf.compiler.network import CompiledNetwork, Push
from m3net_tf.compiler.parts import Part, Parts
from m3net_tf.compiler.stripes import LINE_MEMBERS, ROWS, Lines, Stage, Stripe, line_layer
from m3net_tf.compiler.structures import Array, Structure
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.csource import blocks, c_linkage, defines, float_literal, guarded, notice
from m3net_tf.system.csource import string_literal as text_literal
from m3net_tf.tflite.ends import end_notes
from m3net_tf.tflite.graph import Tensor

_ORIGIN = "by m3net compile; do not edit"
_INT16_SCRATCH = (
    "convolve",
    "convolve_16",
    "lstm",
    "lstm_16",
)  # kernels whose scratch memory does not consist of int32
_ENGINE_HEADER = "engine.h"
_STATES = (
    "/// Empties the states in the arena, which outlast a run: the next run continues the sequence",
    "/// of the one before. Call it before the first run and where a new sequence begins. In",
    "/// between, write nothing but the inputs into the arena.",
)
_NO_STATES = ("/// Does nothing: no run of this network depends on the one before.",)
_RUN = (
    "/// Computes the outputs from the inputs in the bytes of an arena, or in allocated memory",
    "/// that is aligned to four bytes. The inputs are overwritten.",
)
_CONTINUED = "/// A run continues the sequence of the one before: {}_reset begins a new one."
_PUSH_RESET = (
    "/// Begins a new stream in the bytes of an arena, or in allocated memory that is aligned to",
    "/// four bytes. In between, write nothing into the arena.",
)
_PUSH = (
    "/// Takes the next HOP lines of each input, and computes the outputs for the WINDOW lines",
    "/// that end there. Returns 1, or 0 as long as no whole window has been pushed since the",
    "/// reset: the outputs then mean nothing.",
)


@dataclasses.dataclass(frozen=True)
class CSource:
    """The generated files.

    Attributes:
        header: declares the network and its sizes.
        source: constants and the function.
        constant_bytes: flash of weights, channels, tables, constant tensors and layers on a core
            with the DSP extension; without the function that checks them.
        parts: the constants that can be exchanged, in the order of their numbers.
    """

    header: str
    source: str
    constant_bytes: int
    parts: tuple[Part, ...] = ()

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.h`` and ``<name>.c``."""
        write_text(folder / f"{name}.h", self.header)
        write_text(folder / f"{name}.c", self.source)


def emit(network: CompiledNetwork, name: str, hook: str = "", *, apart: bool = False) -> CSource:
    """The C of a network, and of its stream by the name ``<name>_stream``.

    Args:
        network: see :func:`m3net_tf.compiler.network.compile_network`.
        name: prefix of all names in C, and name of the files.
        hook: name of a C function ``void (const char *operation)`` to call after each kernel;
            the header declares it. '' for none.
        apart: whether the constants are parts that can be exchanged (:mod:`.parts`).

    Raises:
        ConfigError: see :func:`m3net_tf.compiler.names.require_name`.
    """
    require_name(name)
    kind = Parts if apart else Constants
    constants = kind({*network.in_ram, *(network.stream.in_ram if network.stream else ())})
    functions = _Writer(network, name, hook, constants).functions()
    if network.stream is not None:
        stream = _Writer(network.stream, _stream_name(name), hook, constants, name)
        functions += stream.functions()
    top = notice(_ORIGIN, line_comments=True) + "\n"
    includes = f'#include "{name}.h"\n\n#include "{_ENGINE_HEADER}"'
    intact = intact_definition(name, constants.arrays)
    facts, declarations, exchange = _facts_of(network, name), list[str](), list[str]()
    parts: tuple[Part, ...] = ()
    if isinstance(constants, Parts):
        parts = tuple(constants.parts)
        digest = constants.digest(functions, facts)
        values = {**constants.facts(), "STRUCTURE": text_literal(digest)}
        facts.append(defines(f"{name.upper()}_", values))
        declarations, exchange = constants.declarations(name), constants.code(name)
    source = top + blocks(
        includes,
        *constants.requirements(),
        *constants.definitions,
        *exchange,
        *functions,
        intact,
    )
    header = _header(network, name, hook, facts, declarations)
    return CSource(top + header, source, constants.size, parts)


def _facts_of(network: CompiledNetwork, name: str) -> list[str]:
    """Macros of a network, and of its stream."""
    facts = [_facts(network, name)]
    if network.stream is not None:
        facts.append(_facts(network.stream, _stream_name(name)))
    return facts


def _stream_name(name: str) -> str:
    return f"{name}_stream"


class _Writer:
    """The functions of a network, and the constants that they need."""

    def __init__(
        self,
        network: CompiledNetwork,
        name: str,
        hook: str,
        constants: Constants,
        owner: str = "",
    ) -> None:
        self._network = network
        self._name = name
        self._owner = owner or name  # whose constants they are
        self._hook = hook
        self._constants = constants

    def functions(self) -> list[str]:
        """The function that resets the states, and the one that computes the outputs."""
        network = self._network
        statements = [self.call(index, call) for index, call in enumerate(network.calls)]
        if network.push is not None:
            statements.append(f"  return {self.count_push(network.push)};")
        prototype = f"{_prototype(network, self._name)} {{"
        compute = [prototype, *self._prologue(statements), *(statements or ["  (void)arena;"])]
        return [self.reset(), "\n".join([*compute, "}"])]

    def _prologue(self, statements: list[str]) -> list[str]:
        """What a function needs before statements that read parts."""
        if not isinstance(self._constants, Parts) or "parts[" not in "".join(statements):
            return []
        return [self._constants.prologue(self._owner)]

    def _value(self, value: int) -> str:
        """A number that another training may change."""
        if isinstance(self._constants, Parts):
            return self._constants.value(self._name, value)
        return str(value)

    def call(self, index: int, call: Call) -> str:
        """A comment, the kernel's call, and the hook's call if there is one."""
        if isinstance(call, Stripe):
            text = _StripeWriter(self, index, call).statement()
        else:
            before: list[str] = []
            arguments = [self._argument(index, call, item, before) for item in call.arguments]
            line = self.statement(4 if before else 2, call.function, arguments)
            if before:
                line = "\n".join(["  {", *(f"    {each}" for each in before), line, "  }"])
            text = f"  // {index}: {_comment(call.comment)}\n{line}"
        if self._hook:
            text += f"\n  {self._hook}({text_literal(call.operator)});"
        return text

    def reset(self) -> str:
        """The function that resets the states."""
        lines = []
        for state in self._network.states:
            place = self._network.plan.places[state.block]
            for value, count in state.start:
                start = self._value(value)
                lines.append(f"  m3net_fill({start}, {count}, {_sum('arena', place)});")
                place += count
        start_text = f"void {self._name}_reset(int8_t *arena) {{"
        return "\n".join([start_text, *self._prologue(lines), *(lines or ["  (void)arena;"]), "}"])

    def count_push(self, push: Push) -> str:
        """Expression that is true once a whole window has been pushed."""
        pushes = self._network.states[-1].block
        return f"m3net_count_push({push.needed}, {self.scratch('count_push', pushes)})"

    def statement(self, indent: int, kernel: str, arguments: list[str]) -> str:
        """The call of a kernel."""
        prefix = f"{' ' * indent}m3net_{kernel}("
        line = prefix + ", ".join(arguments) + ");"
        if len(line) > LINE:
            line = prefix + (",\n" + " " * len(prefix)).join(arguments) + ");"
        return line

    def _argument(self, index: int, call: Call, item: Any, before: list[str]) -> str:
        if isinstance(item, int):
            is_padding = call.kernel == "fill" and item is call.arguments[0]
            return self._value(item) if is_padding else str(item)
        if isinstance(item, Structure):
            return self.layer(str(index), item, "layer", before)
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
        if view.block.parameter:
            return _sum(view.block.parameter, view.offset)
        return _sum("arena", self._network.plan.places[view.block] + view.offset)

    def array(self, array: Array) -> str:
        """Expression for an array."""
        return self._constants.array(self._name, array)

    def layer(
        self, tag: str, layer: Structure, local: str, before: list[str], *, changes: bool = False
    ) -> str:
        """Expression for the address of a structure; see :meth:`.Constants.layer`."""
        return self._constants.layer(self._name, tag, layer, local, before, changes=changes)


class _StripeWriter:
    """The loop of a stripe: one step for each line of a stage."""

    def __init__(self, writer: _Writer, index: int, stripe: Stripe) -> None:
        self._writer, self._index, self._stripe = writer, index, stripe
        self._counters: list[str] = []
        self._layers: list[str] = []

    def statement(self) -> str:
        """The C block with the loop."""
        stripe = self._stripe
        order = Array("order", "uint8_t", np.array(stripe.order, np.int64))
        name = self._writer.array(order)
        cases = [self._case(number, stage) for number, stage in enumerate(stripe.stages)]
        last = stripe.stages[-1]
        clear = []
        if last.sums is not None:
            cases.append(self._average(last, last.sums))
            sums = View(last.sums, 0, (last.sums.size,), (1,))
            size = [str(last.sums.size), self._writer.place(sums)]
            clear.append(self._writer.statement(4, "fill", ["0", *size]))
        labels = [f"case {number}" for number in range(len(cases) - 1)] + ["default"]
        lines = [
            f"  // {self._index}: {len(stripe.stages)} calls run together, a "
            f"{'row' if stripe.axis == ROWS else 'column'} at a time",
            "  {",
            *self._layers,
            *(f"    int32_t {counter} = 0;" for counter in self._counters),
            *clear,
            f"    for (int32_t step = 0; step < {len(stripe.order)}; ++step) {{",
            f"      switch ({name}[step]) {{",
        ]
        for label, (comment, *statements) in zip(labels, cases, strict=True):
            lines.append(f"        {label}:  // {comment}")
            lines += [*statements, "          break;"]
        return "\n".join([*lines, "      }", "    }", "  }"])

    def _case(self, number: int, stage: Stage) -> list[str]:
        """The ``case`` of a stage, with its comment."""
        call = stage.call
        layer = line_layer(stage, self._stripe.axis)
        moves = stage.windows[0].moves
        pointer = self._layer(str(number), layer, changes=moves)
        after = list[str]()
        if moves:
            after.append(self._next_line(number, stage))
        sources = [self._source(number, place, stage, after) for place in range(len(stage.sources))]
        if stage.sums is not None:
            sums = self._writer.scratch("add_line", stage.sums)
            run = self._writer.statement(10, "add_line", [pointer, *sources, sums])
        else:
            views = iter([*sources, self._target(number, stage, after)])
            arguments = [
                pointer,
                *(self._argument(call, item, views) for item in call.arguments[1:]),
            ]
            run = self._writer.statement(10, call.function, arguments)
        return [_comment(call.comment), run, *after]

    def _layer(self, tag: str, layer: Structure, *, changes: bool) -> str:
        before: list[str] = []
        name, local = f"{self._index}_{tag}", f"layer_{tag}"
        pointer = self._writer.layer(name, layer, local, before, changes=changes)
        self._layers += [f"    {each}" for each in before]
        return pointer

    def _argument(self, call: Call, item: object, views: Iterator[str]) -> str:
        if isinstance(item, View):
            return next(views)
        if isinstance(item, Block):
            return self._writer.scratch(call.kernel, self._stripe.shared)
        assert isinstance(item, Array)
        return self._writer.array(item)

    def _average(self, stage: Stage, sums: Block) -> list[str]:
        """The ``case`` that divides the sums, once all lines are added."""
        layer = line_layer(stage, self._stripe.axis)
        pointer = self._layer("average", layer, changes=False)
        arguments = [pointer, self._writer.scratch("average_lines", sums)]
        arguments.append(self._writer.place(stage.target.view))
        return ["averages", self._writer.statement(10, "average_lines", arguments)]

    def _next_line(self, number: int, stage: Stage) -> str:
        """Statement that moves a window by a line and counts the lines that it leaves."""
        size, before = LINE_MEMBERS[self._stripe.axis]
        window, layer, result = stage.windows[0], f"layer_{number}", ""
        if stage.sources[0].producer is None or window.kept > 1:
            self._counters.append(f"left_{number}")
            result = f"left_{number} = "
        return (
            f"          {result}m3net_next_line(&{layer}.window.{before}, "
            f"&{layer}.input.{size}, {window.stride});"
        )

    def _source(self, number: int, place: int, stage: Stage, after: list[str]) -> str:
        """Address of the first line in an input's window; ``after`` gets the update."""
        source, window = stage.sources[place], stage.windows[place]
        address = self._writer.place(source.view)
        step = source.view.strides[self._stripe.axis]
        moved = f"{step} * left_{number}" if window.moves else str(step)
        if source.producer is not None:
            if window.kept > 1:
                held = f"held_{source.producer}"
                after.append(f"          {held} = m3net_drop_lines({address}, {held}, {moved});")
            return address
        if step == 0:
            return address
        counter = f"from_{number}_{place}"
        self._counters.append(counter)
        after.append(f"          {counter} += {moved};")
        return f"{address} + {counter}"

    def _target(self, number: int, stage: Stage, after: list[str]) -> str:
        """Address of the next line of the output."""
        target: Lines = stage.target
        address = self._writer.place(target.view)
        step = target.view.strides[self._stripe.axis]
        if target.producer is None:
            counter = f"to_{number}"
        elif target.view.shape[self._stripe.axis] > 1:
            counter = f"held_{number}"
        else:
            return address
        self._counters.append(counter)
        after.append(f"          {counter} += {step};")
        return f"{address} + {counter}"


def _sum(base: str, offset: int) -> str:
    if offset == 0:
        return base
    return f"{base} + {offset}" if offset > 0 else f"{base} - {-offset}"


def _comment(text: str) -> str:
    """Text that cannot end a comment or the line."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text).rstrip(
        "\\"
    )


def _header(
    network: CompiledNetwork, name: str, hook: str, facts: list[str], further: list[str]
) -> str:
    notes = end_notes(network.graph)
    declaration = _declaration(network, name)
    if network.stream is not None:
        declaration += ["", *_declaration(network.stream, _stream_name(name))]
    declaration += ["", intact_declaration(name), *further]
    if hook:
        declaration += [
            "",
            "/// The caller defines it; it is called after each kernel.",
            f"void {hook}(const char *operation);",
        ]
    return guarded(
        f"{name.upper()}_H_",
        "#include <stddef.h>\n#include <stdint.h>",
        "\n".join([*(f"// {_comment(line)}." for line in notes), *facts]),
        c_linkage(["\n".join(declaration)]),
        name_guard_at_end=True,
    )


def _facts(network: CompiledNetwork, name: str) -> str:
    """Macros with the sizes of a network."""
    plan = network.plan
    settings: dict[str, int | str] = {
        "SHA256": text_literal(network.graph.sha256),
        "ARENA_BYTES": plan.arena_bytes,
        "ARENA_LOWER_BOUND_BYTES": plan.lower_bound,
        "STATE_BYTES": sum(state.block.size for state in network.states),
    }
    if network.push is not None:
        push = network.push
        settings |= {"HOP": push.hop, "WINDOW": push.window, "WINDOW_PUSHES": push.needed}
    for which, views, tensors in (
        ("INPUT", network.inputs, network.graph.inputs),
        ("OUTPUT", network.outputs, network.graph.outputs),
    ):
        settings[f"{which}_COUNT"] = len(views)
        for index, (view, tensor) in enumerate(zip(views, tensors, strict=True)):
            place = plan.places.get(view.block)
            settings.update(_end(f"{which}_{index}_", view, tensor, place))
    return defines(f"{name.upper()}_", settings)


def _declaration(network: CompiledNetwork, name: str) -> list[str]:
    """The type of a network's arena, and its functions."""
    prefix = f"{name.upper()}_"
    return [
        "/// Memory that kernels also use as numbers of 16 and 32 bits.",
        "typedef union {",
        f"  int8_t bytes[{prefix}ARENA_BYTES];",
        f"  int16_t halves[{prefix}ARENA_BYTES / 2];",
        f"  int32_t words[{prefix}ARENA_BYTES / 4];",
        f"}} {name}_arena;",
        "",
        *_functions(network, name),
    ]


def _prototype(network: CompiledNetwork, name: str) -> str:
    """Start of the function that computes the outputs."""
    if network.push is None:
        return f"void {name}_run(int8_t *arena)"
    frames = ", ".join(f"const int8_t *{view.block.parameter}" for view in network.inputs)
    return f"int32_t {name}_push(int8_t *arena, {frames})"


def _functions(network: CompiledNetwork, name: str) -> list[str]:
    """Declarations of the functions that reset and run a network."""
    reset = f"void {name}_reset(int8_t *arena);"
    run = f"{_prototype(network, name)};"
    if network.push is not None:
        return [*_PUSH_RESET, reset, "", *_PUSH, run]
    if network.states:
        return [*_STATES, reset, "", *_RUN, _CONTINUED.format(name), run]
    return [*_NO_STATES, reset, "", *_RUN, run]


def _end(prefix: str, view: View, tensor: Tensor, place: int | None) -> dict[str, int | str]:
    """Facts of an input or output; ``place`` is None if the caller owns its memory."""
    offset = {} if place is None else {f"{prefix}OFFSET": place + view.offset}
    facts: dict[str, int | str] = {
        **offset,
        f"{prefix}BYTES": tensor.size * tensor.item_bytes,
        f"{prefix}TYPE": "uint8_t" if tensor.dtype == "bool" else f"{tensor.dtype}_t",
        f"{prefix}DIMENSIONS": len(tensor.shape),
        f"{prefix}SHAPE": f"{{{', '.join(map(str, tensor.shape)) or 1}}}",
    }
    if not len(tensor.scales):  # indices, results of comparisons, and items that are only moved
        return facts
    return {
        **facts,
        f"{prefix}SCALE": float_literal(tensor.scale),
        f"{prefix}ZERO_POINT": f"({tensor.zero_point})",
    }
