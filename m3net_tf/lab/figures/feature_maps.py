# SPDX-License-Identifier: Apache-2.0
"""Clips as waveforms, spectrograms and other features, without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import Clip
from m3net_tf.audio.frontend import FrontendConfig, features
from m3net_tf.lab.figures.recordings import signal_values
from m3net_tf.lab.figures.shown import Shown
from m3net_tf.pages.plotting import Drawing, draw_map, new_figure
from m3net_tf.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FBSP = "FBSP spectrogram"
"""Label of the cells that show the spectrogram by frequency B-spline wavelets."""
_COLUMNS = ("row", "column", "clip", "label", "first_bin", "mean", "std")
_MOST_BANDS = 32
_FEW_COLUMNS = 5


@dataclasses.dataclass(frozen=True)
class _Panel:
    """A clip's features and their place.

    Attributes:
        values: features, shape (bins, frames).
        end_s: length of the clip.
    """

    row: str
    column: str
    clip: Clip
    config: FrontendConfig
    values: npt.NDArray[np.float64]
    end_s: float

    @property
    def heading(self) -> str:
        """Labels of the cell and the clip, each once; numbers of clips say nothing."""
        labels = (self.row, self.column)
        parts = [x for x in labels if x and not x.isdecimal() and x != self.clip.label]
        return f"{', '.join(parts)}\n{self.clip.label}"

    @property
    def span(self) -> tuple[float, float]:
        """Range of the values; the first cepstral coefficient would hide the others."""
        values = self.values[1:] if self.config.mfcc_coefficients > 1 else self.values
        return float(values.min()), float(values.max())


def draw_feature_maps(shown: Sequence[Shown]) -> Drawing:
    """One panel per cell: rows by the first axis of the grid, columns by the last.

    The numbers are mean and standard deviation of at most 32 bands of neighbouring bins.

    Raises:
        ConfigError: the grid has more than two axes.
        M3NetError: a clip cannot be read.
    """
    panels = [_panel(cell) for cell in shown]
    rows = list(dict.fromkeys(panel.row for panel in panels))
    columns = list(dict.fromkeys(panel.column for panel in panels))
    dense = len(columns) > _FEW_COLUMNS
    width, height = (1.5, 1.6) if dense else (2.7, 2.1)
    figure = new_figure(width * len(columns) + 1.0, height * len(rows) + 0.4)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, all_axes in zip(rows, grid, strict=True):
        own = [panel for panel in panels if panel.row == row]
        span = (min(panel.span[0] for panel in own), max(panel.span[1] for panel in own))
        for panel in own:
            axes = all_axes[columns.index(panel.column)]
            image = _draw(axes, panel, span if dense else panel.span)
            axes.set_title(panel.heading, fontsize="small", parse_math=False)
            if image is not None and not dense:
                figure.colorbar(image, ax=axes, label=_unit(panel.config))
            if row == rows[-1]:
                axes.set_xlabel("time (s)")
            if dense and axes is not all_axes[0]:
                axes.set_ylabel("")
                axes.set_yticklabels([])
        if image is not None and dense:
            figure.colorbar(image, ax=all_axes.tolist(), label=_unit(own[-1].config), aspect=10)
    numbers = [
        (panel.row, panel.column, panel.clip.clip_id, panel.clip.label, *band)
        for panel in panels
        for band in _bands(panel.values)
    ]
    return Drawing(figure, _COLUMNS, numbers)


def draw_signals(shown: Sequence[Shown]) -> Drawing:
    """:func:`draw_feature_maps`, with entropy and zero crossings of all clips of each data set.

    Raises:
        M3NetError: a clip cannot be read.
    """
    drawing = draw_feature_maps(shown)
    facts: dict[str, dict[str, float]] = {}
    for cell in shown:
        name = _place(cell)[0]
        if name not in facts:
            facts[name] = signal_values(cell.dataset)
    return dataclasses.replace(drawing, facts={"signals": facts})


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
    return np.asarray(np.log(np.maximum(power.T + config.log_offset, config.log_floor)))


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


def _panel(cell: Shown) -> _Panel:
    row, column = _place(cell)
    clip = cell.find_clip()
    config = cell.recipe.frontend
    wave = cell.dataset.load(clip)
    label = cell.labels.get("Feature", row)
    values = fbsp_spectrogram(config, wave) if label == FBSP else features(config, wave)
    end_s = len(wave) / config.sample_rate_hz
    return _Panel(row, column, clip, config, values[:, :: cell.kept_every], end_s)


def _draw(axes: Axes, panel: _Panel, span: tuple[float, float]) -> Any:
    """Draw a panel in a range of values; returns the image of a map."""
    values, config = panel.values, panel.config
    if config.kind == "waveform":
        axes.plot(np.arange(values.size) / config.sample_rate_hz, values[0], linewidth=0.4)
        axes.set(xlim=(0, panel.end_s), ylim=span, ylabel="amplitude")
        return None
    height = config.sample_rate_hz / 2000 if config.kind == "spectrogram" else len(values)
    image = draw_map(axes, values, panel.end_s, height, vmin=span[0], vmax=span[1])
    bins = "coefficient" if config.mfcc_coefficients else "mel bin"
    axes.set_ylabel("frequency (kHz)" if config.kind == "spectrogram" else bins)
    return image


def _unit(config: FrontendConfig) -> str:
    if config.mfcc_coefficients:
        return "cepstrum"
    quantity = "power" if config.power == 2 else "magnitude"
    return {"db": "power (dB)", "ln": f"ln {quantity}"}.get(config.log, quantity)
