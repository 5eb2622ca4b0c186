# SPDX-License-Identifier: Apache-2.0
"""The papers' figures by name: picture, numbers and provenance."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

from m3net_tf.lab import RUNS
from m3net_tf.lab.figures.accuracies import draw_clips_to_accuracy, draw_leakage
from m3net_tf.lab.figures.activation_maps import draw_activation_maps
from m3net_tf.lab.figures.curves import draw_ablation, draw_curves, draw_fusion
from m3net_tf.lab.figures.feature_maps import draw_feature_maps, draw_signals
from m3net_tf.lab.figures.masks import draw_masks
from m3net_tf.lab.figures.recordings import draw_durations
from m3net_tf.lab.figures.resolution import (
    draw_algorithm,
    draw_hops,
    draw_improvement,
    draw_learnt_features,
)
from m3net_tf.lab.figures.shown import Shown, facts_of, shown_cells
from m3net_tf.lab.figures.throughput import draw_throughput
from m3net_tf.lab.figures.tsne import draw_tsne
from m3net_tf.lab.figures.warp import draw_warp
from m3net_tf.pages.plotting import Drawing
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.cluster.data import DataFolders

Draw = Callable[[Sequence[Shown], Log], Drawing]


@dataclasses.dataclass(frozen=True)
class FigureKind:
    """One figure that can be drawn.

    Attributes:
        grid: name of the grid whose cells it shows; None: the figure's own, '': none.
        kept: whether the results that written tables keep are enough, without the runs' folders.
    """

    summary: str
    draw: Draw
    grid: str | None = None
    kept: bool = False


def _cells(draw: Callable[[Sequence[Shown]], Drawing]) -> Draw:
    """A figure that logs nothing."""
    return lambda shown, _: draw(shown)


def _curves(**columns: str) -> Draw:
    """Columns of the histories over the epochs, by the labels of their axes."""
    return lambda shown, _: draw_curves(shown, columns)


FIGURES: dict[str, FigureKind] = {
    "m3net/fig3": FigureKind(
        "mel spectrograms of both data sets, entropy and zero crossings of all their clips",
        _cells(draw_signals),
    ),
    "spectromasknet/fig5": FigureKind(
        "weights of both branches in the fusion over the epochs",
        _cells(draw_fusion),
    ),
    "spectromasknet/fig6": FigureKind(
        "class activation maps of each stage of both branches",
        _cells(draw_activation_maps),
    ),
    "spectromasknet/fig7": FigureKind(
        "clips of full length and shorter ones by class",
        _cells(draw_durations),
    ),
    "spectromasknet/fig8": FigureKind(
        "a clip as mel spectrogram, spectrogram, MFCC and FBank",
        _cells(draw_feature_maps),
    ),
    "spectromasknet/fig9": FigureKind(
        "a clip under random, grid and high-energy masks",
        _cells(draw_masks),
    ),
    "spectromasknet/fig10": FigureKind(
        "learnt block size and masked share over the epochs",
        _curves(mask_block="edge of a block (bins and frames)", mask_ratio="masked share"),
    ),
    "bilateral/fig5": FigureKind(
        "a clip of each emotion as waveform, spectrograms and MFCC",
        _cells(draw_feature_maps),
    ),
    "bilateral/fig7": FigureKind(
        "t-SNE of the raw audio, each branch and the last layer",
        _cells(draw_tsne),
    ),
    "diffres/fig1": FigureKind(
        "a steady and a changing sound at two hops",
        _cells(draw_feature_maps),
    ),
    "diffres/fig4": FigureKind(
        "spectrogram, importance, warp and classifier input",
        _cells(draw_warp),
    ),
    "diffres/fig5": FigureKind(
        "throughput of mel, LEAF and DiffRes by frames per second, measured here",
        lambda _, log: draw_throughput(log=log),
        grid="",
    ),
    "diffres/fig6": FigureKind(
        "activeness over the epochs for different frame rates",
        _curves(activeness="activeness"),
    ),
    "diffres/fig7": FigureKind(
        "guide loss over the epochs for different frame rates",
        _curves(guide_loss="guide loss"),
        "diffres/fig6",
    ),
    "diffres/fig8": FigureKind(
        "guide loss, activeness and score over the epochs without parts of DiffRes",
        _cells(draw_ablation),
        "diffres/figure8",
    ),
    "diffres/fig9": FigureKind(
        "mel spectrogram and what DiffRes and ConvAvgPool make of it",
        _cells(draw_learnt_features),
    ),
    "diffres/fig10a": FigureKind(
        "what each class gains from a smaller hop",
        _cells(draw_improvement),
    ),
    "diffres/fig10b": FigureKind(
        "accuracy and multiplications by hop",
        _cells(draw_hops),
    ),
    "diffres/fig11": FigureKind(
        "a warp matrix before and after Algorithm 1",
        lambda *_: draw_algorithm(),
        grid="",
    ),
    "diffres/fig12": FigureKind("figure 4 for spoken words", _cells(draw_warp), "diffres/fig4"),
    "diffres/fig13": FigureKind("figure 4 for sounds of AudioSet", _cells(draw_warp)),
    "leakage/by_split": FigureKind(
        "accuracy by split, random, by recording and official",
        _cells(draw_leakage),
        "leakage/splits",
        kept=True,
    ),
    "mcu/clips_to_accuracy": FigureKind(
        "accuracy by number of training clips, alone and with a teacher",
        _cells(draw_clips_to_accuracy),
        "mcu/clips",
        kept=True,
    ),
}


def grid_of(name: str) -> str:
    """Name of the grid whose cells a figure shows; '' if it shows none."""
    grid = FIGURES[name].grid
    return name if grid is None else grid


def draw_figure(
    name: str,
    out: Path,
    *,
    scale: str = "small",
    runs_folder: Path = RUNS,
    data_folders: DataFolders | None = None,
    keep_results: bool = False,
    command: str = "",
    log: Log = silent,
) -> list[Path]:
    """Draw a figure and write it below a folder; runs of its grid that are missing are trained.

    Args:
        out: folder; ``diffres/fig4`` becomes ``<out>/diffres/fig4.<scale>.png`` and so on, and
            without ``.<scale>`` if it shows no grid.
        keep_results: take results of runs that ``runs_folder`` lacks from the tables in ``out``.

    Returns:
        The picture, its numbers as CSV, and a JSON with recipes, data, versions and facts.

    Raises:
        ConfigError: an unknown figure or scale, or ``keep_results`` for a figure that shows whole
            runs.
        DataError: data are missing.
        M3NetError: a run cannot be read, or a training failed.
    """
    if name not in FIGURES:
        raise ConfigError(f"figure {name!r} is unknown: choose one of {', '.join(FIGURES)}")
    kind, stem = FIGURES[name], out / name
    shown: list[Shown] = []
    if keep_results and not kind.kept:
        raise ConfigError(f"figure {name} shows whole runs: remove --keep-results")
    facts: dict[str, object] = {"figure": name}
    if grid_name := grid_of(name):
        kept = out if keep_results else None
        grid, shown = shown_cells(grid_name, scale, runs_folder, data_folders or {}, log, kept)
        stem = out / f"{name}.{scale}"
        facts |= {"scale": scale, "grid": grid_name, "title": grid.title}
    drawing = kind.draw(shown, log)
    facts |= {
        "runs": [cell.trained.folder.name for cell in shown if cell.run],
        **facts_of(shown),
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **drawing.facts,
    }
    return dataclasses.replace(drawing, facts=facts).save(stem)
