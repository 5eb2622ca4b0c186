# SPDX-License-Identifier: Apache-2.0
"""What the charts of several sections share."""

from collections.abc import Mapping, Sequence

import altair as alt

Spec = dict[str, object]
"""A Vega-Lite specification: JSON for the page."""
Row = Mapping[str, object]
"""A row of a chart's data: value by field."""

_BAR = 20  # pixels
_TALLEST = 1500


def chart_of(rows: Sequence[Row]) -> alt.Chart:
    """A chart without marks of some rows."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def drawn(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> Spec:
    """Vega-Lite specification with its data, as wide as its place on the page."""
    with alt.data_transformers.enable(consolidate_datasets=False):
        specification: Spec = chart.properties(width="container", height=height).to_dict()
    return specification


def layer_bars(rows: Sequence[Row], value: alt.X, tooltip: Sequence[str | alt.Tooltip]) -> Spec:
    """A bar for each row in their order, named by its ``layer``.

    Args:
        tooltip: fields beside the layer that pointing at a bar shows.
    """
    name = alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(labelLimit=200))
    bars = chart_of(rows).mark_bar().encode(x=value, y=name, tooltip=["layer:N", *tooltip])
    return drawn(bars, min(_TALLEST, _BAR * len(rows)))


def run_legend(runs: int) -> alt.Legend | None:
    """Legend of the runs' colours; None for a single run."""
    return alt.Legend(title=None, orient="top", symbolOpacity=1) if runs > 1 else None
