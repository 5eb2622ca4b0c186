# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/rooms.svg`` from the wings in ``setup.cfg``: ``python docs/draw_rooms.py``."""

from __future__ import annotations

import ast
import configparser
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
_WIDTH, _ROW, _GAP, _MARGIN = 900, 58, 10, 12


def layers(contract: str) -> list[list[str]]:
    """Packages of a contract from the top down, packages of one height in one list."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    section = f"importlinter:contract:{contract}"
    lines = config.get(section, "layers", fallback="").split("\n")
    return [[name.strip() for name in line.split("|")] for line in lines if line.strip()]


def subject(wing: str) -> str:
    """First line of a wing's docstring, without markup."""
    text = ast.get_docstring(ast.parse((ROOT / "m3net_tf" / wing / "__init__.py").read_text()))
    return (text or "").partition("\n")[0].replace("``", "").rstrip(".")


def rooms(wing: str) -> str:
    """Rooms of a wing, from the top down; '' for a wing without rooms."""
    return " → ".join(" · ".join(row) for row in layers(wing) if wing != "training")


def draw() -> str:
    """The picture: each wing may import the wings below it."""
    rows = [row for row in layers("wings") if row != ["__main__"]]
    height = 2 * _MARGIN + len(rows) * (_ROW + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>Wings of m3net_tf: each imports only wings below it</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, row in enumerate(rows):
        y = _MARGIN + index * (_ROW + _GAP)
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)) / len(row)
        for place, wing in enumerate(row):
            x = _MARGIN + place * (width + _GAP)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW}" rx="6" '
                'fill="#e8f0fb" stroke="#5b7aa8"/>'
            )
            lines = (
                (19, 'fill="#12294a" font-weight="bold"', f"{wing}/"),
                (35, f'fill="#333333" font-size="{12 if len(row) == 1 else 9}"', subject(wing)),
                (51, 'fill="#5b7aa8" font-size="11"', rooms(wing)),
            )
            parts.extend(
                f'<text x="{x + width / 2:.1f}" y="{y + below}" text-anchor="middle" {style}>'
                f"{escape(text)}</text>"
                for below, style, text in lines
                if text
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw())
