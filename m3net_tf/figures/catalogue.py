# SPDX-License-Identifier: Apache-2.0
"""The papers' figures by name, drawn from finished runs: picture, numbers and provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.artifacts import read_json
from m3net_tf.errors import ConfigError
from m3net_tf.figures.curves import draw_by_frame_rate, draw_confusion, draw_curves, draw_fusion
from m3net_tf.figures.plotting import Drawing
from m3net_tf.figures.throughput import draw_throughput
from m3net_tf.figures.tsne import draw_tsne
from m3net_tf.figures.warp import draw_warp
from m3net_tf.progress import Log, silent
from m3net_tf.training.run import Run

Draw = Callable[[Sequence[Run], dict[str, Any], Log], Drawing]


@dataclasses.dataclass(frozen=True)
class FigureKind:
    """One figure that can be drawn.

    Attributes:
        summary: what it shows.
        runs: number of runs: ``none``, ``one`` or ``many``.
        draw: draws it from the runs and the values options.
        options: accepted options: ``data_dir``, ``clips``.
    """

    summary: str
    runs: str
    draw: Draw
    options: tuple[str, ...] = ()


FIGURES: dict[str, FigureKind] = {
    "diffres/fig4": FigureKind(
        "spectrogram, importance, warp and classifier input (figures 4, 12 and 13)",
        "one",
        lambda runs, options, _: draw_warp(runs[0], **options),
        ("data_dir", "clips"),
    ),
    "diffres/fig5": FigureKind(
        "throughput of mel, LEAF and DiffRes by frames per second, measured here",
        "none",
        lambda _, options, log: draw_throughput(**options, log=log),
        ("clips",),
    ),
    "diffres/fig6": FigureKind(
        "activeness over the epochs for different frame rates",
        "many",
        lambda runs, *_: draw_by_frame_rate(runs, "activeness", "activeness"),
    ),
    "diffres/fig7": FigureKind(
        "guide loss over the epochs for different frame rates",
        "many",
        lambda runs, *_: draw_by_frame_rate(runs, "guide_loss", "guide loss"),
    ),
    "bilateral/fig7": FigureKind(
        "t-SNE of the raw audio, each branch and the last layer",
        "one",
        lambda runs, options, _: draw_tsne(runs[0], **options),
        ("data_dir", "clips"),
    ),
    "spectromasknet/fig5": FigureKind(
        "weights of both branches in the fusion over the epochs",
        "many",
        lambda runs, *_: draw_fusion(runs),
    ),
    "curves": FigureKind(
        "loss and validation figures of several runs over the epochs",
        "many",
        lambda runs, *_: draw_curves(runs),
    ),
    "confusion": FigureKind(
        "confusion matrix of the test clips",
        "one",
        lambda runs, *_: draw_confusion(runs),
    ),
}


class FigureState(TypedDict):
    """A figure of a paper: its name, whether it is drawn, and the commit that drew it."""

    name: str
    drawn: bool
    commit: str


def list_lines(out: Path) -> list[str]:
    """The papers' figures for the terminal, each with the commit that drew it.

    Args:
        out: folder of the results.
    """
    return [
        f"{row['name']:<22}  {'drawn' if row['drawn'] else 'not drawn':<12}{row['commit']}".rstrip()
        for row in list_facts(out)
    ]


def list_facts(out: Path) -> list[FigureState]:
    """The papers' figures and their state.

    Args:
        out: folder of the results.
    """
    states: list[FigureState] = []
    for name in (name for name in FIGURES if "/" in name):
        path = out / f"{name}.json"
        commit = str(read_json(path).get("git_commit") or "")[:9] if path.exists() else ""
        states.append({"name": name, "drawn": path.exists(), "commit": commit})
    return states


def draw_figure(
    name: str,
    runs: Sequence[Path],
    out: Path,
    *,
    data_dir: Path | None = None,
    clips: int | None = None,
    log: Log = silent,
) -> list[Path]:
    """Draw a figure and write it below a folder.

    Args:
        name: one of :data:`FIGURES`.
        runs: folders of finished runs.
        out: folder; ``diffres/fig4`` becomes ``<out>/diffres/fig4.png`` and so on.
        data_dir: folder of the runs' data set.
        clips: number of clips; default: the figure's own.
        log: receives progress lines.

    Returns:
        The picture, its numbers as CSV, and a JSON with versions and facts.

    Raises:
        ConfigError: an unknown figure, too few or too many runs, or an option that the figure does
            not accept.
        M3NetError: a run is unfinished or cannot be read.
    """
    if name not in FIGURES:
        raise ConfigError(f"figure {name!r} is unknown: choose one of {', '.join(FIGURES)}")
    kind = FIGURES[name]
    accepted, expected = {
        "none": (not runs, "no run"),
        "one": (len(runs) == 1, "one finished run"),
        "many": (len(runs) >= 1, "one finished run or more"),
    }[kind.runs]
    if not accepted:
        raise ConfigError(f"figure {name} needs {expected}, not {len(runs)}: name them with --run")
    if clips is not None:
        if "clips" not in kind.options:
            raise ConfigError(f"figure {name} shows no clips: remove --clips")
        if clips < 1:
            raise ConfigError(f"clips is {clips}: give at least 1")
    values = {"data_dir": data_dir, "clips": clips}
    options = {key: values[key] for key in kind.options if values[key] is not None}
    finished = [Run(folder) for folder in runs]
    for run in finished:
        run.metrics()
    drawing = kind.draw(finished, options, log)
    facts = {"figure": name, "runs": [run.folder.name for run in finished], **drawing.facts}
    return dataclasses.replace(drawing, facts=facts).save(out / name)
