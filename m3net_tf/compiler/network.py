# SPDX-License-Identifier: Apache-2.0
"""The stages of the compiler in order: a ``.tflite`` becomes a compiled network."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container, Iterator, Sequence

import numpy as np

from m3net_tf.compiler.brief import brief_layer
from m3net_tf.compiler.calls import Block, Call, State, View, packed
from m3net_tf.compiler.goals import CYCLES, Goal
from m3net_tf.compiler.in_ram import IN_RAM, choose_for_ram
from m3net_tf.compiler.limits import counting_steps
from m3net_tf.compiler.lowering import UNSCALED_TYPES, Lowering
from m3net_tf.compiler.micro import runs_in_micro
from m3net_tf.compiler.operators import OPERATORS, PACKED_WRITERS, UNSCALED, VIEWS, WIDE
from m3net_tf.compiler.operators.forms import require_form
from m3net_tf.compiler.operators.movement import concatenation_places
from m3net_tf.compiler.operators.variables import place_moving_lines
from m3net_tf.compiler.passes import FOLDS, PASSES, REMOVED, Pass
from m3net_tf.compiler.passes.constants import FOLDED
from m3net_tf.compiler.passes.functions import IN_FLOAT
from m3net_tf.compiler.pixels import SHARED, share_weights, take_smallest_forms
from m3net_tf.compiler.plan import Improve, Plan, plan_memory
from m3net_tf.compiler.read import read_network, require_order
from m3net_tf.compiler.striping import SAVED, Striping
from m3net_tf.compiler.structures import ArrayKey, Convolution
from m3net_tf.compiler.winograd import USED, winograd_layers
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Graph, Operation

_FAULTS = (ArithmeticError, LookupError, ValueError)


@dataclasses.dataclass(frozen=True)
class StreamedLayer:
    """What became of an operator of a streamed network.

    Attributes:
        name: operator and layer.
        state: ``streamed``, ``ends recomputed``, or ``whole`` and why.
        lines: number of lines that are computed with each push.
        window_lines: number of lines of the whole window; 0 if it has no lines.
        products: multiply-accumulate operations of a push.
        kept_bytes: bytes of its output's lines that stay from push to push.
    """

    name: str
    state: str
    lines: int
    window_lines: int
    products: int
    window_products: int
    kept_bytes: int


@dataclasses.dataclass(frozen=True)
class Push:
    """How a streamed network gets its input: ``hop`` lines of a window along ``axis`` at a time.

    ``shares`` has about which part of a window's products each tried axis leaves to a push.
    """

    axis: int
    hop: int
    window: int
    layers: list[StreamedLayer]
    shares: dict[int, float]

    @property
    def needed(self) -> int:
        """Pushes until a whole window has been pushed."""
        return -(-self.window // self.hop)

    @property
    def products(self) -> int:
        """Multiply-accumulate operations of a push."""
        return sum(layer.products for layer in self.layers)

    @property
    def window_products(self) -> int:
        """Multiply-accumulate operations of a whole window."""
        return sum(layer.window_products for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class CompiledNetwork:
    """A network as calls of kernels with planned memory.

    Attributes:
        graph: after all passes; has names, scales and the hash of the file.
        inputs: where the caller writes.
        outputs: where the caller reads.
        states: buffers that keep their content between runs.
        saved: what each rewrite saved, by its name.
        in_ram: bytes of each constant that lies in RAM, by its key.
        push: the push of a streamed network, which takes some lines of its inputs at a time.
        stream: the same network streamed, which is emitted with it and shares its constants.
    """

    graph: Graph
    calls: list[Call]
    inputs: list[View]
    outputs: list[View]
    states: list[State]
    plan: Plan
    saved: dict[str, int]
    in_ram: dict[ArrayKey, int]
    push: Push | None = None
    stream: CompiledNetwork | None = None

    @property
    def arena_bytes(self) -> int:
        """Memory in which the network runs, whole or streamed."""
        streamed = self.stream.arena_bytes if self.stream else 0
        return max(self.plan.arena_bytes, streamed)

    @property
    def state_blocks(self) -> list[Block]:
        """Memory that outlasts a run."""
        return [state.block for state in self.states]


@counting_steps()
def compile_network(
    tflite: bytes,
    improve: Improve | None = None,
    goal: Goal = CYCLES,
) -> CompiledNetwork:
    """Read, rewrite, lower and plan a network.

    Args:
        tflite: content of a ``.tflite`` file of int8, or of int16 with int8 weights.
        improve: improves the plan of the memory, such as :func:`.solver.solve`.
        goal: decides between forms of layers.

    Raises:
        ModelError: the file is damaged, or has an operator or a number that the compiler does not
            take; the message names operator and tensor.
    """
    graph, saved = rewritten(tflite, apart=goal.apart)
    with _in_range():
        lowering = Lowering(graph)
        inputs = [lowering.write(tensor) for tensor in graph.inputs]
        place_moving_lines(lowering)
        place_concatenations(lowering)
        for op in graph.operations:
            lower(lowering, op)
    return planned(lowering, inputs, saved, improve, goal)


def rewritten(tflite: bytes, *, apart: bool = False) -> tuple[Graph, dict[str, int]]:
    """The graph of a file after all passes, and what each pass saved.

    ``apart`` is as in :class:`.Goal`.

    Raises:
        ModelError: see :func:`compile_network`.
    """
    graph = read_network(tflite)
    _require_kinds(graph, OPERATORS.keys() | FOLDED | IN_FLOAT, tflite)
    require_order(graph)
    with _in_range():
        saved = {name: _rewrite(graph, step) for name, step in FOLDS.items()}
        _require_supported(graph, tflite)
        for op in graph.operations:
            with _fitting(op):
                require_form(op)
        passes = {name: step for name, step in PASSES.items() if not apart or name != REMOVED}
        saved |= {name: _rewrite(graph, step) for name, step in passes.items()}
    return graph, saved


def planned(
    lowering: Lowering,
    inputs: Sequence[View],
    saved: dict[str, int],
    improve: Improve | None = None,
    goal: Goal = CYCLES,
) -> CompiledNetwork:
    """The network of calls that have been made; see :func:`compile_network`.

    ``saved`` has what each pass saved.
    """
    graph = lowering.graph
    outputs = [_output(lowering, graph, index) for index in range(len(graph.outputs))]
    saved.update(lowering.saved)
    kept = [packed(state.block, (state.block.size,)) for state in lowering.states]
    ends = [*inputs, *kept], [*outputs, *kept]
    if goal.is_small:
        take_smallest_forms(lowering.calls)
    striping = Striping(lowering.calls, *ends, goal)
    striping.run()
    saved |= striping.saved
    if goal.is_small:
        plan = plan_memory(striping.calls, *ends, improve)
    else:
        plan = share_weights(striping.calls, *ends, improve, goal)
    members = [member for call in plan.calls for member in call.members]
    for member in members:
        if isinstance(layer := member.arguments[0], Convolution) and not goal.is_small:
            member.arguments[0] = brief_layer(layer, member.function)
    convolutions = [
        layer
        for member in members
        if member.kernel == "convolve" and isinstance(layer := member.arguments[0], Convolution)
    ]
    saved[SHARED] = sum(layer.pixels > 1 and not layer.is_winograd for layer in convolutions)
    saved[USED] = len(winograd_layers(plan.calls))
    in_ram = choose_for_ram(plan.calls, goal.ram_bytes)
    saved[IN_RAM] = sum(in_ram.values())
    if striping.whole_bytes is not None:
        saved[SAVED] = striping.whole_bytes - plan.arena_bytes
    return CompiledNetwork(
        graph, plan.calls, list(inputs), outputs, lowering.states, plan, saved, in_ram
    )


def _in_range() -> contextlib.AbstractContextManager[object]:
    """A damaged file's scales may overflow float32; the error then names the operator."""
    return np.errstate(over="raise", divide="raise", invalid="raise")


def _require_kinds(graph: Graph, kinds: Container[str], tflite: bytes) -> None:
    for op in graph.operations:
        if op.kind not in kinds:
            readers = graph.readers(op.output) if op.kind == "DEQUANTIZE" else []
            name = f"{readers[0].name} computes in float, which" if readers else op.name
            micro = ", or use TFLite Micro" if runs_in_micro(tflite) else ""
            raise ModelError(f"operator {name} is not supported: replace its layer{micro}")


def _require_supported(graph: Graph, tflite: bytes) -> None:
    for op in graph.operations:
        types = {tensor.dtype for tensor in [*op.inputs, *op.outputs] if tensor is not None}
        if "uint8" in types and op.kind not in VIEWS | {"QUANTIZE"}:
            raise op.error(
                "computes with uint8, for which TensorFlow Lite Micro has no kernels",
                "convert the float network again, with representative data and "
                "TFLITE_BUILTINS_INT8",
            )
    _require_kinds(graph, OPERATORS, tflite)
    if not graph.inputs or not graph.outputs:
        raise ModelError("the network has no input or no output: convert it again")
    for tensor in [*graph.inputs, *graph.outputs]:
        if not len(tensor.scales) and tensor.dtype == "float32":
            raise ModelError(
                f"the network's end {tensor.name!r} is {tensor.dtype} without a scale: convert the "
                "network to int8, with representative data"
            )


def _rewrite(graph: Graph, step: Pass) -> int:
    """Run a pass; its exceptions mean that parts of the network do not fit together."""
    try:
        return step(graph)
    except _FAULTS as error:
        raise ModelError(
            f"the network has an operator whose tensors or options do not fit ({error}): "
            "convert it again"
        ) from None


def lower(lowering: Lowering, op: Operation) -> None:
    """Add the calls of an operator.

    Raises:
        ModelError: it is not supported.
    """
    _require_symmetry(op)
    if op.output.dtype == "int16" and op.kind not in WIDE:
        raise op.error("is not supported for int16 tensors", REPLACE)
    # A TRANSPOSE_CONV has its shape from its output, whether or not the file computes it again.
    tensors = [*op.inputs[op.kind == "TRANSPOSE_CONV" :], *op.outputs]
    computed = {tensor.dtype for tensor in tensors if tensor is not None and tensor.data is None}
    unscaled = computed & {*UNSCALED_TYPES}
    if unscaled and op.kind not in VIEWS | UNSCALED:
        raise op.error(
            f"computes with {' and '.join(sorted(unscaled))}, which is not supported", REPLACE
        )
    with _fitting(op):
        OPERATORS[op.kind](lowering, op)


@contextlib.contextmanager
def _fitting(op: Operation) -> Iterator[None]:
    """Name the operator where its tensors or options do not fit together.

    Raises:
        ModelError: they do not.
    """
    try:
        yield
    except ModelError as error:
        if str(error).startswith("operator "):
            raise
        raise ModelError(f"operator {op.name}: {error}") from None
    except _FAULTS as error:
        raise op.error(f"has tensors or options that do not fit ({error})") from None


def _require_symmetry(op: Operation) -> None:
    if op.kind == "QUANTIZE" or (op.kind, op.input(0).dtype) == ("SOFTMAX", "int8"):
        return  # the former takes any zero point, softmax.py checks the latter's
    for tensor in [*op.inputs, *op.outputs]:
        if tensor is not None and tensor.dtype == "int16" and any(tensor.zero_points):
            raise op.error(
                f"has the int16 tensor {tensor.name!r} with a zero point other than 0", QUANTISE
            )


def place_concatenations(lowering: Lowering) -> None:
    """Make the inputs of concatenations alias parts of the outputs.

    Their producers must be able to write there. The last concatenation comes first, so that a
    concatenation of concatenations is in place throughout.
    """
    graph = lowering.graph
    producers = graph.producers()
    for op in reversed(graph.operations):
        if op.kind != "CONCATENATION" or op.output.data is not None:
            continue
        for tensor, place in concatenation_places(lowering, op):
            producer = producers.get(tensor)
            if producer is None or tensor in lowering.views:
                continue
            if producer.kind not in VIEWS | PACKED_WRITERS:
                lowering.views[tensor] = place


def _output(lowering: Lowering, graph: Graph, index: int) -> View:
    """An output of the network: contiguous, in a buffer of its own."""
    tensor = graph.outputs[index]
    view = lowering.read(tensor)
    is_input = any(view.block is lowering.views[source].block for source in graph.inputs)
    if view.contiguous and view.block.data is None and not is_input:
        return view
    op = graph.producers().get(tensor)
    if op is None:
        raise ModelError(
            f"the network's output {tensor.name!r} is an input or a constant: compute it from "
            "an input"
        )
    del lowering.views[tensor]
    target = lowering.write(tensor)
    lowering.copy(op, view, target)
    return target
