# SPDX-License-Identifier: Apache-2.0
"""Draws docs/kept_lines.svg: which lines of M3Net `plain` a hop computes, and which it keeps.

python docs/draw_kept_lines.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from m3net_tf.compiler.network import rewritten
from m3net_tf.compiler.streaming.flow import Stream
from m3net_tf.lab.bench.engine import untrained_preset
from m3net_tf.system.artifacts import write_text
from m3net_tf.tflite.graph import Graph, Operation, Tensor

PICTURE = Path(__file__).parent / "kept_lines.svg"
PRESETS = {"plain": "padding in time", "plain_stream": "no padding in time"}
AXIS, HOP = 2, 2
STEP, ROW, LEFT, TOP = 11, 24, 210, 24
COLOURS = {
    "new": ("#d9822b", "new: computed"),
    "end": ("#b5485d", "sees padding: computed again"),
    "kept": ("#5b6b86", "kept from the hop before"),
    "gone": ("#ffffff", "not needed any more"),
}
KINDS = {"CONV_2D": "convolution", "DEPTHWISE_CONV_2D": "depthwise"}


def lines_of(stream: Stream, tensor: Tensor, new: list[tuple[int, int]]) -> list[str]:
    """The kind of each line of a tensor."""
    flow = stream.flows[tensor]
    first, end = stream.kept.get(tensor, (flow.lines, flow.lines))
    kinds = np.where(
        (np.arange(flow.lines) >= first) & (np.arange(flow.lines) < end), "kept", "gone"
    )
    for run in new:
        kinds[slice(*run)] = "end"
    pure = np.flatnonzero(flow.same)
    newest = int(pure[-1]) + 1  # behind the last line that the window before had
    kinds[newest : newest + flow.shift] = ["new"] * flow.shift
    return [str(kind) for kind in kinds]


def rows_of(graph: Graph) -> list[tuple[str, list[str]]]:
    """A name and the kinds of lines for the input and each layer that streams."""
    stream = Stream(graph, AXIS, HOP)
    stream.drop_cheap_lines()
    (source,) = graph.inputs
    flow = stream.flows[source]
    rows = [("input", lines_of(stream, source, [(flow.lines - HOP, flow.lines)]))]
    for op in graph.operations:
        if op in stream.rules:
            rows.append((_name(op), lines_of(stream, op.output, stream.runs[op])))
    return rows


def _name(op: Operation) -> str:
    return f"{KINDS[op.kind]} {op.layer.split('/')[-2]}"


def draw() -> str:
    """The picture."""
    parts: list[str] = []
    y = TOP
    for preset, title in PRESETS.items():
        graph, _ = rewritten(untrained_preset("m3net", preset)[0].tflite)
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{preset}: {title}</text>')
        y += 10
        for name, kinds in rows_of(graph):
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            )
            scale = 49 / len(kinds)
            for place, kind in enumerate(kinds):
                x = LEFT + place * STEP * scale
                width = STEP * scale - 1.5
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 6}" '
                    f'fill="{COLOURS[kind][0]}" stroke="#8a8a8a" stroke-width="0.5"/>'
                )
            y += ROW
        y += 26
    x = 8
    for colour, text in COLOURS.values():
        parts.append(
            f'<rect x="{x}" y="{y - 12}" width="14" height="14" fill="{colour}" '
            'stroke="#8a8a8a" stroke-width="0.5"/>'
        )
        parts.append(f'<text x="{x + 20}" y="{y}">{text}</text>')
        x += 40 + 7 * len(text)
    width = LEFT + 49 * STEP + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 14}" '
            'font-family="sans-serif" font-size="12">',
            "<title>Lines of each layer, from the oldest on the left to the newest</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    write_text(PICTURE, draw())
    print(PICTURE)
