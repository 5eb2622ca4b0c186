# SPDX-License-Identifier: Apache-2.0
"""The structures of ``firmware/engine/engine.h``: constants that the compiler writes in C.

Each class has the members of its structure in the same order, which gives its size on a device with
32-bit pointers. Generated C asserts that the engine's structure has this size.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

DIMENSIONS = 4
"""Dimensions of a loop, ``M3NET_DIMENSIONS`` in C; smaller tensors have leading ones."""

#: Left shifts that kernels apply to the inputs of ADD, SUB and SQUARED_DIFFERENCE.
SUM_BITS = {"int8": 20, "int16": 15}
DIFFERENCE_BITS = {"int8": 7, "int16": 0}

_POINTER_BYTES = 4


@dataclasses.dataclass(frozen=True)
class _Member:
    """The C type of a member: bytes of an item, and number of items."""

    item_bytes: int
    count: int = 1


Int8 = Annotated[int, _Member(1)]
Int16 = Annotated[int, _Member(2)]
Int32 = Annotated[int, _Member(4)]
Int64 = Annotated[int, _Member(8)]
Bool8 = Annotated[bool, _Member(1)]
Pair = Annotated[tuple[int, ...], _Member(4, 2)]
Triple = Annotated[tuple[int, ...], _Member(4, 3)]
PerDimension = Annotated[tuple[int, ...], _Member(4, DIMENSIONS)]

_ITEM_BYTES = {
    "int8_t": 1,
    "uint8_t": 1,
    "int16_t": 2,
    "uint16_t": 2,
    "int32_t": 4,
    "int64_t": 8,
    # Weights on a core with the DSP extension.
    "m3net_block": 1,
    "m3net_plain_block": 1,
    "m3net_tap": 1,
    "m3net_winograd_block": 4,
}
TAPS = ("m3net_tap", "m3net_column_tap", "m3net_row_tap")
"""Types of items of a depthwise convolution's weights, by the direction of its lines."""
_LINE_BYTES = 12  # of the weights of a channel whose lines have a direction


ArrayKey = tuple[str, bytes]


@dataclasses.dataclass(frozen=True, eq=False)
class Array:
    """A constant array of the C source.

    Attributes:
        label: prefix of its name.
        ctype: type of an item.
        values: integers; one row for each item if items are structures.
    """

    label: str
    ctype: str
    values: npt.NDArray[Any]

    @property
    def key(self) -> ArrayKey:
        """Equal arrays have equal keys."""
        return self.ctype, self.values.tobytes() + str(self.values.shape).encode()

    @property
    def size(self) -> int:
        """Bytes in flash."""
        if self.ctype in ITEM_STRUCTURES:
            return len(self.values) * ITEM_STRUCTURES[self.ctype].device_bytes()
        if self.ctype in TAPS[1:]:
            return math.prod(self.values.shape[:2]) * _LINE_BYTES
        return self.values.size * _ITEM_BYTES[self.ctype]


Pointer = Annotated[Array, _Member(_POINTER_BYTES)]


@dataclasses.dataclass(frozen=True)
class Structure:
    """A constant structure of the C source; ``ctype`` is its type in C."""

    ctype: ClassVar[str]

    @classmethod
    @functools.cache
    def device_bytes(cls) -> int:
        """Bytes on a device with pointers of 32 bits."""
        return _layout(cls)[0]

    @classmethod
    def requirements(cls) -> list[str]:
        """Conditions in C that hold if the engine's structure is this one."""
        return [f"sizeof(void *) != 4 || sizeof({cls.ctype}) == {cls.device_bytes()}"]

    @classmethod
    def row_type(cls) -> list[tuple[str, str]]:
        """The members as fields of a NumPy array, if all are numbers."""
        hints = typing.get_type_hints(cls, include_extras=True)
        names = [field.name for field in dataclasses.fields(cls)]
        return [(name, f"<i{_space(hints[name])[0]}") for name in names]

    def member(self, field: str) -> str:
        """Name in C of a field."""
        return field

    def in_memory(self) -> Self:
        """The structure with its arrays in the form in which they lie in memory."""
        return self

    def members(self, name_of: Callable[[Array], str]) -> dict[str, str]:
        """The members' initial values in C; None leaves a member out.

        ``name_of`` gives the name of a constant array.
        """
        layer = self.in_memory()
        values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
        return {
            layer.member(field): _text(value, name_of)
            for field, value in values.items()
            if value is not None
        }


def arrays_of(constant: Array | Structure) -> Iterator[Array]:
    """The arrays that a constant is, or points to."""
    if isinstance(constant, Array):
        yield constant
        return
    for field in dataclasses.fields(constant):
        value = getattr(constant, field.name)
        if isinstance(value, Array | Structure):
            yield from arrays_of(value)


def _text(value: object, name_of: Callable[[Array], str]) -> str:
    if isinstance(value, Array):
        return name_of(value)
    if isinstance(value, Structure):
        parts = ", ".join(f".{name} = {text}" for name, text in value.members(name_of).items())
        return f"{{{parts}}}"
    if isinstance(value, tuple):
        return "{" + ", ".join(map(number_text, value)) + "}"
    assert isinstance(value, int | np.integer), value
    return number_text(value)


def number_text(value: int | np.integer[Any]) -> str:
    """A C literal; INT32_MIN has none of its own."""
    return "INT32_MIN" if int(value) == -(1 << 31) else str(int(value))


def _layout(kind: type[Structure]) -> tuple[int, int]:
    place, widest = 0, 1
    for hint in typing.get_type_hints(kind, include_extras=True).values():
        if typing.get_origin(hint) is ClassVar:
            continue
        size, alignment = _space(hint)
        place = round_up(place, alignment) + size
        widest = max(widest, alignment)
    return round_up(place, widest), widest


def _space(hint: Any) -> tuple[int, int]:
    if typing.get_origin(hint) is types.UnionType or typing.get_origin(hint) is typing.Union:
        (hint,) = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(hint) is Annotated:
        member = hint.__metadata__[0]
        return member.item_bytes * member.count, member.item_bytes
    return _layout(hint)


def structure_bytes(structure: Structure) -> bytes:
    """Bytes of a structure in the memory of a device, with pointers of zero."""
    result = bytearray()
    hints = typing.get_type_hints(type(structure), include_extras=True)
    for field in dataclasses.fields(structure):
        size, alignment = _space(hints[field.name])
        result += bytes(-len(result) % alignment)
        value = getattr(structure, field.name)
        if isinstance(value, Structure):
            result += structure_bytes(value)
        elif value is None or isinstance(value, Array):
            result += bytes(size)
        else:
            numbers = value if isinstance(value, tuple) else (value,)
            item = size // len(numbers)
            result += b"".join(int(each).to_bytes(item, "little", signed=True) for each in numbers)
    return bytes(result).ljust(structure.device_bytes(), b"\0")


def round_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


@dataclasses.dataclass(frozen=True)
class Factor(Structure):
    """A factor in fixed point: multiplier * 2^(shift - 31)."""

    ctype = "m3net_factor"
    multiplier: Int32
    shift: Int32


@dataclasses.dataclass(frozen=True)
class Channel(Structure):
    """Bias and requantisation of an int8 output channel."""

    ctype = "m3net_channel"
    bias: Int32
    multiplier: Int32
    offset: Int32
    left: Int16
    right: Int16


@dataclasses.dataclass(frozen=True)
class Channel16(Structure):
    """Bias and requantisation of an int16 output channel."""

    ctype = "m3net_channel_16"
    bias: Int64
    multiplier: Int32
    shift: Int32


@dataclasses.dataclass(frozen=True)
class Between(Structure):
    """A place between two rows or columns: bytes to both, and 1024ths from the first on."""

    ctype = "m3net_between"
    low: Int32
    high: Int32
    weight: Int32


CHANNEL_PAIR = "m3net_channel_pair"
"""Type of items of an array two of whose rows are an item."""
#: Structures that are items of arrays, or rows of them.
ITEM_STRUCTURES: dict[str, type[Structure]] = {
    **{kind.ctype: kind for kind in (Channel, Channel16, Between)},
    CHANNEL_PAIR: Channel,
}


def row_parts(array: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """The rows of an array of structures, beside the rows of :mod:`.brief` if it has them."""
    count = len(dataclasses.fields(ITEM_STRUCTURES[array.ctype]))
    values = array.values
    return values[:, :count], values[:, count:] if values.shape[1] > count else None


@dataclasses.dataclass(frozen=True)
class Image(Structure):
    """Layout of an image; steps are in bytes."""

    ctype = "m3net_image"
    rows: Int16
    columns: Int16
    channels: Int16
    batch_step: Int32
    row_step: Int32
    column_step: Int32


@dataclasses.dataclass(frozen=True)
class Window(Structure):
    """Window of a convolution or pooling; ``top`` and ``left`` are the padding before the image."""

    ctype = "m3net_window"
    rows: Int16
    columns: Int16
    row_stride: Int16 = 1
    column_stride: Int16 = 1
    row_dilation: Int16 = 1
    column_dilation: Int16 = 1
    top: Int16 = 0
    left: Int16 = 0

    @property
    def row_reach(self) -> int:
        """Rows from its first to its last."""
        return (self.rows - 1) * self.row_dilation + 1

    @property
    def column_reach(self) -> int:
        """Columns from its first to its last."""
        return (self.columns - 1) * self.column_dilation + 1


@dataclasses.dataclass(frozen=True)
class Convolution(Structure):
    """A convolution, depthwise convolution or fully connected layer of int8."""

    ctype = "m3net_convolution"
    weights: Pointer
    channels: Pointer
    input: Image
    output: Image
    window: Window
    batches: Int16
    padding: Int8
    plain: Bool8
    pixels: Int8
    lines: Int8
    narrow: Bool8
    full: Bool8
    alike: Bool8
    minimum: Int8
    maximum: Int8
    brief: Bool8 = False

    @property
    def is_winograd(self) -> bool:
        """Whether it has the form of :mod:`.winograd`."""
        return _WEIGHTS.get(self.weights.ctype) == "winograd_blocks"

    def member(self, field: str) -> str:
        """Weights and channels are unions over their forms."""
        weights = _WEIGHTS.get(self.weights.ctype, "taps")
        if field == "channels" and weights == "blocks":
            return "pairs"
        return weights if field == "weights" else field

    def in_memory(self) -> Self:
        """The weights have the order for the lines, and the channels the one for the blocks."""
        if self.member("channels") == "pairs":
            channels = dataclasses.replace(self.channels, ctype=CHANNEL_PAIR)
            return dataclasses.replace(self, channels=channels)
        if not self.lines or self.weights.ctype != TAPS[0]:
            return self
        weights = dataclasses.replace(self.weights, ctype=TAPS[self.lines])
        return dataclasses.replace(self, weights=weights)


_WEIGHTS = {
    "m3net_block": "blocks",
    "m3net_plain_block": "plain_blocks",
    "m3net_winograd_block": "winograd_blocks",
}


@dataclasses.dataclass(frozen=True)
class Convolution16(Structure):
    """As :class:`Convolution`, of int16."""

    ctype = "m3net_convolution_16"
    weights: Pointer
    channels: Pointer
    input: Image
    output: Image
    window: Window
    batches: Int16
    minimum: Int16
    maximum: Int16
    long_sums: Bool8


@dataclasses.dataclass(frozen=True)
class Pooling(Structure):
    """A pooling layer."""

    ctype = "m3net_pooling"
    input: Image
    output: Image
    window: Window
    batches: Int16
    minimum: Int16
    maximum: Int16


@dataclasses.dataclass(frozen=True)
class Loop(Structure):
    """A loop over up to four dimensions with the steps of each operand in bytes."""

    ctype = "m3net_loop"
    size: PerDimension
    output: PerDimension
    first: PerDimension
    second: PerDimension | None = None


@dataclasses.dataclass(frozen=True)
class Binary(Structure):
    """A layer of two int8 inputs, or of inputs and slopes, which needs fewer members."""

    ctype = "m3net_binary"
    loop: Loop
    first: Factor
    second: Factor
    output: Factor | None
    first_offset: Int16
    second_offset: Int16
    output_offset: Int16
    minimum: Int8 | None
    maximum: Int8 | None

    @classmethod
    def requirements(cls) -> list[str]:
        """Also of the bits by which the kernels enlarge inputs."""
        sums, differences = SUM_BITS["int8"], DIFFERENCE_BITS["int8"]
        bits = f"M3NET_SUM_BITS == {sums} && M3NET_DIFFERENCE_BITS == {differences}"
        return [*super().requirements(), bits]


@dataclasses.dataclass(frozen=True)
class Binary16(Structure):
    """A layer of two int16 inputs; minimum and maximum have no factors."""

    ctype = "m3net_binary_16"
    loop: Loop
    first: Factor | None
    second: Factor | None
    output: Factor | None
    minimum: Int16
    maximum: Int16

    @classmethod
    def requirements(cls) -> list[str]:
        """Also of the bits by which the kernels enlarge inputs."""
        return [*super().requirements(), f"M3NET_SUM_BITS_16 == {SUM_BITS['int16']}"]


@dataclasses.dataclass(frozen=True)
class Matmul(Structure):
    """Products of matrices."""

    ctype = "m3net_matmul"
    matrices: Loop
    rows: Int32
    columns: Int32
    depth: Int32
    output_step: Pair
    first_step: Pair
    second_step: Pair
    factor: Factor
    first_offset: Int16
    second_offset: Int16
    output_offset: Int16


@dataclasses.dataclass(frozen=True)
class Reduction(Structure):
    """A sum or maximum over some dimensions of a tensor."""

    ctype = "m3net_reduction"
    size: PerDimension
    output: PerDimension
    input: PerDimension
    reduced_size: PerDimension
    reduced_input: PerDimension
    factor: Factor
    sum_offset: Int32
    output_offset: Int16


@dataclasses.dataclass(frozen=True)
class Division(Structure):
    """A quotient of two int8 inputs."""

    ctype = "m3net_division"
    loop: Loop
    reciprocals: Pointer
    factor: Factor
    first_offset: Int16
    second_offset: Int16
    output_offset: Int16
    minimum: Int8
    maximum: Int8


@dataclasses.dataclass(frozen=True)
class Comparison(Structure):
    """A comparison of two int8 inputs, and its outputs."""

    ctype = "m3net_comparison"
    loop: Loop
    first: Factor
    second: Factor
    first_offset: Int16
    second_offset: Int16
    less: Bool8
    equal: Bool8
    greater: Bool8


@dataclasses.dataclass(frozen=True)
class Search(Structure):
    """The index of the largest or smallest int8 item along a dimension."""

    ctype = "m3net_search"
    loop: Loop
    count: Int32
    step: Int32
    smallest: Bool8


@dataclasses.dataclass(frozen=True)
class Runs(Structure):
    """Runs of bytes at the sums of three loops' places."""

    ctype = "m3net_runs"
    first: Pointer
    second: Pointer
    third: Pointer
    size: Triple
    bytes: Int32


@dataclasses.dataclass(frozen=True)
class Resizing(Structure):
    """A bilinear interpolation."""

    ctype = "m3net_resizing"
    rows: Pointer
    columns: Pointer
    size: Pair
    batches: Int32
    channels: Int32
    batch_step: Int32


@dataclasses.dataclass(frozen=True)
class Normalization(Structure):
    """Rows of int8 items that become vectors of length one."""

    ctype = "m3net_normalization"
    rows: Int32
    depth: Int32
    input_offset: Int16


@dataclasses.dataclass(frozen=True)
class Rescaling(Structure):
    """A function that is linear on either side of zero."""

    ctype = "m3net_rescaling"
    loop: Loop
    positive: Factor
    negative: Factor
    input_offset: Int32
    output_offset: Int32
    minimum: Int32
    maximum: Int32
    input_bytes: Int8
    output_bytes: Int8
    mirrored: Bool8
    absolute: Bool8


@dataclasses.dataclass(frozen=True)
class Root(Structure):
    """Reciprocal square root of int16 numbers."""

    ctype = "m3net_root"
    loop: Loop
    factor: Factor


@dataclasses.dataclass(frozen=True)
class Sigmoid(Structure):
    """Logistic function or hyperbolic tangent of int16 numbers."""

    ctype = "m3net_sigmoid"
    loop: Loop
    table: Pointer
    multiplier: Int32
    shift: Int32


@dataclasses.dataclass(frozen=True)
class Softmax(Structure):
    """Softmax over rows of int8 items."""

    ctype = "m3net_softmax_layer"
    exponentials: Pointer
    rows: Int32
    depth: Int32
    steps: Int32


@dataclasses.dataclass(frozen=True)
class LogSoftmax(Structure):
    """Logarithm of a softmax over rows of int8 items."""

    ctype = "m3net_log_softmax_layer"
    shares: Softmax
    factor: Factor
    inverse: Factor


@dataclasses.dataclass(frozen=True)
class Softmax16(Structure):
    """Softmax over rows of int16 items."""

    ctype = "m3net_softmax_layer_16"
    exponentials: Pointer
    reciprocals: Pointer
    rows: Int32
    depth: Int32
    factor: Factor


@dataclasses.dataclass(frozen=True)
class Gate(Structure):
    """A gate of an LSTM; with int16 inputs, one 64-bit bias serves both products."""

    ctype = "m3net_gate"
    input_weights: Pointer
    state_weights: Pointer
    input_bias: Pointer
    state_bias: Pointer | None
    input_factor: Factor
    state_factor: Factor

    def member(self, field: str) -> str:
        """The bias of the input is a union over its types."""
        is_long = self.input_bias.ctype == "int64_t"
        return "long_bias" if field == "input_bias" and is_long else field


@dataclasses.dataclass(frozen=True)
class Lstm(Structure):
    """Long short-term memory."""

    ctype = "m3net_lstm_layer"
    input: Gate
    forget: Gate
    cell: Gate
    output: Gate
    table: Pointer
    input_factor: Factor
    forget_factor: Factor
    output_factor: Factor
    batches: Int32
    steps: Int32
    inputs: Int32
    cells: Int32
    input_batch_step: Int32
    input_step: Int32
    output_batch_step: Int32
    output_step: Int32
    cell_multiplier: Int32
    cell_shift: Int32
    clip: Int16
    unclipped: Bool8
    output_offset: Int8


@dataclasses.dataclass(frozen=True)
class Svdf(Structure):
    """Filters over features and time."""

    ctype = "m3net_svdf_layer"
    features: Pointer
    time: Pointer
    bias: Pointer
    state_factor: Factor
    output_factor: Factor
    batches: Int32
    inputs: Int32
    units: Int32
    rank: Int32
    memory: Int32
    state_bytes: Int32
    input_offset: Int16
    state_offset: Int16
    output_offset: Int16


WindowLayer = Convolution | Convolution16 | Pooling
LoopLayer = Binary | Binary16 | Rescaling | Root | Sigmoid
