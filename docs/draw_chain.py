# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/chain.svg``, a clip's way to the board, from a run of the demonstration.

``make demo``, then ``python docs/draw_chain.py runs/demo``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.export import Bundle

PICTURE = Path(__file__).parent / "chain.svg"
_CLIP = "jackhammer"
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#555555"
_SIZE_INCHES = (13, 2.9)
_EXCERPT_LINES = 18


def vectors(bundle: Bundle, name: str, clip: int) -> np.ndarray:
    """One clip's row of a file of test vectors."""
    index = json.loads((bundle.folder / "vectors" / "vectors.json").read_text())
    data = (bundle.folder / "vectors" / name).read_bytes()
    clips: np.ndarray = np.frombuffer(data, index[name]["dtype"])
    row: np.ndarray = clips.reshape(index[name]["shape"])[clip]
    return row


def draw_clip(axes: Axes, pcm: np.ndarray, rate_hz: int) -> None:
    """The waveform."""
    seconds = np.arange(len(pcm)) / rate_hz
    axes.plot(seconds[::8], pcm[::8] / 32768, color=_BLUE, linewidth=0.5)
    axes.set(xlabel="s", yticks=[], xlim=(0, seconds[-1]))


def draw_features(axes: Axes, features: np.ndarray) -> None:
    """The network's int8 input."""
    axes.imshow(features[..., 0], origin="lower", aspect="auto", cmap="viridis")
    axes.set(xlabel="frame", ylabel="mel bin", yticks=[])


def draw_network(axes: Axes, network: CompiledNetwork) -> None:
    """One bar per call of the compiled network; its area grows with the size of the output."""
    calls = network.calls
    sides = np.sqrt([np.prod(call.output.shape) for call in calls])
    colours = [_ORANGE if call.kernel.startswith("convolve") else _GREY for call in calls]
    axes.barh(range(len(calls)), sides, color=colours, height=0.75)
    names = [call.kernel.replace("_", " ") for call in calls]
    axes.set_yticks(range(len(calls)), names, fontsize=5.5)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set(xticks=[], xlabel="size of the output")


def draw_scores(axes: Axes, scores: np.ndarray, labels: tuple[str, ...]) -> None:
    """The int8 scores."""
    best = int(scores.argmax())
    colours = [_ORANGE if label == best else _GREY for label in range(len(labels))]
    axes.barh(range(len(labels)), scores.astype(int) + 128, color=colours, height=0.7)
    axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="int8 score + 128", xlim=(0, 256), xticks=[0, 128, 256])


def draw_source(axes: Axes, source: str) -> None:
    """The first calls of the generated function."""
    calls = re.findall(r"m3net_\w+\(&\w+", source[source.index("_run(") :])
    lines = ["void network_run(int8_t *arena) {", *(f"  {call}, …" for call in calls)]
    text = "\n".join([*lines[:_EXCERPT_LINES], "  …", "}"])
    axes.text(0.0, 0.97, text, family="monospace", fontsize=6, va="top")
    axes.axis("off")


def draw_board(axes: Axes, summary: dict[str, Any]) -> None:
    """A chip with the measured cost."""
    axes.add_patch(FancyBboxPatch((0.12, 0.12), 0.76, 0.76, "round,pad=0.02", color="#223322"))
    for place in np.linspace(0.18, 0.8, 8):
        for left in (0.02, 0.9):
            axes.add_patch(Rectangle((left, place), 0.08, 0.03, color="#B8860B"))
    text = (
        f"Cortex-M4F\n\n{100 * summary['accuracy']['emulated']:.2f} %\n"
        f"{summary['instructions'] / 1e6:.2f} M instructions\n"
        f"{summary['arena_bytes'] / 1000:.1f} kB arena\n"
        f"{summary['flash_bytes'] / 1000:.0f} kB flash\n\n"
        f"{'bytes as on the desktop' if summary['bytes_equal'] else 'OTHER BYTES'}"
    )
    axes.text(0.5, 0.5, text, color="white", ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")


def draw(run: Path, picture: Path) -> None:
    """Draw the picture of an emulated run."""
    bundle = Bundle.load(run / "export")
    summary = json.loads((run / "summary.json").read_text())
    names = json.loads((bundle.folder / "vectors" / "vectors.json").read_text())["predicted_labels"]
    clip = names.index(_CLIP) if _CLIP in names else 0
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "m3net_tf", "font.size": 8})
    figure, axes = plt.subplots(
        1, 6, figsize=_SIZE_INCHES, width_ratios=[1, 1, 1, 0.9, 1.2, 1.1], layout="constrained"
    )
    draw_clip(axes[0], vectors(bundle, "pcm_int16.bin", clip), bundle.frontend.sample_rate_hz)
    draw_features(axes[1], vectors(bundle, "features_int8.bin", clip))
    network = compile_network(bundle.tflite)
    draw_network(axes[2], network)
    draw_scores(axes[3], vectors(bundle, "outputs_int8.bin", clip), bundle.labels)
    draw_source(axes[4], emit(network, "network").source)
    draw_board(axes[5], summary)
    titles = ("1 clip", "2 features", "3 network", "4 int8 scores", "5 C", "6 board")
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, loc="left", fontweight="bold")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, metadata={"Date": None, "Title": "From a clip to the board"})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), PICTURE)
