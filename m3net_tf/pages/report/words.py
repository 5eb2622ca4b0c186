# SPDX-License-Identifier: Apache-2.0
"""Figures as text."""


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; '' for None."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def with_interval(
    share: float | None, bounds: tuple[float, float], digits: int = 1, bound_digits: int = 0
) -> str:
    """A share in percent with its interval in brackets; '' for None.

    Args:
        bounds: lower and upper bound, as shares.
        digits: decimals of the share.
        bound_digits: decimals of the bounds.
    """
    return "" if share is None else f"{percent(share, digits)} ({interval(bounds, bound_digits)})"


def interval(bounds: tuple[float, float], digits: int = 1) -> str:
    """Bounds, given as shares, in percent."""
    low, high = (f"{100 * bound:.{digits}f}" for bound in bounds)
    return f"{low} to {high}"


def number(value: float | None) -> str:
    """A whole number with separators; '' for None."""
    return "" if value is None else f"{value:,.0f}"


def difference(value: float, unit: str = "", digits: int = 0) -> str:
    """A signed difference with a unit."""
    rounded = round(value, digits)
    return f"{rounded:+,.{digits}f}{unit}" if rounded else f"0{unit}"
