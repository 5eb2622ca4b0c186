# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/rooms.svg`` from the rooms in ``setup.cfg``: ``python docs/draw_rooms.py``."""

from __future__ import annotations

import ast
import configparser
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
_WIDTH, _ROW, _GAP, _MARGIN = 900, 46, 12, 12


def layers() -> list[list[str]]:
    """Rooms from the top down, those of one height in one list."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["importlinter:contract:rooms"]["layers"].split("\n")
    return [[room.strip() for room in line.split("|")] for line in lines if line.strip()]


def subject(room: str) -> str:
    """First sentence of a room's docstring, without markup; '' for a single module."""
    path = ROOT / "m3net_tf" / room / "__init__.py"
    if not path.exists():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n")[0].replace("``", "").rstrip(".")


def draw() -> str:
    """The picture: each room may import those below it."""
    rows = [row for row in layers() if row != ["__main__"]]
    height = 2 * _MARGIN + len(rows) * (_ROW + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>Rooms of m3net_tf: each imports only rooms below it</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, row in enumerate(rows):
        y = _MARGIN + index * (_ROW + _GAP)
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)) / len(row)
        for place, room in enumerate(row):
            x = _MARGIN + place * (width + _GAP)
            text = subject(room)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW}" rx="6" '
                f'fill="{"#e8f0fb" if text else "#f2f2f2"}" stroke="#5b7aa8"/>'
            )
            name_y = y + (19 if text else 28)
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{name_y}" text-anchor="middle" fill="#12294a" '
                f'font-weight="bold">{escape(room)}</text>'
            )
            if text:
                parts.append(
                    f'<text x="{x + width / 2:.1f}" y="{y + 37}" text-anchor="middle" '
                    f'fill="#333333" font-size="{12 if len(row) == 1 else 9.5}">{escape(text)}'
                    "</text>"
                )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw())
