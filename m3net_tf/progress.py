# SPDX-License-Identifier: Apache-2.0
"""Progress reports of long-running work: one line of text per step."""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], None]


def silent(line: str) -> None:
    """Ignore a progress line."""
