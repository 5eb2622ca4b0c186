# SPDX-License-Identifier: Apache-2.0
"""Limits of the values in recipes."""

from __future__ import annotations

import math

from m3net_tf.system.errors import ConfigError


def require_choice(section: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError if a key of a recipe has none of its values."""
    if value not in choices:
        raise ConfigError(f"{section}.{name} is {value!r}: choose one of {', '.join(choices)}")


def require_positive(section: str, name: str, value: float) -> None:
    """Raise ConfigError if a key of a recipe is not a finite number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{section}.{name} is {value}: give more than 0")


def require_range(
    section: str, name: str, value: float, low: float, high: float = math.inf
) -> None:
    """Raise ConfigError if a key of a recipe is not a finite number of a range."""
    if not low <= value <= high or value == math.inf:
        allowed = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:.10g}"
        raise ConfigError(f"{section}.{name} is {value}: give {allowed}")
