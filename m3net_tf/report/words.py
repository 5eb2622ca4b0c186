# SPDX-License-Identifier: Apache-2.0
"""Figures as text."""

from __future__ import annotations


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; '' for None."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None) -> str:
    """A whole number with separators; '' for None."""
    return "" if value is None else f"{value:,.0f}"


def difference(value: float, unit: str = "", digits: int = 0) -> str:
    """A signed difference with a unit."""
    rounded = round(value, digits)
    return f"{rounded:+,.{digits}f}{unit}" if rounded else f"0{unit}"
