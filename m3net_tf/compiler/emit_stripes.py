# SPDX-License-Identifier: Apache-2.0
"""The C of calls that run together, line by line: a loop over the steps of their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from m3net_tf.compiler.calls import Block, Call, View
from m3net_tf.compiler.stripes import LINE_MEMBERS, ROWS, Lines, Stage, Stripe, line_layer
from m3net_tf.compiler.structures import Array, Structure


class Writer(Protocol):
    """What the writer of a source file offers."""

    def constant_layer(self, tag: str, layer: Structure) -> str:
        """Name of a constant structure."""

    def array(self, array: Array) -> str:
        """Name of a constant array."""

    def place(self, view: View) -> str:
        """Address of a view."""

    def scratch(self, kernel: str, block: Block) -> str:
        """Address of scratch memory in the type that a kernel takes."""

    def comment(self, text: str) -> str:
        """Text of a comment."""

    def statement(self, indent: int, kernel: str, arguments: list[str]) -> str:
        """Call of a kernel."""


class StripeWriter:
    """The statement of a stripe."""

    def __init__(self, writer: Writer, index: int, stripe: Stripe) -> None:
        self._writer, self._index, self._stripe = writer, index, stripe
        self._counters: list[str] = []
        self._layers: list[str] = []

    def statement(self) -> str:
        """A block with the loop."""
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
        """Comment and statements of a stage."""
        call, layer = stage.call, line_layer(stage, self._stripe.axis)
        constant = self._writer.constant_layer(f"{self._index}_{number}", layer)
        pointer, after = f"&{constant}", list[str]()
        if stage.windows[0].moves:
            pointer = f"&layer_{number}"
            self._layers.append(f"    {layer.ctype} layer_{number} = {constant};")
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
            run = self._writer.statement(10, call.kernel, arguments)
        return [self._writer.comment(call.comment), run, *after]

    def _argument(self, call: Call, item: object, views: Iterator[str]) -> str:
        if isinstance(item, View):
            return next(views)
        if isinstance(item, Block):
            return self._writer.scratch(call.kernel, self._stripe.shared)
        assert isinstance(item, Array)
        return self._writer.array(item)

    def _average(self, stage: Stage, sums: Block) -> list[str]:
        """Comment and statement of the averages, when all lines have been added."""
        layer = line_layer(stage, self._stripe.axis)
        constant = self._writer.constant_layer(f"{self._index}_average", layer)
        arguments = [f"&{constant}", self._writer.scratch("average_lines", sums)]
        arguments.append(self._writer.place(stage.target.view))
        return ["averages", self._writer.statement(10, "average_lines", arguments)]

    def _next_line(self, number: int, stage: Stage) -> str:
        """Statement that moves a window on and counts the lines that it has left behind."""
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
        """Address of an input's first line that the window sees; ``after`` gets what moves it."""
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
