# SPDX-License-Identifier: Apache-2.0
"""Which lines of each tensor are reused from the previous window, and which are computed and kept.

With each push the window moves on by a hop. Line j is *same* if it equals line ``j + shift`` of the
previous window. The other lines are computed: the new ones, and the lines near the ends whose
operators see padding.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.limits import MOST_LINES, may_search
from m3net_tf.compiler.operators.forms import numbers
from m3net_tf.compiler.streaming.reading import Reading, Rule, WholeError, rule_of
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Graph, Operation, Tensor

Mask = npt.NDArray[np.bool_]
Run = tuple[int, int]
"""The first line, and one past the last."""

_STEPS = 100  # that following an operator takes, as the planner's searches count them
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
        flows: flows of the tensors that move.
        rules: rules of the operators whose outputs move.
        sums: sums of the operators that sum a moving tensor.
        whole: why the other operators compute all their outputs with each push.
        runs: lines that each operator of ``rules`` computes.
        kept: for each tensor whose lines stay from push to push, the first and the end.
        needs_longer_hop: whether only a hop of more lines lets an operator stream.
    """

    def __init__(self, graph: Graph, axis: int, hop: int) -> None:
        self.flows: dict[Tensor, Flow] = {}
        self.rules: dict[Operation, Rule] = {}
        self.sums: dict[Operation, RunningSum] = {}
        self.whole: dict[Operation, str] = {}
        self.runs: dict[Operation, list[Run]] = {}
        self.kept: dict[Tensor, Run] = {}
        self.needs_longer_hop = False
        self._again: set[Tensor] = set()  # whose first half is computed in each push
        self._graph = graph
        lines = graph.inputs[0].shape[axis]
        if lines > MOST_LINES:
            why = f"the window has more than {MOST_LINES} lines"
            self.whole = dict.fromkeys(graph.operations, why)
            return
        if not may_search(_STEPS * len(graph.operations)):
            raise ModelError(
                "the network has too many operators to try each way to stream it: give --axis and "
                "--hop, or compile it without --stream"
            )
        for tensor in graph.inputs:
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

    def drop_cheap_lines(self) -> None:
        """Compute lines again where that takes less work than the bytes that need not stay.

        The lines that see the padding before the window read older lines of the layer before, and
        these would stay from the window's end to its start. What a running sum subtracts must be
        what it has added, also before the first whole window: its lines stay.
        """
        fixed = {*self._graph.inputs, *(op.input(0) for op in self.sums)}
        for tensor in [*reversed(self.kept)]:
            if not may_search(_STEPS * len(self._graph.operations)):
                return
            again = set(self._again)
            cost = self._cost()
            former = set(self.kept)
            more = {tensor} - fixed
            while more:  # what must stay instead is tried, too
                self._again |= more
                self._choose_lines()
                more = self.kept.keys() - former - self._again - fixed
            if self._cost() >= cost:
                self._again = again
                self._choose_lines()

    def kept_bytes(self, tensor: Tensor) -> int:
        """Bytes of a tensor's lines that stay from push to push."""
        if tensor not in self.kept:
            return 0
        first, end = self.kept[tensor]
        return tensor.size * tensor.item_bytes // self.flows[tensor].lines * (end - first)

    def _cost(self) -> int:
        """Work of a push and bytes that stay, which each push moves: a product counts as a byte."""
        return sum(map(self.kept_bytes, self.kept)) + sum(
            (products(op) + op.output.size)
            * sum(end - first for first, end in runs)
            // self.flows[op.output].lines
            for op, runs in self.runs.items()
        )

    def _choose_lines(self) -> None:
        """From the outputs backwards: which lines are computed, and which stay."""
        self.runs, self.kept = {}, {}
        needed = {tensor: np.zeros(flow.lines, np.bool_) for tensor, flow in self.flows.items()}
        before = {tensor: mask.copy() for tensor, mask in needed.items()}  # in the window before
        spans: dict[Tensor, list[Run]] = {tensor: [] for tensor in self.flows}  # read together

        def read(tensor: Tensor, run: Run) -> None:
            needed[tensor][slice(*run)] = True
            spans[tensor].append(run)

        for tensor in self._graph.outputs:
            if tensor in needed:
                read(tensor, (0, self.flows[tensor].lines))
        for op in reversed(self._graph.operations):
            sources = {i: t for i, t in enumerate(op.inputs) if t is not None and t in self.flows}
            if op in self.rules:
                computed = np.zeros(self.flows[op.output].lines, np.bool_)
                for tensor in op.outputs:
                    needed_now = self._sources(tensor, needed[tensor] | before[tensor])
                    computed |= needed_now & ~self._reused(tensor)
                self.runs[op] = runs_of(computed)
                made = [self.with_input(op, run) for run in self.runs[op]]
                for index, reading in self.rules[op].readings.items():
                    lines = self.flows[sources[index]].lines
                    for run in made:
                        read(sources[index], reading.span(*run, lines))
                for tensor in op.outputs:
                    wanted = needed[tensor] | before[tensor]
                    self._keep(tensor, wanted, before[tensor], [*spans[tensor], *self.runs[op]])
            elif op in self.sums:
                (tensor,) = sources.values()
                for run in [*self.sums[op].entering, *self.sums[op].ends]:
                    read(tensor, run)
                for run in self.sums[op].leaving:
                    before[tensor][slice(*run)] = True
                    spans[tensor].append(run)
            else:
                for tensor in sources.values():
                    read(tensor, (0, self.flows[tensor].lines))
        for tensor in self._graph.inputs:
            lines, shift = self.flows[tensor].lines, self.flows[tensor].shift
            runs = [*spans[tensor], (lines - shift, lines)]
            self._keep(tensor, needed[tensor] | before[tensor], before[tensor], runs)

    def _sources(self, tensor: Tensor, wanted: Mask) -> Mask:
        """Lines that must exist now so that the wanted ones exist now and in later windows."""
        lines = len(wanted)
        shift = self.flows[tensor].shift
        mask, moves = np.zeros((2, -(-lines // shift) * shift), np.bool_)
        mask[:lines], moves[shift:lines] = wanted, self._reused(tensor)[: lines - shift]
        mask, moves = (each.reshape(-1, shift) for each in (mask, moves))  # a row is a push
        rows = np.arange(len(mask))[:, None]
        latest = np.maximum.accumulate(np.where(mask, rows, -1))
        begins = np.maximum.accumulate(np.where(moves, -1, rows))  # not made of the row before
        exists: Mask = ((latest >= 0) & (latest >= begins)).reshape(-1)[:lines]
        return exists

    def _reused(self, tensor: Tensor) -> Mask:
        """Lines that are not computed again."""
        flow = self.flows[tensor]
        reused = flow.same.copy()
        if tensor in self._again:
            reused[: flow.lines // 2] = False
        return reused

    def _keep(self, tensor: Tensor, wanted: Mask, before: Mask, runs: list[Run]) -> None:
        """Keep what later windows reuse, and the lines that are read or computed with it."""
        flow = self.flows[tensor]
        sources = self._sources(tensor, wanted)
        reused = sources & self._reused(tensor)
        if not (reused | before).any():
            return
        if tensor in self._again:  # the lines of the first half need no memory of their own
            sources = reused | flow.moved(reused)
        first, end = np.flatnonzero(sources | before)[[0, -1]] + [0, 1]
        self.kept[tensor] = _with_overlapping((int(first), int(end)), runs)

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
            first = max(first - 1, 0)
            end = min(end + 1, self.flows[op.output].lines)
        return first, end


def _with_overlapping(kept: Run, runs: list[Run]) -> Run:
    """From the first to the last line of a run and of those that overlap it, directly or not."""
    while True:
        joined = [kept, *(run for run in runs if run[0] < kept[1] and kept[0] < run[1])]
        wider = min(run[0] for run in joined), max(run[1] for run in joined)
        if wider == kept:
            return kept
        kept = wider


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
        same &= ~_reads_any(~_seen_alike(flow), flow.shift, reading, lines)
    if not same.any():
        raise WholeError(
            "makes one line of all" if lines == 1 else "sees padding or new lines everywhere"
        )
    return Flow(axis, shift, same)


def _seen_alike(flow: Flow) -> Mask:
    """Whether an operator sees the same as in the window before, from line ``-shift`` on.

    Lines before these, and lines after the last one, are padding in both windows.
    """
    return np.concatenate([np.zeros(flow.shift, np.bool_), flow.same])


def _reads_any(mask: Mask, before: int, reading: Reading, lines: int) -> Mask:
    """Whether each line of an output reads a line of a mask that starts at line ``-before``."""
    step = reading.dilation
    padded = np.pad(mask, (step, -len(mask) % step)).reshape(-1, step)
    counts = padded.cumsum(axis=0).reshape(-1)  # up to each line, in steps
    first = np.arange(lines) * reading.stride - reading.before + before  # place of the first tap
    skipped = -(-np.maximum(-first, 0) // step)
    last = np.minimum((len(mask) - 1 - first) // step, reading.taps - 1)
    reads = skipped <= last
    start, stop = (np.where(reads, first + tap * step, 0) for tap in (skipped, last))
    seen: Mask = reads & (counts[stop + step] > counts[start])
    return seen


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


def products(op: Operation) -> int:
    """Multiply-accumulate operations of an operator."""
    size = op.output.size
    if op.kind in ("CONV_2D", "FULLY_CONNECTED"):
        return size * math.prod(op.input(1).shape[1:])
    if op.kind == "DEPTHWISE_CONV_2D":
        return size * math.prod(op.input(1).shape[1:3])
    if op.kind == "BATCH_MATMUL":
        return size * op.input(0).shape[-2 if op.options.get("adjX") else -1]
    return 0
