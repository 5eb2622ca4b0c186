# SPDX-License-Identifier: Apache-2.0
"""Named figures, as a table for the terminal or in Markdown."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from m3net_tf.system.markdown import markdown_table

Figure = tuple[str, str | int | float | bool | None]
"""A figure's name and value: a float is a share, and None was not compared."""


def figure_text(value: str | int | float | bool | None, digits: int = 2) -> str:
    """A value as it is printed; NO stands out, because the answer should be yes.

    Args:
        digits: of shares, which are printed in percent.
    """
    if value is None:
        return "not compared"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{100 * value:.{digits}f} %"
    return f"{value:,}" if isinstance(value, int) else value


def figures_table(figures: Iterable[Figure], title: str, notes: Sequence[str] = ()) -> Table:
    """Figures for the terminal, one a line, with notes below."""
    table = Table("", "", title=title, show_header=False, caption="\n".join(notes))
    for name, value in figures:
        table.add_row(name, figure_text(value))
    return table


def figures_markdown(figures: Iterable[Figure]) -> list[str]:
    """Figures as the lines of a table in Markdown."""
    rows = ((name, figure_text(value, digits=3)) for name, value in figures)
    return markdown_table(("what", "figure"), rows)
