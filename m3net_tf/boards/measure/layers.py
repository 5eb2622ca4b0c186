# SPDX-License-Identifier: Apache-2.0
"""Cost of each layer of a network: measured on a board, or modelled."""

import collections
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from rich import box
from rich.table import Column, Table

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.emulation.cycles import PHASES, KernelCycles
from m3net_tf.compiler.calls import Call
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.compiler.goals import CYCLES, GOALS, Goal
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.stripes import Stripe, products
from m3net_tf.compiler.structures import ArrayKey, Convolution, Convolution16
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import FirmwareError, ModelError
from m3net_tf.system.words import counted
from m3net_tf.tflite.read import read_graph

PROFILE_SUFFIX = "-profile.json"
"""End of the names of saved profiles; a board's name comes before it."""


@dataclass(frozen=True)
class Operator:
    """An operator of a network, or a call of a compiled one.

    Attributes:
        output: shape of its first output.
        macs: multiply-accumulates; 0 for operators that have none.
        layer: name of its first output.
    """

    name: str
    output: tuple[int, ...]
    macs: int
    layer: str = ""


def operators_in_order(tflite: bytes) -> list[Operator]:
    """The operators of a network in the order in which they run, with their MACs.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    operators = []
    for op in read_graph(tflite).operations:
        shapes = [tensor.shape if tensor is not None else () for tensor in op.inputs]
        if op.outputs:
            macs = _macs(op.kind, shapes, op.output.shape)
            operators.append(Operator(op.kind, op.output.shape, macs, op.layer))
        else:  # it assigns a variable
            operators.append(Operator(op.kind, (), 0))
    return operators


def calls_in_order(tflite: bytes, goal: Goal = CYCLES) -> list[Operator]:
    """The calls of a compiled network in the order in which they run, with their MACs.

    The MACs of an operator that became several calls are shared among them by their outputs. Calls
    that run together, line by line, are one step with the sum of their MACs.

    Raises:
        ModelError: the compiler does not support the network.
    """
    calls = compile_network(tflite, goal=goal).calls
    macs = {(step.name, step.layer): step.macs for step in operators_in_order(tflite)}
    sizes = collections.Counter[tuple[str, str]]()
    for call in calls:
        for member in call.members:
            sizes[member.operator, member.layer] += math.prod(member.output.shape)

    def macs_of(member: Call) -> int:
        key = (member.operator, member.layer)
        return macs.get(key, 0) * math.prod(member.output.shape) // sizes[key]

    return [
        Operator(call.operator, call.output.shape, sum(map(macs_of, call.members)), call.layer)
        for call in calls
    ]


def steps_of(networks: Sequence[bytes], goal: Goal | None) -> list[Operator]:
    """What runs networks in this order; DiffRes's warp is between them.

    Args:
        goal: goal of compiled networks, whose calls they are; None for the operators that
            TensorFlow Lite Micro runs.

    Raises:
        ModelError: the engine does not support a network.
    """
    steps: list[Operator] = []
    for tflite in networks:
        if steps:
            steps.append(Operator("WARP", read_graph(tflite).inputs[0].shape, 0))
        steps += calls_in_order(tflite, goal) if goal else operators_in_order(tflite)
    return steps


def _macs(name: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """MACs of one operator from the shapes of its inputs and of its output."""
    size = int(np.prod(output))
    if name == "CONV_2D":  # weights: (out, height, width, in)
        return size * int(np.prod(inputs[1][1:]))
    if name == "DEPTHWISE_CONV_2D":  # weights: (1, height, width, out)
        return size * int(np.prod(inputs[1][1:3]))
    if name == "TRANSPOSE_CONV":  # shape, weights (out, height, width, in), input
        return int(np.prod(inputs[2])) * int(np.prod(inputs[1][:3]))
    if name == "FULLY_CONNECTED":  # weights: (out, in)
        return size * inputs[1][-1]
    if name == "BATCH_MATMUL":
        return size * inputs[0][-1]
    if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":  # weights: eight matrices (units, in or units)
        steps = int(np.prod(inputs[0][:-1]))
        return steps * sum(int(np.prod(shape)) for shape in inputs[1:9] if len(shape) == 2)
    return 0


class LayerCost(TypedDict):
    """An operator and its cost on the board; ``output`` is the shape of its output."""

    operator: str
    layer: str
    output: list[int]
    macs: int
    cost: int


class Profile(TypedDict):
    """Cost of one run of the network, by operator.

    Attributes:
        unit: ``instructions`` or ``cycles``.
        total: cost of a run without profiling, in ``unit``.
    """

    board: str
    engine: Engine
    unit: str
    total: int
    macs: int
    layers: list[LayerCost]


def profile(device: Device, *networks: bytes) -> Profile:
    """Measure each operator on the board, or each call if the board runs a compiled network.

    Args:
        networks: the ``.tflite`` files in the order in which they run; DiffRes's warp counts as
            an operator between its two networks.

    Raises:
        FirmwareError: the board does not answer, or it runs other operators than ``networks``.
    """
    reply = device.request("profile", timeout_s=60.0)
    lines = [line for line in reply.lines if line.word == "layer"]
    names = [line.fields.get("op", "") for line in lines]
    for goal in (*GOALS.values(), None):
        try:
            steps = steps_of(networks, goal)
        except ModelError:  # only TensorFlow Lite Micro can run it
            continue
        if names == [step.name for step in steps]:
            break
    else:
        raise FirmwareError(
            f"{device.port.name}: the board runs {len(names)} operators, which the run's network "
            "does not have: flash the run's firmware"
        )
    return {
        "board": device.info().board,
        "engine": COMPILED if goal else TFLM,
        "unit": reply.last.fields["unit"],
        "total": reply.number("total"),
        "macs": sum(step.macs for step in steps),
        "layers": [
            {
                "operator": step.name,
                "layer": step.layer,
                "output": list(step.output),
                "macs": step.macs,
                "cost": line.number("cost"),
            }
            for step, line in zip(steps, lines, strict=True)
        ],
    }


def save_profile(measured: Profile, model_sha256: str, run: Path) -> Path:
    """Write a profile and its network's hash to ``device/<board>-profile.json`` of a run."""
    path = run / "device" / f"{measured['board']}{PROFILE_SUFFIX}"
    write_json(path, {**measured, "model_sha256": model_sha256})
    return path


def profile_table(measured: Profile) -> Table:
    """The profile as a table for the terminal; at 80 columns long names wrap."""
    table = Table(
        title=f"one run on {measured['board']}, engine {measured['engine']}",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("operator", overflow="fold")
    table.add_column("output", no_wrap=True)
    for column in ("MACs", measured["unit"], "share", "per MAC"):
        table.add_column(column, justify="right", no_wrap=True)
    profiled = sum(layer["cost"] for layer in measured["layers"])
    for index, layer in enumerate(measured["layers"]):
        cost = layer["cost"]
        macs = layer["macs"]
        table.add_row(
            str(index),
            f"{layer['operator']} {layer['layer']}".strip(),
            " x ".join(map(str, layer["output"][1:])) or "1",
            f"{macs:,}" if macs else "",
            f"{cost:,}",
            f"{100 * cost / max(profiled, 1):.1f} %",
            f"{cost / macs:.2f}" if macs else "",
        )
    table.add_section()
    table.add_row("", "whole run", "", f"{measured['macs']:,}", f"{measured['total']:,}", "", "")
    return table


class ModelledLayer(KernelCycles):
    """Modelled cost of a layer in one run on a Cortex-M4.

    Attributes:
        layer: kind of the operator and name of its output.
        form: how the kernel computes it.
        macs: multiply-accumulates of the layer.
        outputs: items of its output.
    """

    layer: str
    form: str
    macs: int
    outputs: int


def kernels_of(network: CompiledNetwork) -> Iterator[tuple[Call, str]]:
    """The kernels of a run in their order: the call on whole tensors, and the function in C."""
    for call in network.calls:
        if not isinstance(call, Stripe):
            yield call, f"m3net_{call.function}"
            continue
        for index in call.order:
            if index == len(call.stages):
                yield call.stages[-1].call, "m3net_average_lines"
                continue
            stage = call.stages[index]
            kernel = "add_line" if stage.sums else stage.call.function
            yield stage.call, f"m3net_{kernel}"


def modelled_layers(
    kernels: Sequence[tuple[Call, str]],
    costs: Sequence[KernelCycles],
    in_ram: Container[ArrayKey] = (),
) -> list[ModelledLayer]:
    """The sum of the cost of each layer's kernels.

    Args:
        kernels: of a run; see :func:`kernels_of`.
        costs: of each.
        in_ram: keys of constants that lie in RAM.
    """
    layers: dict[Call, ModelledLayer] = {}
    for (call, _), cost in zip(kernels, costs, strict=True):
        layer = layers.setdefault(call, _nothing(call, in_ram))
        layer["instructions"] += cost["instructions"]
        layer["flash_reads"] += cost["flash_reads"]
        for name, count in cost["cycles"].items():
            layer["cycles"][name] = layer["cycles"].get(name, 0) + count
        for name in PHASES:
            layer["phases"][name] += cost["phases"][name]
    return list(layers.values())


def _nothing(call: Call, in_ram: Container[ArrayKey]) -> ModelledLayer:
    multiplies = isinstance(call.arguments[0], Convolution | Convolution16)
    return {
        "layer": f"{call.operator} {call.layer}",
        "form": _form(call, in_ram),
        "macs": math.prod(call.output.shape) * products(call) if multiplies else 0,
        "instructions": 0,
        "cycles": {},
        "flash_reads": 0,
        "phases": dict.fromkeys(PHASES, 0),
        "outputs": math.prod(call.output.shape),
    }


def _form(call: Call, in_ram: Container[ArrayKey]) -> str:
    layer = call.arguments[0]
    if not isinstance(layer, Convolution):
        return call.kernel
    place = ", in RAM" if layer.in_memory().weights.key in in_ram else ""
    if call.kernel == "convolve_depthwise":
        by_channel = layer.lines or layer.pixels > 1
        return ("channel by channel" if by_channel else "pixel by pixel") + place
    pixels = counted(layer.pixels, "pixel")
    form = ", plain weights" if layer.plain else ", Winograd" if layer.is_winograd else ""
    return pixels + form + place


def modelled_table(label: str, layers: Sequence[ModelledLayer]) -> Table:
    """The layers of a network for the terminal, without flash that makes the core wait."""
    table = Table(
        Column("layer", overflow="fold"),
        "form",
        title=f"{label}: modelled layers, instructions an output",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("MACs", "cycles", "a MAC", *PHASES, "reads"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in layers:
        cycles = min(layer["cycles"].values())
        macs = layer["macs"]
        table.add_row(
            layer["layer"],
            layer["form"],
            f"{macs:,}",
            f"{cycles:,}",
            f"{cycles / macs:.2f}" if macs else "",
            *(f"{count / layer['outputs']:.1f}" for count in layer["phases"].values()),
            f"{layer['flash_reads']:,}",
        )
    table.caption = "Reads are of flash. SMLAD takes half a cycle for a MAC, and loads come on top."
    return table
