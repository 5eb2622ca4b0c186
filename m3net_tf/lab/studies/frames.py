# SPDX-License-Identifier: Apache-2.0
"""Data frames as CSV and Markdown. The index has the labels of a cell, a level per axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from m3net_tf.system.markdown import markdown_table


def labelled(
    rows: Sequence[Mapping[str, object]],
    labels: Sequence[Mapping[str, str]],
    axes: list[str],
    columns: list[str] | None = None,
) -> pd.DataFrame:
    """A frame of rows whose index has the labels of their cells.

    Args:
        rows: values by column.
        labels: the labels of each row, by axis.
        axes: the axes in order.
        columns: the columns in order; default: as in the rows.
    """
    values = [[own[axis] for own in labels] for axis in axes]
    index = pd.MultiIndex.from_arrays(values, names=axes) if axes else None
    return pd.DataFrame(rows, index, columns)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV: numbers in six digits, nothing for missing values."""
    return frame.to_csv(float_format="%.6g", lineterminator="\n")


def markdown_lines(frame: pd.DataFrame) -> list[str]:
    """Lines of a frame as a Markdown table, with its index."""
    plain = frame.reset_index(allow_duplicates=True)
    return markdown_table(list(plain.columns), plain.to_numpy().tolist())
