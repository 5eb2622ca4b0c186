# SPDX-License-Identifier: Apache-2.0
"""Clips as waveforms, spectrograms and other features, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ConfigError
from m3net_tf.figures.plotting import COLOURS, Drawing, new_figure
from m3net_tf.figures.shown import Shown
from m3net_tf.figures.signal_values import signal_values
from m3net_tf.frontend import FrontendConfig, features

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FBSP = "FBSP spectrogram"
"""Label of the cells that show the spectrogram by frequency B-spline wavelets."""
_COLUMNS = ("row", "column", "clip", "label", "first_bin", "mean", "std")
_MOST_BANDS = 32
_FEW_COLUMNS = 5


def draw_feature_maps(shown: Sequence[Shown]) -> Drawing:
    """One panel per cell: rows by the first axis of the grid, columns by the last.

    The numbers are mean and standard deviation of at most 32 bands of neighbouring bins.

    Raises:
        ConfigError: the grid has more than two axes.
        M3NetError: a clip cannot be read.
    """
    rows = list(dict.fromkeys(_place(cell)[0] for cell in shown))
    columns = list(dict.fromkeys(_place(cell)[1] for cell in shown))
    width, height = (2.7, 2.1) if len(columns) <= _FEW_COLUMNS else (1.9, 1.6)
    figure = new_figure(width * len(columns) + 0.6, height * len(rows) + 0.4)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    numbers: list[tuple[Any, ...]] = []
    for cell in shown:
        row, column = _place(cell)
        axes = panels[rows.index(row), columns.index(column)]
        clip = cell.find_clip()
        config = cell.recipe.frontend
        wave = cell.dataset.load(clip)
        label = cell.labels.get("Feature", row)
        values = fbsp_spectrogram(config, wave) if label == FBSP else features(config, wave)
        values = values[:, :: cell.kept_every]
        image = _draw(axes, values, config, len(wave) / config.sample_rate_hz)
        if image is not None:
            figure.colorbar(image, ax=axes, label=_unit(config))
        axes.set_title(_heading(row, column, clip.label), fontsize="small", parse_math=False)
        if row == rows[-1]:
            axes.set_xlabel("time (s)")
        numbers += [(row, column, clip.clip_id, clip.label, *band) for band in _bands(values)]
    return Drawing(figure, _COLUMNS, numbers)


def draw_signals(shown: Sequence[Shown]) -> Drawing:
    """:func:`draw_feature_maps`, with entropy and zero crossings of all clips of each data set.

    Raises:
        M3NetError: a clip cannot be read.
    """
    drawing = draw_feature_maps(shown)
    facts: dict[str, Any] = {}
    for cell in shown:
        name = _place(cell)[0]
        if name not in facts:
            facts[name] = signal_values(cell.dataset)
    return Drawing(drawing.figure, drawing.columns, drawing.rows, {"signals": facts})


def fbsp_spectrogram(config: FrontendConfig, wave: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Spectrogram by complex frequency B-spline wavelets, ln of power, (bins, frames).

    A wavelet of order m and bandwidth b is sinc(b t / m)^m times a complex tone (Teolis, 1998).
    Here m is 2 and all bins of the FFT have b = 4 / frame, so that it ends at the frame's edges.
    ESResNeXt starts from such wavelets and learns them; nothing is learnt here.

    Args:
        config: front end of kind ``spectrogram``.
        wave: samples, shape (samples,).
    """
    time = (np.arange(config.frame_samples) + 0.5) / config.frame_samples - 0.5
    taper = np.sinc(2.0 * time) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(wave, float), taper.size)
    frames = frames[:: config.hop_samples][: config.frame_count(np.size(wave))]
    power = np.abs(np.fft.rfft(frames * taper, config.fft_samples)) ** 2
    return np.log(np.maximum(power.T, config.log_floor))


def _place(cell: Shown) -> tuple[str, str]:
    """Row and column of a cell."""
    labels = [label for axis, label in cell.labels.items() if axis != "run"]
    if len(labels) > 2:
        raise ConfigError(f"{cell.title}: a grid of feature maps has one axis or two")
    return (labels[0], labels[-1]) if len(labels) == 2 else ("", labels[0])


def _bands(values: npt.NDArray[np.float64]) -> list[tuple[int, float, float]]:
    """First bin, mean and standard deviation of bands of neighbouring bins."""
    bands = np.array_split(np.arange(len(values)), min(len(values), _MOST_BANDS))
    return [(int(b[0]), float(values[b].mean()), float(values[b].std())) for b in bands]


def _heading(row: str, column: str, label: str) -> str:
    """Labels of the cell and the clip; numbers of clips say nothing."""
    parts = [part for part in (row, column) if part and not part.isdecimal() and part != label]
    return f"{', '.join(parts)}\n{label}"


def _draw(axes: Axes, values: npt.NDArray[np.float64], config: FrontendConfig, end_s: float) -> Any:
    """Draw a panel; returns the image of a map."""
    if config.kind == "waveform":
        axes.plot(np.arange(values.size) / config.sample_rate_hz, values[0], linewidth=0.4)
        axes.set(xlim=(0, end_s), ylabel="amplitude")
        return None
    height = config.sample_rate_hz / 2000 if config.kind == "spectrogram" else len(values)
    # The first coefficient has the level, which would hide the others.
    ranged = values[1:] if config.mfcc_coefficients > 1 else values
    image = axes.imshow(
        values,
        vmin=ranged.min(),
        vmax=ranged.max(),
        cmap=COLOURS,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, end_s, 0, height),
    )
    bins = "coefficient" if config.mfcc_coefficients else "mel bin"
    axes.set_ylabel("frequency (kHz)" if config.kind == "spectrogram" else bins)
    return image


def _unit(config: FrontendConfig) -> str:
    if config.mfcc_coefficients:
        return "cepstrum"
    quantity = "power" if config.power == 2 else "magnitude"
    return {"db": "power (dB)", "ln": f"ln {quantity}"}.get(config.log, quantity)
