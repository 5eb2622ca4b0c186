# SPDX-License-Identifier: Apache-2.0
"""Which memory each tensor is a view of, and the calls that compute it.

Reshapes, slices, splits, transpositions and mirrors become views of their inputs, which cost
nothing. The inputs of a concatenation become views of its output, so that their producers write in
place. A tensor is copied where a kernel cannot read its view.
"""

import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler.calls import Argument, Block, Call, State, View, loops, packed
from m3net_tf.compiler.limits import MOST_CALLS, MOST_CONSTANT_BYTES
from m3net_tf.compiler.structures import Array, Structure, arrays_of
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import SHRINK, Graph, Operation, Tensor

#: Types of items without a scale: results of comparisons, and indices.
UNSCALED_TYPES = ("bool", "int32")


class Lowering:
    """The calls of a network, built operator by operator.

    Attributes:
        views: views of the tensors that have a place.
        states: buffers that keep their content between runs.
        saved: what each rewrite saved, by its name.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.calls: list[Call] = []
        self.views: dict[Tensor, View] = {}
        self.states: list[State] = []
        self.saved: dict[str, int] = {}
        self._constants: set[int] = set()  # hashes of their content
        self._constant_bytes = 0

    def count(self, rewrite: str, number: int = 1) -> None:
        """Count what a rewrite saved."""
        self.saved[rewrite] = self.saved.get(rewrite, 0) + number

    def read(self, tensor: Tensor) -> View:
        """View of a constant, or of a tensor that is computed already.

        Raises:
            ModelError: its type is not supported.
        """
        item = _item_bytes(tensor)
        if tensor not in self.views:
            assert tensor.data is not None, tensor.name
            values = np.asarray(tensor.data).astype(f"<i{item}").tobytes()
            self.views[tensor] = packed(Block(tensor.name, len(values), values), tensor.shape, item)
        return self.views[tensor]

    def write(self, tensor: Tensor) -> View:
        """View into which a call writes a tensor: inside its reader's buffer, else a new block.

        Raises:
            ModelError: its type is not supported.
        """
        item = _item_bytes(tensor)
        if tensor not in self.views:
            block = Block(tensor.name, tensor.size * item)
            self.views[tensor] = packed(block, tensor.shape, item)
        return self.views[tensor]

    def move(self, op: Operation, source: View, tensor: Tensor) -> None:
        """Make a tensor alias another view, or copy the view if the tensor has a place already."""
        if source.shape != tensor.shape:
            raise op.error(f"has the output shape {tensor.shape}, not {source.shape}")
        if tensor in self.views:
            self.copy(op, source, self.views[tensor])
            return
        self.views[tensor] = source
        self.count("copies that became views")

    def copy(self, op: Operation, source: View, target: View) -> None:
        """Call the kernel that copies."""
        for loop in loops(target.as_bytes(), [source.as_bytes()]):
            arguments: list[Argument] = [loop.layer, *loop.inputs, loop.output]
            self.call(op, "copy", arguments, loop.inputs, loop.output, note=shape_text(target))

    def packed_input(self, op: Operation, view: View) -> View:
        """The view, or a contiguous copy of it."""
        if view.contiguous:
            return view
        block = Block(f"{op.output.name} (input)", math.prod(view.shape) * view.item)
        target = packed(block, view.shape, view.item)
        self.copy(op, view, target)
        return target

    def keep(self, label: str, start: tuple[tuple[int, int], ...]) -> Block:
        """A buffer that keeps its content between runs; ``start`` as in :class:`.State`."""
        block = Block(label, sum(count for _, count in start))
        self.states.append(State(block, start))
        return block

    def call(
        self,
        op: Operation,
        kernel: str,
        arguments: Sequence[Argument],
        inputs: Sequence[View],
        output: View,
        *,
        slack: dict[int, int] | None = None,
        note: str = "",
    ) -> Call:
        """Add a call of a kernel that computes an operator or a part of it; see :class:`.Call`.

        By default the output must not alias an input, and the note has the shapes.
        """
        note = note or shapes_note(inputs, output)
        self._require_room(op, arguments)
        call = Call(kernel, op.kind, op.layer, note, list(arguments), list(inputs), output)
        call.slack = slack or {}
        self.calls.append(call)
        return call

    def _require_room(self, op: Operation, arguments: Sequence[Argument]) -> None:
        """Refuse a call too many, and one with more constants than a microcontroller holds."""
        if len(self.calls) >= MOST_CALLS:
            raise op.error(
                f"needs more calls of kernels, with those before it, than {MOST_CALLS}", SHRINK
            )
        for item in arguments:
            if isinstance(item, View) and item.block.data is not None:
                self._count_constant(hash(item.block.data), item.block.size)
            elif isinstance(item, Array | Structure):
                for array in arrays_of(item):
                    self._count_constant(hash(array.key), array.size)
        if self._constant_bytes > MOST_CONSTANT_BYTES:
            raise op.error(
                f"needs more bytes of constants, with those before it, than {MOST_CONSTANT_BYTES}",
                SHRINK,
            )

    def _count_constant(self, content: int, size: int) -> None:
        """Count the bytes of a constant once."""
        if content not in self._constants:
            self._constants.add(content)
            self._constant_bytes += size


def shape_text(view: View) -> str:
    """Shape as a comment shows it."""
    return "x".join(str(size) for size in view.shape) or "scalar"


def shapes_note(inputs: Sequence[View], output: View) -> str:
    """Shapes as the comment of a call shows them."""
    return f"{', '.join(map(shape_text, inputs))} -> {shape_text(output)}"


def _item_bytes(tensor: Tensor) -> int:
    if tensor.dtype not in ("int8", "int16", "uint8", *UNSCALED_TYPES):
        raise ModelError(
            f"tensor {tensor.name!r} is {tensor.dtype}, where the compiler takes int8, or int16 "
            "with int8 weights: convert the network with representative data"
        )
    return tensor.item_bytes
