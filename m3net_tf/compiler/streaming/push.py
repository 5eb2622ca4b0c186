# SPDX-License-Identifier: Apache-2.0
"""The calls of a push: kept lines move on, and each operator computes the missing lines.

The kept lines of a tensor are in the order of time, in a buffer that keeps its content between
pushes. Views of it restrict operators to some lines; lowering and kernels are the same as for whole
windows.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from m3net_tf.compiler.calls import Argument, Block, View, packed
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.network import lower, place_concatenations
from m3net_tf.compiler.operators import PACKED_WRITERS
from m3net_tf.compiler.operators.matrix import reduction_layer
from m3net_tf.compiler.operators.pooling import pooling_layer
from m3net_tf.compiler.streaming.flow import Run, RunningSum, Stream, products
from m3net_tf.compiler.streaming.reading import Reading, part_of
from m3net_tf.tflite.graph import Graph, Operation, Tensor

_SUM_BYTES = _COUNTER_BYTES = 4

#: What computes or moves something, in the order of the push.
Step = Callable[[], None]


class PushMaker:
    """The calls of a push, which ``lowering`` has once :meth:`run` is done.

    Attributes:
        frames: where the caller has the new lines of each input.
        products: products of each operator with each push.
    """

    def __init__(self, graph: Graph, stream: Stream) -> None:
        self._whole, self._stream = graph, stream
        self._views: dict[Tensor, View] = {}  # of kept lines
        self._parts: dict[Tensor, list[tuple[Run, Tensor]]] = {}
        self._totals: dict[Operation, Block] = {}
        self._steps: list[Step] = []
        self.products: dict[Operation, int] = {}
        self.frames: list[View] = []
        inputs = [self._input(index, tensor) for index, tensor in enumerate(graph.inputs)]
        self.lowering = Lowering(Graph([], inputs, [], graph.sha256))
        self.lowering.views.update(zip(inputs, self.frames, strict=True))

    def run(self) -> None:
        """Make the calls."""
        for tensor in self._stream.kept:
            self._keep(tensor)
        for op, total in self._stream.sums.items():
            self._start_sum(op, total)
        for tensor in self._views:
            self._steps.append(functools.partial(self._shift, tensor))
        for index, tensor in enumerate(self._whole.inputs):
            self._take(index, tensor)
        for ops in self._together():
            op = ops[0]
            if op in self._stream.rules:
                for run in self._stream.runs[op]:
                    for each in ops:
                        self._compute(each, run)
            elif op in self._stream.sums:
                self._steps.append(functools.partial(self._finish_sum, op))
            else:
                self._compute_whole(op)
        self.lowering.graph.outputs = [self._output(tensor) for tensor in self._whole.outputs]
        place_concatenations(self.lowering)
        for step in self._steps:
            step()
        self.lowering.keep("pushes", ((0, _COUNTER_BYTES),))  # the last state: emit.py counts in it

    def _together(self) -> Iterator[list[Operation]]:
        """The operators in order; those that run one after the other on the same lines, together.

        The lines between them then need no memory for all runs at once.
        """
        ops: list[Operation] = []
        for op in self._whole.operations:
            if ops and not self._follows(op, ops):
                yield ops
                ops = []
            ops.append(op)
        if ops:
            yield ops

    def _follows(self, op: Operation, ops: list[Operation]) -> bool:
        """Whether an operator can run on each run of lines as soon as others have."""
        rules, runs = self._stream.rules, self._stream.runs
        if op not in rules or ops[0] not in rules or runs[op] != runs[ops[0]]:
            return False
        made = {tensor for each in ops for tensor in each.outputs}
        inputs = enumerate(op.inputs)
        readings = [rules[op].readings[index] for index, tensor in inputs if tensor in made]
        return bool(readings) and all(reading == Reading() for reading in readings)

    def _input(self, index: int, tensor: Tensor) -> Tensor:
        """The new lines of an input, which the caller owns."""
        flow = self._stream.flows[tensor]
        lines = _with_lines(tensor, flow.axis, flow.shift)
        block = Block(tensor.name, lines.size * lines.item_bytes, parameter=f"frames_{index}")
        self.frames.append(packed(block, lines.shape, lines.item_bytes))
        return lines

    def _keep(self, tensor: Tensor) -> None:
        first, end = self._stream.kept[tensor]
        lines = _with_lines(tensor, self._stream.flows[tensor].axis, end - first)
        label = f"{tensor.name} ({end - first} lines)"
        block = self.lowering.keep(label, ((0, lines.size * lines.item_bytes),))
        self._views[tensor] = packed(block, lines.shape, lines.item_bytes)

    def _lines(self, tensor: Tensor, run: Run) -> View:
        first, _ = self._stream.kept[tensor]
        axis = self._stream.flows[tensor].axis
        return self._views[tensor].part(axis, run[0] - first, run[1] - run[0])

    def _is_kept(self, tensor: Tensor, run: Run) -> bool:
        """Whether some lines are among the kept ones; if not, none of them is."""
        first, end = self._stream.kept.get(tensor, (0, 0))
        return first <= run[0] and run[1] <= end

    def _shift(self, tensor: Tensor) -> None:
        """Move the kept lines of a tensor on.

        All bytes move by so many. In the place of the newest lines are then others, which the push
        computes.
        """
        view, flow = self._views[tensor], self._stream.flows[tensor]
        lines, dropped = view.shape[flow.axis], view.strides[flow.axis] * flow.shift
        if lines > flow.shift:
            op = Operation("KEEP", [], [tensor], {})
            arguments: list[Argument] = [view, view.block.size, dropped]
            note = f"{lines} lines, of which {flow.shift} leave"
            self.lowering.call(op, "drop_lines", arguments, [view], view, note=note)

    def _take(self, index: int, tensor: Tensor) -> None:
        flow, source = self._stream.flows[tensor], self.frames[index]
        run = flow.lines - flow.shift, flow.lines
        lines = _with_lines(tensor, flow.axis, flow.shift)
        if self._is_kept(tensor, run):
            self.lowering.views[lines] = self._lines(tensor, run)
        self._parts[tensor] = [(run, lines)]
        op = Operation("FRAMES", [], [tensor], {})
        self._steps.append(lambda: self.lowering.copy(op, source, self.lowering.write(lines)))

    def _read(self, tensor: Tensor, run: Run) -> Tensor:
        flow = self._stream.flows[tensor]
        lines = _with_lines(tensor, flow.axis, run[1] - run[0])
        if self._is_kept(tensor, run):
            self.lowering.views[lines] = self._lines(tensor, run)
            return lines
        for (first, end), part in self._parts[tensor]:
            if (first, end) == run:
                return part
            if first <= run[0] and run[1] <= end:
                self._add(_slice(part, flow.axis, run[0] - first, lines))
                return lines
        raise AssertionError(tensor.name)  # flow.py keeps tensors of which more is read

    def _add(self, op: Operation) -> None:
        self.lowering.graph.operations.append(op)
        self._steps.append(functools.partial(lower, self.lowering, op))

    def _compute(self, op: Operation, run: Run) -> None:
        rule = self._stream.rules[op]
        made = self._stream.with_input(op, run)
        inputs, spans = {}, {}
        for index, reading in rule.readings.items():
            tensor = op.input(index)
            spans[index] = reading.span(*made, self._stream.flows[tensor].lines)
            inputs[index] = self._read(tensor, spans[index])
        outputs, copies = [], []
        for tensor, axis in zip(op.outputs, rule.axes, strict=True):
            lines = _with_lines(tensor, axis, run[1] - run[0])
            outputs.append(lines)
            self._parts.setdefault(tensor, []).append((run, lines))
            if self._is_kept(tensor, run):
                self.lowering.views[lines] = self._lines(tensor, run)
            if made != run or self._is_scattered(op, lines):
                outputs[-1] = _with_lines(tensor, axis, made[1] - made[0])
                copies.append(_slice(outputs[-1], axis, run[0] - made[0], lines))
        part = part_of(op, rule, made, inputs, spans, outputs)
        self.products[op] = self.products.get(op, 0) + products(part)
        for each in (part, *copies):
            self._add(each)

    def _is_scattered(self, op: Operation, lines: Tensor) -> bool:
        """Whether an operator cannot write into its output's view."""
        place = self.lowering.views.get(lines)
        return place is not None and op.kind in PACKED_WRITERS and not place.contiguous

    def _compute_whole(self, op: Operation) -> None:
        """An operator that needs the whole window."""
        inputs = [
            self._read(tensor, (0, self._stream.flows[tensor].lines))
            if tensor in self._stream.flows
            else tensor
            for tensor in op.inputs
        ]
        part = Operation(op.kind, list(inputs), op.outputs, op.options)
        self.products[op] = products(part)
        self._add(part)

    def _start_sum(self, op: Operation, total: RunningSum) -> None:
        """Memory for the sums, from which the leaving lines are taken before lines move on."""
        size = op.output.size * _SUM_BYTES
        block = self.lowering.keep(f"{op.output.name} (sums)", ((0, size),))
        self._totals[op] = block
        for run in total.leaving:
            self._steps.append(functools.partial(self._add_lines, op, run, -1, block, kept=True))

    def _add_lines(
        self, op: Operation, run: Run, sign: int, sums: Block, *, kept: bool = False
    ) -> None:
        """Add lines of a sum's input to its sums, or take them away."""
        tensor = op.input(0)
        view = self._lines(tensor, run) if kept else self.lowering.read(self._read(tensor, run))
        layer = reduction_layer(op, view, self.lowering.write(op.output))
        target = packed(sums, (sums.size,))
        kernel = "add_lines_16" if tensor.dtype == "int16" else "add_lines"
        what = "added" if sign > 0 else "taken away"
        note = f"{run[1] - run[0]} lines {what}"
        self.lowering.call(op, kernel, [layer, view, sign, sums], [view], target, note=note)

    def _finish_sum(self, op: Operation) -> None:
        total, sums = self._stream.sums[op], self._totals[op]
        for run in total.entering:
            self._add_lines(op, run, 1, sums)
        if total.ends:
            there = Block(f"{op.output.name} (sums of this window)", sums.size)
            source, target = (packed(block, (sums.size,)) for block in (sums, there))
            self.lowering.copy(op, source, target)
            sums = there
            for run in total.ends:
                self._add_lines(op, run, 1, sums)
        view = packed(sums, (sums.size,))
        target = self.lowering.write(op.output)
        source = self._views[op.input(0)]
        if op.kind == "AVERAGE_POOL_2D":
            arguments: list[Argument] = [pooling_layer(op, source, target), sums, target]
            self.lowering.call(op, "average_lines", arguments, [view], target)
            return
        kernel = "mean_of_sums_16" if target.item > 1 else "mean_of_sums"
        layer = reduction_layer(op, source, target)
        self.lowering.call(op, kernel, [layer, sums, target], [view], target)

    def _output(self, tensor: Tensor) -> Tensor:
        """An output of the network; all lines of one that moves."""
        if tensor not in self._stream.flows:
            return tensor
        copy = dataclasses.replace(tensor)
        lines = self._read(tensor, (0, self._stream.flows[tensor].lines))
        self._add(Operation("RESHAPE", [lines], [copy], {}))
        return copy


def _with_lines(tensor: Tensor, axis: int, count: int) -> Tensor:
    shape = (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])
    return dataclasses.replace(tensor, shape=shape)


def _slice(source: Tensor, axis: int, first: int, lines: Tensor) -> Operation:
    begin = np.zeros(len(source.shape), np.int32)
    begin[axis] = first
    numbers = [
        Tensor("numbers", values.shape, "int32", data=values)
        for values in (begin, np.array(lines.shape, np.int32))
    ]
    return Operation("SLICE", [source, *numbers], [lines], {})
