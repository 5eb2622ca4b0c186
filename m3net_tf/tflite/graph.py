# SPDX-License-Identifier: Apache-2.0
"""A network as operators and tensors: what all code but :mod:`.read` and :mod:`.write` works on.

The converter has folded BatchNorm, fused activations and split every layer, including custom ones,
into operators. So code for this graph works for all networks.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.names import ACTIVATIONS

#: What to do about an operator that is refused.
CONVERT = "convert the network again"
QUANTISE = "quantise the network again, with other representative data"
REPLACE = "replace its layer"
SHRINK = "make the network smaller"

#: Operators with weights of each output channel.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

_MOST_DETAILS = 300  # characters of an error: shapes and names are from the file


@dataclasses.dataclass(eq=False)
class Tensor:
    """A tensor of the network; two tensors are equal only if they are the same object.

    Attributes:
        shape: dimensions; () for a scalar.
        dtype: ``int8``, ``int32`` and so on.
        scales: float32, one for the tensor or one for each channel; empty without quantisation.
        zero_points: as many as scales.
        channel_axis: dimension that several scales belong to.
        data: values of a constant, of ``shape``; None for a computed tensor. Of a type that NumPy
            does not have: the file's bytes.
        is_state: whether an operator keeps its state in this tensor.
        unknown: dimensions whose sizes the file leaves open; ``shape`` has 1 there, or what the
            compiler found.
        file_dtype: type in the file of an input or output whose conversion was removed; else ''.
        start: what a reset sets a variable to.
        index: place among the file's tensors, by which an interpreter knows it.
        range: smallest and largest number of a computed tensor, which quantisation covers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.float32)
    )
    zero_points: tuple[int, ...] = ()
    channel_axis: int = 0
    data: npt.NDArray[Any] | None = None
    is_state: bool = False
    unknown: tuple[int, ...] = ()
    file_dtype: str = ""
    start: npt.NDArray[Any] | None = None
    index: int = -1
    range: tuple[float, float] | None = None

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of an item."""
        return np.dtype(self.dtype).itemsize

    @property
    def scale(self) -> np.float32:
        """The scale of a tensor quantised as a whole.

        Raises:
            ModelError: the tensor has none, or several.
        """
        if len(self.scales) != 1:
            raise ModelError(
                f"tensor {self.name!r} has {len(self.scales)} scales, not one: {CONVERT}"
            )
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised as a whole.

        Raises:
            ModelError: the tensor has none, or several.
        """
        if len(self.zero_points) != 1:
            raise ModelError(
                f"tensor {self.name!r} has {len(self.zero_points)} zero points, not one: {CONVERT}"
            )
        return self.zero_points[0]

    def same_quantization(self, other: Tensor) -> bool:
        """Whether equal bytes are equal numbers in both."""
        same_scales = np.array_equal(self.scales, other.scales)
        return same_scales and self.zero_points == other.zero_points


@dataclasses.dataclass(frozen=True)
class Removed:
    """The channels that a pass removed from the output of a layer.

    Attributes:
        channels: number of channels before.
        constant: number that had one byte for every input.
        unread: number that nothing but weights of zero read.
    """

    channels: int
    constant: int
    unread: int


@dataclasses.dataclass(eq=False)
class Operation:
    """An operator with its tensors.

    Attributes:
        kind: builtin operator, such as ``CONV_2D``.
        inputs: None where an optional input is missing.
        options: options by the names of the schema, such as ``strideW``; enumerations are numbers.
        index: place among the file's operators.
        removed: channels that a pass removed from the output.
    """

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Any]
    index: int = -1
    removed: Removed | None = None

    def input(self, index: int) -> Tensor:
        """An input that must be there.

        Raises:
            ModelError: it is missing.
        """
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise self.error(f"has no input {index}")
        return tensor

    def constant(self, index: int) -> npt.NDArray[Any]:
        """Values of an input that must be a constant.

        Raises:
            ModelError: it is missing or computed.
        """
        tensor = self.input(index)
        if tensor.data is None:
            raise self.error(f"computes its input {tensor.name!r}, which must be a constant")
        return tensor.data

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def activation(self) -> str:
        """The fused activation: ``NONE``, ``RELU``, ``RELU6``, …."""
        return ACTIVATIONS[self.options.get("fusedActivationFunction", 0)]

    @property
    def layer(self) -> str:
        """Name of the first output.

        The converter joins the names of all that it fuses; this is the first one.
        """
        return self.output.name.partition(";")[0]

    @property
    def name(self) -> str:
        """Operator and layer, as messages name them."""
        return f"{self.kind} {self.layer!r}"

    def error(self, what: str, step: str = CONVERT) -> ModelError:
        """An error that names operator and tensor, and what to do."""
        details = f"{what[:_MOST_DETAILS]} …" if len(what) > _MOST_DETAILS else what
        return ModelError(f"operator {self.name} {details}: {step}")


@dataclasses.dataclass
class Graph:
    """A network: operations in the order in which they run, and the file's SHA-256."""

    operations: list[Operation]
    inputs: list[Tensor]
    outputs: list[Tensor]
    sha256: str

    def tensors(self) -> list[Tensor]:
        """Each tensor that an operation, or the network's caller, reads or writes."""
        used = [each for op in self.operations for each in (*op.inputs, *op.outputs)]
        every = dict.fromkeys([*used, *self.inputs, *self.outputs])
        return [tensor for tensor in every if tensor is not None]

    def producers(self) -> dict[Tensor, Operation]:
        """The operation that computes each tensor."""
        return {tensor: op for op in self.operations for tensor in op.outputs}

    def readers(self, tensor: Tensor) -> list[Operation]:
        """Operations that read a tensor, each as often as it reads it."""
        return [op for op in self.operations for each in op.inputs if each is tensor]

    def keras_layer(self, op: Operation) -> str:
        """Keras's name of an operation's layer, without the network's name."""
        last = op.output.name.split(";")[-1]
        steps = [step for step in last.split("/") if not step.startswith("ReadVariableOp")]
        if len(steps) > 2:
            return "/".join(steps[1:-1])
        return "output" if op.output in self.outputs else last
