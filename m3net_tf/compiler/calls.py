# SPDX-License-Identifier: Apache-2.0
"""A network as calls of kernels on views of memory, the form that is planned and written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from m3net_tf.compiler.structures import DIMENSIONS, Array, Convolution, Loop, Structure


@dataclasses.dataclass(eq=False)
class Block:
    """A buffer: in the arena, or in flash if it has data.

    Attributes:
        label: what it holds, for messages and the plan.
        size: bytes.
        data: content of a constant.
        parameter: name in C of the parameter that points to it, where the caller owns it.
    """

    label: str
    size: int
    data: bytes | None = None
    parameter: str = ""

    @property
    def is_planned(self) -> bool:
        """Whether it gets a place in the arena."""
        return self.data is None and not self.parameter


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """A buffer that keeps its content between runs, so that no other may alias it.

    Attributes:
        start: what a reset fills it with: pairs of a byte and how often it is repeated.
    """

    block: Block
    start: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class View:
    """Items of a block.

    Attributes:
        offset: offset of the first item, in bytes.
        strides: bytes from one item to the next along each dimension; negative if it is reversed,
            zero if it is broadcast.
        item: bytes of an item, 1, 2 or 4.
    """

    block: Block
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item: int = 1

    @property
    def contiguous(self) -> bool:
        """Whether the items are contiguous, the last dimension fastest."""
        expected = packed_strides(self.shape, self.item)
        sizes = zip(self.shape, self.strides, expected, strict=True)
        return all(size == 1 or stride == packed for size, stride, packed in sizes)

    def reshaped(self, shape: tuple[int, ...]) -> View:
        """The same contiguous items in another shape."""
        return dataclasses.replace(self, shape=shape, strides=packed_strides(shape, self.item))

    def part(self, axis: int, start: int, size: int, step: int = 1) -> View:
        """A strided slice along one dimension; a negative step reverses it."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = size, strides[axis] * step
        return dataclasses.replace(self, offset=offset, shape=tuple(shape), strides=tuple(strides))

    def divided(self, axis: int, inner: int) -> View:
        """The view with a dimension as two, the second one of size ``inner``."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis : axis + 1] = shape[axis] // inner, inner
        strides[axis : axis + 1] = strides[axis] * inner, strides[axis]
        return dataclasses.replace(self, shape=tuple(shape), strides=tuple(strides))

    def transposed(self, order: Sequence[int]) -> View:
        """The transposed view."""
        shape = tuple(self.shape[axis] for axis in order)
        strides = tuple(self.strides[axis] for axis in order)
        return dataclasses.replace(self, shape=shape, strides=strides)

    def mirrored(self) -> View:
        """The view with all dimensions reversed."""
        steps = zip(self.shape, self.strides, strict=True)
        offset = self.offset + sum((size - 1) * stride for size, stride in steps)
        strides = tuple(-stride for stride in self.strides)
        return dataclasses.replace(self, offset=offset, strides=strides)

    def broadcast(self, shape: tuple[int, ...]) -> View:
        """Broadcast to a shape: leading dimensions are added, dimensions of size 1 repeated."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing
        for size, stride, target in zip(self.shape, self.strides, shape[missing:], strict=True):
            strides.append(0 if size == 1 and target != 1 else stride)
        return dataclasses.replace(self, shape=shape, strides=tuple(strides))

    def as_bytes(self) -> View:
        """The view in bytes, with one more dimension if an item has several."""
        if self.item == 1:
            return self
        return View(self.block, self.offset, (*self.shape, self.item), (*self.strides, 1))


def packed_strides(shape: Sequence[int], item: int = 1) -> tuple[int, ...]:
    """Strides, in bytes, of contiguous items."""
    return tuple(item * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def packed(block: Block, shape: tuple[int, ...], item: int = 1) -> View:
    """A view of a whole block."""
    return View(block, 0, shape, packed_strides(shape, item), item)


Argument = Structure | Array | View | Block | int


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a kernel.

    Attributes:
        kernel: its name without the prefix ``m3net_``.
        operator: kind of the operator that it is, or is a part of.
        layer: name of the operator's first output.
        note: shapes, for a comment.
        arguments: in the order of the kernel's parameters. A :class:`Block` is scratch memory.
        slack: by the index of an input, the least bytes from the output's start to the input's if
            the output aliases this input. It must not alias an input without an entry.
        backward: the same call from the last item to the first, if the kernel can do that.
        backward_slack: the least bytes from the first input's start to the output's if they alias
            and the call runs backward.
    """

    kernel: str
    operator: str
    layer: str
    note: str
    arguments: list[Argument]
    inputs: list[View]
    output: View
    slack: dict[int, int] = dataclasses.field(default_factory=dict)
    backward: Call | None = None
    backward_slack: int = 0

    @property
    def members(self) -> Sequence[Call]:
        """Calls that run together under its name."""
        return [self]

    @property
    def function(self) -> str:
        """The kernel in C, without the prefix ``m3net_``.

        Forms of convolutions that need much code have a function of their own, so that only the
        forms that a network has are linked.
        """
        layer = self.arguments[0]
        if isinstance(layer, Convolution) and layer.plain:
            return f"{self.kernel}_plain"
        if isinstance(layer, Convolution) and layer.is_winograd:
            return f"{self.kernel}_winograd"
        if self.kernel == "convolve_depthwise" and isinstance(layer, Convolution):
            if layer.lines:
                return self.kernel
            return f"{self.kernel}_line" if layer.pixels > 1 else f"{self.kernel}_pixels"
        return self.kernel

    @property
    def comment(self) -> str:
        """What the generated C says about it."""
        return f"{self.operator} {self.layer!r}: {self.note}"

    def reversed(self, arguments: list[Argument], source: View, output: View) -> Call:
        """The same call with views that go from the last item to the first."""
        note = f"{self.note}, from the last item on"
        return dataclasses.replace(
            self, note=note, arguments=arguments, inputs=[source], output=output
        )

    @property
    def scratch(self) -> list[Block]:
        """Memory that the kernel needs while it runs."""
        return [item for item in self.arguments if isinstance(item, Block)]


@dataclasses.dataclass(frozen=True)
class LoopOverViews:
    """A loop that reads and writes views of one shape; its layer has sizes and steps."""

    layer: Loop
    output: View
    inputs: list[View]


def loops(output: View, inputs: Sequence[View]) -> list[LoopOverViews]:
    """The loop over views of one shape, or several where it would have too many dimensions."""
    layer = loop_layer(output, inputs)
    if layer is not None:
        return [LoopOverViews(layer, output, list(inputs))]
    axis = min(
        (axis for axis, size in enumerate(output.shape) if size > 1), key=output.shape.__getitem__
    )
    parts = [
        [view.part(axis, i, 1) for view in (output, *inputs)] for i in range(output.shape[axis])
    ]
    return [loop for first, *others in parts for loop in loops(first, others)]


def loop_layer(output: View, inputs: Sequence[View]) -> Loop | None:
    """The loop over one or two inputs and an output of one shape, with the fewest dimensions.

    None if more than four dimensions remain.
    """
    views = [output, *inputs]
    sizes: list[int] = []
    strides: list[list[int]] = []  # of each view along each remaining dimension
    for axis, size in enumerate(output.shape):
        steps = [view.strides[axis] for view in views]
        if size == 1:
            continue
        if sizes and all(
            outer == size * inner for outer, inner in zip(strides[-1], steps, strict=True)
        ):
            sizes[-1] *= size
            strides[-1] = steps
        else:
            sizes.append(size)
            strides.append(steps)
    missing = DIMENSIONS - len(sizes)
    if missing < 0:
        return None
    padded = [[0] * len(views)] * missing + strides
    return Loop((*[1] * missing, *sizes), *zip(*padded, strict=True))
