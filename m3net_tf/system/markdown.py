# SPDX-License-Identifier: Apache-2.0
"""Markdown tables and escaping."""

import re
from collections.abc import Iterable, Sequence


def markdown_text(text: str) -> str:
    """Text with the characters escaped that Markdown would interpret."""
    return re.sub(r"([\\|<>*`\[\]])", r"\\\1", text)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table, followed by an empty line; "None." if there are no rows.

    Cells are escaped by :func:`markdown_text`.
    """
    lines = [f"| {' | '.join(markdown_text(str(cell)) for cell in row)} |" for row in rows]
    if not lines:
        return ["None.", ""]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""]
