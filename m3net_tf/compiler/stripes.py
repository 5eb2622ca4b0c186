# SPDX-License-Identifier: Apache-2.0
"""Fused calls that run line by line, so that no tensor between them is ever whole in memory.

A line is a row or a column of an image. A call computes a line of its output as soon as the lines
of its window are there. Of a tensor between two calls, only the lines in the reader's window are in
memory: one for elementwise operators and 1 x 1 windows, three for a 3 x 3 window. Each line is
computed once. The first inputs and the last output are whole tensors.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence

from m3net_tf.compiler.calls import Argument, Block, Call, View, loop_layer, packed_strides
from m3net_tf.compiler.overlap import window_slack
from m3net_tf.compiler.structures import Convolution, Image, Loop, LoopLayer, Structure, WindowLayer

ROWS, COLUMNS = 1, 2  # dimensions of images
KIND = "STRIPE"
"""Kind of the operator of calls that run together."""
_MOST_STAGES = 200  # indices of stages are bytes, and a stage with sums has two
_MOST_STEPS = 4096
_DIMENSIONS = 4
_SUM_BYTES = 4
_FAR = 1 << 62
_WINDOWS = {
    f"{kernel}{width}"
    for kernel in ("convolve", "convolve_depthwise", "pool_average", "pool_max")
    for width in ("", "_16")
}
#: Members in C: lines of an image, and lines of a window before the image.
LINE_MEMBERS = {ROWS: ("rows", "top"), COLUMNS: ("columns", "left")}


@dataclasses.dataclass(frozen=True)
class Window:
    """The window of a call along the lines.

    Attributes:
        reach: number of lines from the first one to the last one.
        stride: lines from a window to the next.
        before: lines of the first window that lie before the image.
        lines: lines of the input.
        outputs: lines of the output; more than ``lines`` if the image is padded at its end.
    """

    reach: int
    stride: int
    before: int
    lines: int
    outputs: int

    def span(self, line: int) -> tuple[int, int]:
        """First line inside the image, and one past the last, for a line of the output."""
        start = line * self.stride - self.before
        return max(start, 0), min(start + self.reach, self.lines)

    @property
    def kept(self) -> int:
        """Number of lines in memory at once."""
        return min(self.reach, self.lines)

    @property
    def moves(self) -> bool:
        """Whether the window of a line depends on its index."""
        return (self.reach, self.stride, self.before) != (1, 1, 0) or self.outputs > self.lines


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines that a call reads or writes.

    Attributes:
        view: a whole tensor, or the lines that are kept.
        producer: index of the stage that computes them; None for a whole tensor.
    """

    view: View
    producer: int | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A call inside a stripe, with a window and lines for each input.

    Attributes:
        call: the call on whole tensors.
        sums: memory of the sums of a call that averages all lines; else None.
    """

    call: Call
    windows: tuple[Window, ...]
    sources: tuple[Lines, ...]
    target: Lines
    sums: Block | None = None


@dataclasses.dataclass(eq=False)
class Stripe(Call):
    """Calls that run together, line by line.

    Attributes:
        axis: dimension along which the lines follow each other.
        order: index of the stage that runs at each step. The number of stages stands for the
            division of the last stage's sums.
        shared: scratch memory of the kernels, which run one after the other.
        saved_bytes: bytes saved by lines that share their memory with others.
    """

    axis: int = ROWS
    stages: list[Stage] = dataclasses.field(default_factory=list)
    order: list[int] = dataclasses.field(default_factory=list)
    shared: Block = dataclasses.field(default_factory=lambda: Block("scratch", 0))
    saved_bytes: int = 0

    @property
    def members(self) -> Sequence[Call]:
        """The calls on whole tensors."""
        return [stage.call for stage in self.stages]

    def share_scratch(self) -> None:
        """Let the kernels share as much scratch memory as the one that needs the most."""
        self.shared.size = max(block.size for call in self.members for block in call.scratch)


def make_stripe(calls: Sequence[Call], axis: int, private: Collection[Block]) -> Stripe | None:
    """A stripe of calls in order along :data:`ROWS` or :data:`COLUMNS`; None if there is none.

    ``private`` are the blocks that one call of the network writes and one call reads.
    """
    if not 2 <= len(calls) <= _MOST_STAGES or not all(_has_lines(call, axis) for call in calls):
        return None
    if any(averages_all(call, axis) for call in calls[:-1]):
        return None
    if sum(call.output.shape[axis] for call in calls) > _MOST_STEPS:
        return None
    writers = {call.output.block: index for index, call in enumerate(calls[:-1])}
    reads = [view for call in calls for view in call.inputs if view.block in writers]
    if not all(block in private for block in writers) or len(reads) != len(writers):
        return None
    if any(view != calls[writers[view.block]].output for view in reads):
        return None
    stages = _stages(calls, axis, writers)
    return None if stages is None else _stripe(stages, axis)


def _has_lines(call: Call, axis: int) -> bool:
    """Whether a call can run line by line."""
    views = [*call.inputs, call.output]
    if isinstance(call, Stripe) or any(len(view.shape) != _DIMENSIONS for view in views):
        return False
    layer = call.arguments[0]
    if not isinstance(layer, Structure) or any(view.shape[0] != 1 for view in views):
        return False
    if averages_all(call, axis):
        return True
    if call.output.shape[axis] < 2:
        return False
    if call.kernel in _WINDOWS:
        return True
    is_loop = isinstance(layer, Loop | LoopLayer)
    return is_loop and all(view.shape == call.output.shape for view in views)


def averages_all(call: Call, axis: int) -> bool:
    """Whether a call is a global average of int8, which can accumulate line by line."""
    if call.kernel != "pool_average":
        return False
    (source,) = call.inputs
    window = _window_layer(call).window
    return (
        call.output.shape[1:3] == (1, 1)
        and (window.rows, window.columns) == source.shape[1:3]
        and (window.top, window.left) == (0, 0)
        and source.shape[axis] > 1
    )


def _window_layer(call: Call) -> WindowLayer:
    layer = call.arguments[0]
    assert isinstance(layer, WindowLayer)
    return layer


def _window(call: Call, view: View, axis: int) -> Window:
    if call.kernel not in _WINDOWS or averages_all(call, axis):
        return Window(1, 1, 0, view.shape[axis], view.shape[axis])
    window = _window_layer(call).window
    lines = view.shape[axis]
    outputs = call.output.shape[axis]
    if axis == ROWS:
        return Window(window.row_reach, window.row_stride, window.top, lines, outputs)
    return Window(window.column_reach, window.column_stride, window.left, lines, outputs)


def _stages(calls: Sequence[Call], axis: int, writers: dict[Block, int]) -> list[Stage] | None:
    """Stages with memory for the lines between them; None if they cannot be fused."""
    targets = [Lines(call.output) for call in calls]
    stages = []
    for index, call in enumerate(calls):
        windows = tuple(_window(call, view, axis) for view in call.inputs)
        sources = []
        for view, window in zip(call.inputs, windows, strict=True):
            producer = writers.get(view.block)
            if producer is not None:
                if window.reach < window.stride:
                    return None  # the window skips lines
                targets[producer] = Lines(_kept_lines(view, window, axis), producer)
            sources.append(Lines(view) if producer is None else targets[producer])
        sums = None
        if averages_all(call, axis):
            sums = Block(f"{call.layer} (sums)", _SUM_BYTES * call.output.shape[3])
        stages.append(Stage(call, windows, tuple(sources), targets[index], sums))
    return [
        dataclasses.replace(stage, target=target)
        for stage, target in zip(stages, targets, strict=True)
    ]


def _kept_lines(view: View, window: Window, axis: int) -> View:
    """A block for some consecutive lines of a tensor."""
    shape = list(view.shape)
    shape[axis] = window.kept
    line = math.prod(view.shape) // view.shape[axis] * view.item
    strides = [line * window.kept, line, line, view.item]
    strides[ROWS + COLUMNS - axis] = view.shape[3] * view.item
    if window.kept == 1:
        strides = list(packed_strides(shape, view.item))
    block = Block(f"{view.block.label} ({window.kept} lines)", line * window.kept)
    return View(block, 0, tuple(shape), tuple(strides), view.item)


class _Schedule:
    """The order of stages: a stage runs when a later one needs its next line.

    ``slack`` has for each whole input of the stripe the least bytes from the last output's start to
    the input's if they alias.
    """

    def __init__(self, stages: list[Stage], axis: int) -> None:
        self._stages, self._axis = stages, axis
        self._done = [0] * len(stages)
        self._end = -_FAR  # offset past the items of the last output written so far
        self.order: list[int] = []
        self.slack = {index: -view.block.size for index, view in enumerate(whole_inputs(stages))}
        last = stages[-1]
        lines = last.windows[0].lines if last.sums else last.target.view.shape[axis]
        for _ in range(lines):
            self._run(len(stages) - 1)
        if last.sums:
            self.order.append(len(stages))

    def _run(self, index: int) -> None:
        """Compute the next line of a stage, after the lines that it reads."""
        stage, line = self._stages[index], self._done[index]
        spans = [window.span(line) for window in stage.windows]
        for source, (_, end) in zip(stage.sources, spans, strict=True):
            while source.producer is not None and self._done[source.producer] < end:
                self._run(source.producer)
        is_output = stage is self._stages[-1] and not stage.sums
        target = stage.target.view
        written = _extent(target, self._axis, line, line + 1)[1] if is_output else -_FAR
        number = len(whole_inputs(self._stages[:index]))
        for source, span in zip(stage.sources, spans, strict=True):
            if source.producer is not None:
                continue
            place = _extent(source.view, self._axis, *span)[0]
            # An item may be overwritten in the step that reads it.
            by_item = stage.call.kernel not in _WINDOWS and source.view.strides == target.strides
            end = place if by_item and is_output else written
            self.slack[number] = max(self.slack[number], max(self._end, end) - place)
            number += 1
        self._end = max(self._end, written)
        self.order.append(index)
        self._done[index] += 1


def whole_inputs(stages: Sequence[Stage]) -> list[View]:
    """Inputs of stages that are whole tensors."""
    return [source.view for stage in stages for source in stage.sources if source.producer is None]


def _extent(view: View, axis: int, first: int, end: int) -> tuple[int, int]:
    """Lowest offset of some lines, and one past the highest, relative to the view's start."""
    ranges = [
        (0, (size - 1) * stride) for size, stride in zip(view.shape, view.strides, strict=True)
    ]
    ranges[axis] = (first * view.strides[axis], max(end - 1, first) * view.strides[axis])
    return sum(map(min, ranges)), sum(map(max, ranges)) + view.item


def _stripe(stages: list[Stage], axis: int) -> Stripe:
    schedule = _Schedule(stages, axis)
    apart = sum(stage.target.view.block.size for stage in stages[:-1])
    stages = _with_shared_lines(stages, schedule.order)
    last = stages[-1]
    lines = list(dict.fromkeys(stage.target.view.block for stage in stages[:-1]))
    scratch: list[Argument] = [*lines]
    scratch += [last.sums] if last.sums else []
    sizes = [block.size for stage in stages for block in stage.call.scratch]
    shared = Block("scratch", max(sizes, default=0))
    scratch += [shared] if sizes else []
    return Stripe(
        kernel="stripe",
        operator=KIND,
        layer=last.call.layer,
        note=last.call.note,
        arguments=scratch,
        inputs=whole_inputs(stages),
        output=last.call.output,
        slack=schedule.slack,
        axis=axis,
        stages=stages,
        order=schedule.order,
        shared=shared,
        saved_bytes=apart - sum(block.size for block in lines),
    )


def _with_shared_lines(stages: list[Stage], order: Sequence[int]) -> list[Stage]:
    """The stages, where single lines that never exist at the same time have the same memory."""
    groups: list[list[Block]] = []
    together = _together(stages, order)
    for stage in stages[:-1]:
        block = stage.target.view.block
        if block not in together:
            continue
        group = next((some for some in groups if not together[block] & set(some)), None)
        if group is None:
            groups.append([block])
        else:
            group.append(block)
    shared: dict[Block, Block] = {}
    for group in groups:
        line = Block("a line", max(block.size for block in group))
        shared |= {block: line for block in group}

    def moved(lines: Lines) -> Lines:
        block = shared.get(lines.view.block, lines.view.block)
        return dataclasses.replace(lines, view=dataclasses.replace(lines.view, block=block))

    return [
        dataclasses.replace(
            stage,
            sources=tuple(map(moved, stage.sources)),
            target=moved(stage.target),
        )
        for stage in stages
    ]


def _together(stages: list[Stage], order: Sequence[int]) -> dict[Block, set[Block]]:
    """For the block of each single line, the blocks of the lines that exist at the same time.

    A line exists from the step that computes it to the one that reads it. If this one overwrites
    only items that it has read, its output and the line may have the same memory.
    """
    single = {
        source.view.block
        for stage in stages
        for source, window in zip(stage.sources, stage.windows, strict=True)
        if source.producer is not None and window.kept == 1
    }
    together: dict[Block, set[Block]] = {block: set() for block in single}
    alive: set[Block] = set()
    for index in order:
        if index == len(stages):
            continue  # the division of sums reads no line
        stage = stages[index]
        if _overwrites_line(stage):
            alive -= {stage.sources[0].view.block}
        alive |= {stage.target.view.block} & single
        for block in alive:
            together[block] |= alive - {block}
        alive -= {source.view.block for source in stage.sources}
    return together


def _overwrites_line(stage: Stage) -> bool:
    """Whether a convolution may write its output over the line that it reads."""
    layer = stage.call.arguments[0]
    if stage.call.kernel != "convolve" or not isinstance(layer, Convolution):
        return False
    if stage.windows[0].moves:
        return False
    source, target = stage.sources[0].view, stage.target.view
    return window_slack(source, target, layer.window, channels_at_once=True) <= 0


def line_layer(stage: Stage, axis: int) -> Structure:
    """The constants of a stage's call on a line."""
    layer = stage.call.arguments[0]
    if isinstance(layer, WindowLayer):
        source = with_steps(layer.input, stage.sources[0].view)
        target = _with_lines(with_steps(layer.output, stage.target.view), axis, 1)
        if stage.sums is not None:
            source = _with_lines(source, axis, 1)
        return dataclasses.replace(layer, input=source, output=target)
    views = [source.view.part(axis, 0, 1) for source in stage.sources]
    loop = loop_layer(stage.target.view.part(axis, 0, 1), views)
    assert loop is not None  # at most four dimensions
    return dataclasses.replace(layer, loop=loop) if isinstance(layer, LoopLayer) else loop


def with_steps(image: Image, view: View) -> Image:
    """An image with the steps of a view."""
    steps = view.strides
    return dataclasses.replace(image, row_step=steps[ROWS], column_step=steps[COLUMNS])


def _with_lines(image: Image, axis: int, count: int) -> Image:
    if axis == ROWS:
        return dataclasses.replace(image, rows=count)
    return dataclasses.replace(image, columns=count)


def products(call: Call) -> int:
    """Multiply-accumulates of a kernel for one item of its output."""
    if call.kernel not in _WINDOWS:
        return 0
    window = _window_layer(call).window
    channels = call.inputs[0].shape[3] if call.kernel in ("convolve", "convolve_16") else 1
    return window.rows * window.columns * channels


def line_pixels(stripe: Stripe, member: Call) -> int:
    """Pixels of a line of a member's output."""
    return member.output.shape[ROWS + COLUMNS - stripe.axis]
