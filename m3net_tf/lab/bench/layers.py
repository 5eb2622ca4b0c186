# SPDX-License-Identifier: Apache-2.0
"""The modelled cost of each layer of a compiled network, beside what its kernel needs at least."""

import math
from collections.abc import Container, Iterator, Sequence

from rich import box
from rich.table import Column, Table

from m3net_tf.boards.emulation.cycles import FLASHES, PHASES, KernelCycles
from m3net_tf.compiler.calls import Call
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.compiler.stripes import Stripe, products
from m3net_tf.compiler.structures import ArrayKey, Convolution, Convolution16
from m3net_tf.system.words import counted


class LayerCost(KernelCycles):
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


def layer_costs(
    kernels: Sequence[tuple[Call, str]],
    costs: Sequence[KernelCycles],
    in_ram: Container[ArrayKey] = (),
) -> list[LayerCost]:
    """The sum of the cost of each layer's kernels.

    Args:
        kernels: kernels of a run; see :func:`kernels_of`.
        costs: cost of each kernel.
        in_ram: keys of constants that lie in RAM.
    """
    layers: dict[Call, LayerCost] = {}
    for (call, _), cost in zip(kernels, costs, strict=True):
        layer = layers.setdefault(call, _nothing(call, in_ram))
        layer["instructions"] += cost["instructions"]
        layer["flash_reads"] += cost["flash_reads"]
        for name in FLASHES:
            layer["cycles"][name] += cost["cycles"][name]
        for name in PHASES:
            layer["phases"][name] += cost["phases"][name]
    return list(layers.values())


def _nothing(call: Call, in_ram: Container[ArrayKey]) -> LayerCost:
    multiplies = isinstance(call.arguments[0], Convolution | Convolution16)
    return {
        "layer": f"{call.operator} {call.layer}",
        "form": _form(call, in_ram),
        "macs": math.prod(call.output.shape) * products(call) if multiplies else 0,
        "instructions": 0,
        "cycles": dict.fromkeys(FLASHES, 0),
        "flash_reads": 0,
        "phases": dict.fromkeys(PHASES, 0),
        "outputs": math.prod(call.output.shape),
    }


def _form(call: Call, in_ram: Container[ArrayKey]) -> str:
    layer = call.arguments[0]
    if not isinstance(layer, Convolution):
        return call.kernel
    place = ", in RAM" if layer.weights.key in in_ram else ""
    if call.kernel == "convolve_depthwise":
        return ("channel by channel" if layer.lines else "pixel by pixel") + place
    pixels = counted(layer.pixels, "pixel")
    return pixels + (", plain weights" if layer.plain else "") + place


def layers_table(label: str, layers: Sequence[LayerCost]) -> Table:
    """The layers of a network for the terminal, without flash that makes the core wait."""
    table = Table(
        Column("layer", overflow="fold"),
        "form",
        title=f"{label}: modelled layers of a Cortex-M4, instructions an output",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("MACs", "cycles", "a MAC", *PHASES, "reads"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in layers:
        cycles, macs = min(layer["cycles"].values()), layer["macs"]
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
