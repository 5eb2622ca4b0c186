# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table, with an empty one behind it; "None." where there are no rows.

    Args:
        head: column heads.
        rows: a value for each column; bars in them are escaped.
    """
    lines = [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    if not lines:
        return ["None.", ""]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""]


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|")
