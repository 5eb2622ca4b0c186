# SPDX-License-Identifier: Apache-2.0
"""What the charts of several sections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

_BAR = 20  # pixels
_TALLEST = 1500


def chart_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart without marks of some rows."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def drawn(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> dict[str, Any]:
    """Vega-Lite specification with its data, as wide as its place on the page.

    Args:
        chart: the chart.
        height: its height in pixels.
    """
    with alt.data_transformers.enable(consolidate_datasets=False):
        specification: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    return specification


def layer_bars(
    rows: Sequence[Mapping[str, Any]], value: alt.X, tooltip: Sequence[str | alt.Tooltip]
) -> dict[str, Any]:
    """A bar for each row in their order, named by its ``layer``.

    Args:
        rows: the layers.
        value: their value.
        tooltip: fields beside the layer that pointing at a bar shows.
    """
    name = alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(labelLimit=200))
    bars = chart_of(rows).mark_bar().encode(x=value, y=name, tooltip=["layer:N", *tooltip])
    return drawn(bars, min(_TALLEST, _BAR * len(rows)))


def run_legend(runs: int) -> alt.Legend | None:
    """Legend of the runs' colours; None for a single run."""
    return alt.Legend(title=None, orient="top", symbolOpacity=1) if runs > 1 else None
