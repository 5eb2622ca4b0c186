# SPDX-License-Identifier: Apache-2.0
"""How long work reports its progress: a line of text for each step."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], None]


def silent(line: str) -> None:
    """Drop a line of progress."""
