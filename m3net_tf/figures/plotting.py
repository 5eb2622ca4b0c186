# SPDX-License-Identifier: Apache-2.0
"""Writes a figure and its numbers as files with reproducible bytes."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3net_tf.artifacts import provenance, write_bytes, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
COLOURS = "viridis"
"""Colour map of spectrograms and matrices."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure and its numbers.

    Attributes:
        figure: the picture.
        columns: names of the columns of its numbers.
        rows: the numbers, one row per drawn point.
        facts: other information, as plain values.
    """

    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, stem: Path) -> list[Path]:
        """Write ``<stem>.png``, ``<stem>.csv`` and, with versions and facts, ``<stem>.json``.

        Returns:
            The three files.
        """
        picture = io.BytesIO()
        self.figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "csv", "json")]
        write_bytes(paths[0], picture.getvalue())
        write_text(paths[1], table.getvalue())
        write_json(paths[2], {**self.facts, **provenance()})
        return paths


def _cell(value: Any) -> Any:
    """A value with six digits, which is more than a figure shows."""
    return f"{value:.6g}" if isinstance(value, float) else value


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
