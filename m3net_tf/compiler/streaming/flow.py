# SPDX-License-Identifier: Apache-2.0
"""Which lines of each tensor are reused from the previous window, and which are computed and kept.

With each push the window moves on by a hop. Line j is *same* if it equals line ``j + shift`` of the
previous window. The other lines are computed: the new ones, and the lines near the ends whose
operators see padding.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.graph import Graph, Operation, Tensor
from m3net_tf.compiler.operators.forms import numbers
from m3net_tf.compiler.streaming.reading import Reading, Rule, WholeError, rule_of

Mask = npt.NDArray[np.bool_]
Run = tuple[int, int]
"""The first line, and one past the last."""

AFTER = "comes after what needs the whole window"


class StrideError(WholeError):
    """A stride does not divide the hop."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """How a tensor moves from window to window.

    Attributes:
        axis: its streamed dimension.
        shift: lines by which it moves with each push.
        same: for each line j, whether it equals line ``j + shift`` of the previous window.
    """

    axis: int
    shift: int
    same: Mask

    @property
    def lines(self) -> int:
        """Lines of a window."""
        return len(self.same)

    def moved(self, mask: Mask) -> Mask:
        """The lines of a mask, by their index in the previous window."""
        result = np.zeros_like(mask)
        result[self.shift :] = mask[: self.lines - self.shift]
        return result

    def sources(self, needed: Mask) -> Mask:
        """Lines that must be kept so that the needed ones exist now and in later windows."""
        mask = needed.copy()
        for line in np.flatnonzero(self.same):
            mask[line + self.shift] |= mask[line]
        return mask


@dataclasses.dataclass(frozen=True)
class RunningSum:
    """The lines of a sum over all lines, most of which it keeps from window to window.

    Attributes:
        leaving: runs that leave it, by their index in the previous window.
        entering: runs that enter it.
        ends: runs that are added for one window only.
    """

    leaving: list[Run]
    entering: list[Run]
    ends: list[Run]

    @property
    def added(self) -> int:
        """Lines that are read with each push."""
        return sum(end - first for first, end in [*self.leaving, *self.entering, *self.ends])


class Stream:
    """How each operator and tensor streams.

    Attributes:
        flows: of the tensors that move.
        rules: of the operators whose outputs move.
        sums: of the operators that sum a moving tensor.
        whole: why the other operators compute all their outputs with each push.
        runs: lines that each operator of ``rules`` computes.
        kept: for each tensor whose lines stay from push to push, the first and the end.
    """

    def __init__(self, graph: Graph, axis: int, hop: int) -> None:
        self.flows: dict[Tensor, Flow] = {}
        self.rules: dict[Operation, Rule] = {}
        self.sums: dict[Operation, RunningSum] = {}
        self.whole: dict[Operation, str] = {}
        self.runs: dict[Operation, list[Run]] = {}
        self.kept: dict[Tensor, Run] = {}
        #: Whether only a hop of more lines lets an operator stream.
        self.needs_longer_hop = False
        self._graph = graph
        for tensor in graph.inputs:
            lines = tensor.shape[axis]
            self.flows[tensor] = Flow(axis, hop, np.arange(lines) < lines - hop)
        for op in graph.operations:
            self._follow(op)
        self._choose_lines()

    def _follow(self, op: Operation) -> None:
        """Find out how an operator's outputs move."""
        inputs = {i: self.flows[t] for i, t in enumerate(op.inputs) if t in self.flows}
        if not inputs:
            self.whole[op] = AFTER
            return
        try:
            rule = rule_of(op, {index: flow.axis for index, flow in inputs.items()})
            for tensor, axis in zip(op.outputs, rule.axes, strict=True):
                self.flows[tensor] = _flow(op, rule, axis, tensor.shape[axis], inputs)
            self.rules[op] = rule
        except WholeError as why:
            total = running_sum(op, inputs[min(inputs)])
            if total is not None:
                self.sums[op] = total
                return
            self.whole[op] = str(why)
            self.needs_longer_hop |= isinstance(why, StrideError)

    def _choose_lines(self) -> None:
        """From the outputs backwards: which lines are computed, and which stay."""
        needed = {tensor: np.zeros(flow.lines, np.bool_) for tensor, flow in self.flows.items()}
        before = {tensor: mask.copy() for tensor, mask in needed.items()}  # in the window before
        for tensor in self._graph.outputs:
            if tensor in needed:
                needed[tensor][:] = True
        for op in reversed(self._graph.operations):
            sources = {i: t for i, t in enumerate(op.inputs) if t is not None and t in self.flows}
            if op in self.rules:
                self.runs[op] = self._runs(op, needed, before)
                for index, reading in self.rules[op].readings.items():
                    mask = needed[sources[index]]
                    for run in self.runs[op]:
                        span = reading.span(*self.with_input(op, run), len(mask))
                        mask[slice(*span)] = True
                self._keep(op.outputs, self.runs[op], needed, before)
            elif op in self.sums:
                (tensor,) = sources.values()
                for run in [*self.sums[op].entering, *self.sums[op].ends]:
                    needed[tensor][slice(*run)] = True
                for run in self.sums[op].leaving:
                    before[tensor][slice(*run)] = True
            else:
                for tensor in sources.values():
                    needed[tensor][:] = True
        for tensor in self._graph.inputs:
            flow = self.flows[tensor]
            new = (flow.lines - flow.shift, flow.lines)
            self._keep([tensor], [new], needed, before)

    def _runs(
        self, op: Operation, needed: dict[Tensor, Mask], before: dict[Tensor, Mask]
    ) -> list[Run]:
        """Lines that an operator computes."""
        flow = self.flows[op.output]
        mask = np.zeros(flow.lines, np.bool_)
        for tensor in op.outputs:
            mask |= flow.sources(needed[tensor] | before[tensor]) & ~flow.same
        return runs_of(mask)

    def with_input(self, op: Operation, run: Run) -> Run:
        """The lines of a run, and others so that a kernel gets at least one line of each input.

        Lines may depend on padding alone. The others must not replace kept lines: before the first
        whole window they differ, and a running sum would never forget it.
        """
        first, end = run
        lines = {index: self.flows[op.input(index)].lines for index in self.rules[op].readings}
        while any(
            _is_empty(reading, first, end, lines[index])
            for index, reading in self.rules[op].readings.items()
        ):
            first, end = max(first - 1, 0), min(end + 1, self.flows[op.output].lines)
        return first, end

    def _keep(
        self,
        tensors: list[Tensor],
        runs: list[Run],
        needed: dict[Tensor, Mask],
        before: dict[Tensor, Mask],
    ) -> None:
        for tensor in tensors:
            flow = self.flows[tensor]
            computed = np.zeros(flow.lines, np.bool_)
            for run in runs:
                computed[slice(*run)] = True
            if (needed[tensor] & ~computed).any() or before[tensor].any():
                lines = np.flatnonzero(flow.sources(needed[tensor] | before[tensor]))
                self.kept[tensor] = int(lines[0]), int(lines[-1]) + 1


def _is_empty(reading: Reading, first: int, end: int, lines: int) -> bool:
    start, stop = reading.span(first, end, lines)
    return start >= stop


def runs_of(mask: Mask) -> list[Run]:
    """Runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _flow(op: Operation, rule: Rule, axis: int, lines: int, inputs: dict[int, Flow]) -> Flow:
    """How an output moves.

    Raises:
        WholeError: none of its lines is a line of the window before.
    """
    shifts = set()
    for index, reading in rule.readings.items():
        if inputs[index].shift % reading.stride:
            raise StrideError(
                f"has a stride of {reading.stride}, which does not divide a hop of "
                f"{inputs[index].shift} lines"
            )
        shifts.add(inputs[index].shift // reading.stride)
    if len(shifts) > 1:
        raise WholeError("joins tensors that move by different numbers of lines")
    (shift,) = shifts
    same = np.arange(lines) < lines - shift
    for index, reading in rule.readings.items():
        flow = inputs[index]
        start = np.arange(lines) * reading.stride - reading.before
        for tap in range(reading.taps):
            place = start + tap * reading.dilation
            is_inside, was_inside = (
                (at >= 0) & (at < flow.lines) for at in (place, place + flow.shift)
            )
            is_same = flow.same[np.clip(place, 0, flow.lines - 1)]
            same &= (is_inside & was_inside & is_same) | (~is_inside & ~was_inside)
    if not same.any():
        raise WholeError(
            "makes one line of all" if lines == 1 else "sees padding or new lines everywhere"
        )
    return Flow(axis, shift, same)


def running_sum(op: Operation, flow: Flow) -> RunningSum | None:
    """The lines of a sum or mean over all lines; None if it is none, or if no line stays in it."""
    if op.kind in ("MEAN", "SUM"):
        dimensions = len(op.input(0).shape)
        if flow.axis not in {axis % dimensions for axis in numbers(op, 1)}:
            return None
    elif not averages_image(op):
        return None
    stays = flow.same
    was_there = flow.moved(stays)
    counted = stays | was_there
    total = RunningSum(
        leaving=runs_of(counted & ~was_there),
        entering=runs_of(counted & ~stays),
        ends=runs_of(~counted),
    )
    return total if total.added < flow.lines else None


def averages_image(op: Operation) -> bool:
    """Whether an operator averages all pixels of an int8 image."""
    if op.kind != "AVERAGE_POOL_2D" or op.output.dtype != "int8":
        return False
    _, rows, columns, _ = op.input(0).shape
    window = op.options["filterHeight"], op.options["filterWidth"]
    return op.output.shape[1:3] == (1, 1) and window == (rows, columns)
