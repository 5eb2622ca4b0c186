# SPDX-License-Identifier: Apache-2.0
"""Sections on the int8 network: what quantisation loses, and the arena over time."""

from collections.abc import Sequence

import altair as alt

from m3net_tf.pages.report.charts import Spec, layer_bars
from m3net_tf.pages.report.content import Block, Chart, Drawing, Note, Section, Table, side_by_side
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.records import QuantizationReport, QuantizedTensor, RankedLayer
from m3net_tf.pages.report.words import difference, percent
from m3net_tf.system.errors import M3NetError

MOST_LAYERS = 20


def int8_loss(runs: Sequence[RunData]) -> Section:
    """What int8 loses, by layer."""
    return Section(
        "int8",
        "Loss by int8",
        "Divergence is the mean Kullback-Leibler divergence of the answers from the float "
        "network's, in nats, if only this layer is int8. The signal-to-noise ratio (SQNR) "
        "belongs to each layer's output, with all layers before it in int8; low bars are where "
        "detail is lost.",
        side_by_side(runs, _int8_of),
    )


def _int8_of(run: RunData) -> list[Block]:
    if run.multi_label:
        text = "This loss counts best classes, and a clip may have several classes here."
        return [Note(f"{text} m3net evaluate compares the mAP of float and int8.")]
    report = run.file("quantized/report.json", QuantizationReport)
    if report is None:
        return [Note("The loss of each layer was not measured.", f"m3net quantize {run.path}")]
    blocks: list[Block] = [_accuracy_table(report)]
    ranking = sorted(report["ranking"], key=lambda cost: -cost["divergence"])[:MOST_LAYERS]
    if ranking:
        first = ranking[0]
        text = (
            f"Bar chart of the divergence that each of {len(ranking)} layers causes alone; the "
            f"most expensive is {first['layer']} with {first['divergence']:.2g} nats."
        )
        blocks.append(Chart(_ranking_chart(ranking), text))
    else:
        blocks.append(Note("The layers were not ranked.", f"m3net quantize {run.path}"))
    tensors = [tensor for tensor in report["tensors"] if tensor["sqnr_db"] is not None]
    if tensors:
        lowest = min(tensors, key=lambda tensor: tensor["sqnr_db"] or 0.0)
        text = (
            f"Signal to quantisation noise of {len(tensors)} tensors in the order of execution; "
            f"the lowest is {lowest['sqnr_db']:.1f} dB at {lowest['layer']}."
        )
        blocks.append(Chart(_tensor_chart(tensors), text))
    return blocks


def _accuracy_table(report: QuantizationReport) -> Table:
    rows = [
        (
            split,
            str(report[split]["clips"]),
            percent(report[split]["accuracy"]["float"], 2),
            percent(report[split]["accuracy"]["quantized"], 2),
            difference(-report[split]["drop_points"], digits=2),
            percent(report[split]["same_answer"]),
        )
        for split in ("validation", "test")
    ]
    columns = ("split", "clips", "float", "int8", "points", "same answer")
    return Table(columns, rows, f"Method {report['method']}")


def _ranking_chart(ranking: Sequence[RankedLayer]) -> Spec:
    rows = [
        {
            "layer": f"{cost['layer']}: {cost['operator']}",
            "divergence": cost["divergence"],
            "points": cost["accuracy_points"],
        }
        for cost in ranking
    ]
    return layer_bars(
        rows,
        alt.X("divergence:Q", title="divergence alone, nats", axis=alt.Axis(tickCount=4)),
        [
            alt.Tooltip("divergence:Q", format=".3g"),
            alt.Tooltip("points:Q", title="accuracy, points", format=".2f"),
        ],
    )


def _tensor_chart(tensors: Sequence[QuantizedTensor]) -> Spec:
    rows = [
        {
            "layer": f"{index}: {tensor['layer']}",
            "operator": tensor["operator"],
            "sqnr": tensor["sqnr_db"],
            "clipped": tensor["clipped_share"],
        }
        for index, tensor in enumerate(tensors)
    ]
    return layer_bars(
        rows,
        alt.X("sqnr:Q", title="signal to quantisation noise, dB"),
        [
            "operator:N",
            alt.Tooltip("sqnr:Q", title="dB", format=".1f"),
            alt.Tooltip("clipped:Q", format=".3%"),
        ],
    )


def arena(runs: Sequence[RunData]) -> Section:
    """The tensor arena of the compiled network, from call to call."""
    return Section(
        "arena",
        "Memory over time",
        "The arena of the network as compiled C (m3net compile): calls of kernels from left to "
        "right, bytes from the bottom up. A block is a tensor from its first to its last use; the "
        "peak decides the RAM.",
        side_by_side(runs, _arena_of),
    )


def _arena_of(run: RunData) -> list[Block]:
    from m3net_tf.compiler.goals import GOALS
    from m3net_tf.compiler.network import compile_network
    from m3net_tf.compiler.picture import draw_arena

    try:
        bundle = run.bundle()
        if bundle is None:
            return [Note("There is no export.", f"m3net export {run.path}")]
        network, goal = bundle.network, GOALS[bundle.c_model.optimise]
        blocks: list[Block] = []
        for number, part in enumerate(network.parts, start=1):
            plan = compile_network(part, goal=goal).plan
            name = run.name if len(network.parts) == 1 else f"{run.name}, part {number}"
            text = (
                f"Arena of {name}: {plan.arena_bytes:,} bytes for {len(plan.calls)} calls, lower "
                f"bound {plan.lower_bound:,} bytes."
            )
            blocks.append(Drawing(draw_arena(plan, name), text))
    except M3NetError as error:
        return [Note(f"The network cannot be compiled: {error}")]
    return blocks
