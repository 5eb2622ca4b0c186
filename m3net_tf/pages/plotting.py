# SPDX-License-Identifier: Apache-2.0
"""Writes a figure and its numbers as files with reproducible bytes."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import csv_table, provenance, write_bytes, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_DPI = 120
COLOURS = "viridis"
"""Colour map of spectrograms and matrices."""
STYLES = ("-", "--", "-.", ":")
"""Styles of lines, which tell them apart without colours."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure and its numbers.

    Attributes:
        rows: the numbers, one row per drawn point.
    """

    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def save(self, stem: Path) -> list[Path]:
        """Write ``<stem>.png``, ``<stem>.csv`` and, with versions and facts, ``<stem>.json``."""
        picture = io.BytesIO()
        self.figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
        rows = [[_cell(value) for value in row] for row in self.rows]
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "csv", "json")]
        write_bytes(paths[0], picture.getvalue())
        write_text(paths[1], csv_table(self.columns, rows))
        write_json(paths[2], {**self.facts, **provenance()})
        return paths


def _cell(value: Any) -> Any:
    """A value with six digits, which is more than a figure shows."""
    return f"{value:.6g}" if isinstance(value, float) else value


def draw_map(
    axes: Axes,
    values: npt.NDArray[np.generic],
    width: float,
    height: float | None = None,
    **limits: float,
) -> AxesImage:
    """Draw a map with its first row at the bottom; returns the image.

    Args:
        values: shape (rows, columns).
        width: right end of the horizontal axis, such as the clip's end in seconds.
        height: upper end of the vertical axis; None is the number of rows.
        limits: ``vmin`` and ``vmax`` of the colours; default: the values' range.
    """
    return axes.imshow(
        values,
        cmap=COLOURS,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, width, 0, len(values) if height is None else height),
        **limits,  # type: ignore[arg-type]
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
