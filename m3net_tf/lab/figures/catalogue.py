# SPDX-License-Identifier: Apache-2.0
"""The papers' figures by name: picture, numbers and provenance."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

from m3net_tf.lab import RUNS
from m3net_tf.lab.figures.activation_maps import draw_activation_maps
from m3net_tf.lab.figures.clips_to_accuracy import draw_clips_to_accuracy
from m3net_tf.lab.figures.curves import draw_by_frame_rate, draw_fusion
from m3net_tf.lab.figures.durations import draw_durations
from m3net_tf.lab.figures.feature_maps import draw_feature_maps, draw_signals
from m3net_tf.lab.figures.leakage import draw_leakage
from m3net_tf.lab.figures.masks import draw_learnt_masks, draw_masks
from m3net_tf.lab.figures.resolution import (
    draw_ablation,
    draw_algorithm,
    draw_hops,
    draw_improvement,
    draw_learnt_features,
)
from m3net_tf.lab.figures.shown import Shown, facts_of, shown_cells, shown_runs
from m3net_tf.lab.figures.throughput import draw_throughput
from m3net_tf.lab.figures.tsne import draw_tsne
from m3net_tf.lab.figures.warp import draw_warp
from m3net_tf.pages.plotting import Drawing
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.cluster.data import DataFolders
from m3net_tf.training.run import Run

Draw = Callable[[Sequence[Shown], Log], Drawing]


@dataclasses.dataclass(frozen=True)
class FigureKind:
    """One figure that can be drawn.

    Attributes:
        runs: number of finished runs that the user may name: ``none``, ``one`` or ``many``.
        draw: draws it from what it shows.
        grid: name of the grid whose cells it shows if no runs are named; '' for none.
        kept: whether the results that written tables keep are enough, without the runs' folders.
    """

    summary: str
    runs: str
    draw: Draw
    grid: str = ""
    kept: bool = False


def _runs(shown: Sequence[Shown]) -> list[Run]:
    return [cell.trained for cell in shown]


def _cells(draw: Callable[[Sequence[Shown]], Drawing]) -> Draw:
    """A figure that logs nothing."""
    return lambda shown, _: draw(shown)


def _run(draw: Callable[[Run, Path | None], Drawing]) -> Draw:
    """A figure of one run."""
    return lambda shown, _: draw(shown[0].trained, shown[0].data_dir)


FIGURES: dict[str, FigureKind] = {
    "m3net/fig3": FigureKind(
        "mel spectrograms of both data sets, entropy and zero crossings of all their clips",
        "none",
        _cells(draw_signals),
        "m3net/fig3",
    ),
    "spectromasknet/fig5": FigureKind(
        "weights of both branches in the fusion over the epochs",
        "many",
        _cells(lambda shown: draw_fusion(_runs(shown))),
        "spectromasknet/fig5",
    ),
    "spectromasknet/fig6": FigureKind(
        "class activation maps of each stage of both branches",
        "one",
        _cells(draw_activation_maps),
        "spectromasknet/fig6",
    ),
    "spectromasknet/fig7": FigureKind(
        "clips of full length and shorter ones by class",
        "none",
        _cells(draw_durations),
        "spectromasknet/fig7",
    ),
    "spectromasknet/fig8": FigureKind(
        "a clip as mel spectrogram, spectrogram, MFCC and FBank",
        "none",
        _cells(draw_feature_maps),
        "spectromasknet/fig8",
    ),
    "spectromasknet/fig9": FigureKind(
        "a clip under random, grid and high-energy masks",
        "none",
        _cells(draw_masks),
        "spectromasknet/fig9",
    ),
    "spectromasknet/fig10": FigureKind(
        "learnt block size and masked share over the epochs",
        "many",
        _cells(draw_learnt_masks),
        "spectromasknet/fig10",
    ),
    "bilateral/fig5": FigureKind(
        "a clip of each emotion as waveform, spectrograms and MFCC",
        "none",
        _cells(draw_feature_maps),
        "bilateral/fig5",
    ),
    "bilateral/fig7": FigureKind(
        "t-SNE of the raw audio, each branch and the last layer",
        "one",
        _run(draw_tsne),
        "bilateral/fig7",
    ),
    "diffres/fig1": FigureKind(
        "a steady and a changing sound at two hops",
        "none",
        _cells(draw_feature_maps),
        "diffres/fig1",
    ),
    "diffres/fig4": FigureKind(
        "spectrogram, importance, warp and classifier input",
        "one",
        _run(draw_warp),
        "diffres/fig4",
    ),
    "diffres/fig5": FigureKind(
        "throughput of mel, LEAF and DiffRes by frames per second, measured here",
        "none",
        lambda _, log: draw_throughput(log=log),
    ),
    "diffres/fig6": FigureKind(
        "activeness over the epochs for different frame rates",
        "many",
        _cells(lambda shown: draw_by_frame_rate(_runs(shown), "activeness", "activeness")),
        "diffres/fig6",
    ),
    "diffres/fig7": FigureKind(
        "guide loss over the epochs for different frame rates",
        "many",
        _cells(lambda shown: draw_by_frame_rate(_runs(shown), "guide_loss", "guide loss")),
        "diffres/fig6",
    ),
    "diffres/fig8": FigureKind(
        "guide loss, activeness and score over the epochs without parts of DiffRes",
        "many",
        _cells(draw_ablation),
        "diffres/figure8",
    ),
    "diffres/fig9": FigureKind(
        "mel spectrogram and what DiffRes and ConvAvgPool make of it",
        "many",
        _cells(draw_learnt_features),
        "diffres/fig9",
    ),
    "diffres/fig10a": FigureKind(
        "what each class gains from a smaller hop",
        "many",
        _cells(draw_improvement),
        "diffres/fig10a",
    ),
    "diffres/fig10b": FigureKind(
        "accuracy and multiplications by hop",
        "many",
        _cells(draw_hops),
        "diffres/fig10b",
    ),
    "diffres/fig11": FigureKind(
        "a warp matrix before and after Algorithm 1",
        "none",
        lambda *_: draw_algorithm(),
    ),
    "diffres/fig12": FigureKind(
        "figure 4 for spoken words", "one", _run(draw_warp), "diffres/fig4"
    ),
    "diffres/fig13": FigureKind(
        "figure 4 for sounds of AudioSet", "one", _run(draw_warp), "diffres/fig13"
    ),
    "leakage/by_split": FigureKind(
        "accuracy by split, random, by recording and official",
        "many",
        _cells(draw_leakage),
        "leakage/splits",
        kept=True,
    ),
    "mcu/clips_to_accuracy": FigureKind(
        "accuracy by number of training clips, alone and with a teacher",
        "many",
        _cells(draw_clips_to_accuracy),
        "mcu/clips",
        kept=True,
    ),
}


def draw_figure(
    name: str,
    runs: Sequence[Path],
    out: Path,
    *,
    scale: str = "small",
    runs_folder: Path = RUNS,
    data_folders: DataFolders | None = None,
    keep_results: bool = False,
    command: str = "",
    log: Log = silent,
) -> list[Path]:
    """Draw a figure and write it below a folder.

    Args:
        name: one of :data:`FIGURES`.
        runs: folders of finished runs; without any, the grid's runs, trained if missing.
        out: folder; ``diffres/fig4`` becomes ``<out>/diffres/fig4.<scale>.png`` and so on, and
            without ``.<scale>`` if it shows no grid.
        scale: scale of the grid.
        keep_results: take results of runs that ``runs_folder`` lacks from the tables in ``out``.

    Returns:
        The picture, its numbers as CSV, and a JSON with recipes, data, versions and facts.

    Raises:
        ConfigError: an unknown figure or scale, too few or too many runs, or
            ``keep_results`` for a figure that shows whole runs.
        DataError: data are missing.
        M3NetError: a run is unfinished or cannot be read, or a training failed.
    """
    if name not in FIGURES:
        raise ConfigError(f"figure {name!r} is unknown: choose one of {', '.join(FIGURES)}")
    kind, folders = FIGURES[name], data_folders or {}
    _check_runs(name, kind, len(runs), keep_results)
    stem, shown = out / name, shown_runs(runs, folders)
    facts: dict[str, object] = {"figure": name}
    if kind.grid and not runs:
        kept = out if keep_results else None
        grid, shown = shown_cells(kind.grid, scale, runs_folder, folders, log, kept)
        stem = out / f"{name}.{scale}"
        facts |= {"scale": scale, "grid": kind.grid, "title": grid.title}
    drawing = kind.draw(shown, log)
    facts |= {
        "runs": [cell.trained.folder.name for cell in shown if cell.run],
        **facts_of(shown),
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **drawing.facts,
    }
    return dataclasses.replace(drawing, facts=facts).save(stem)


def _check_runs(name: str, kind: FigureKind, count: int, keep_results: bool) -> None:
    if keep_results and (count or not kind.kept):
        raise ConfigError(f"figure {name} shows whole runs here: remove --keep-results")
    accepted, expected = {
        "none": (not count, "no run"),
        "one": (count == 1, "one finished run"),
        "many": (count >= 1, "one finished run or more"),
    }[kind.runs]
    if not accepted and (count or not kind.grid):
        raise ConfigError(f"figure {name} needs {expected}, not {count}: name them with --run")
