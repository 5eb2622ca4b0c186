# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/rooms.svg`` from the wings in ``setup.cfg``: ``python docs/draw_rooms.py``."""

from __future__ import annotations

import ast
import configparser
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
_WIDTH, _LINE, _GAP, _MARGIN = 900, 16, 10, 12
_LETTER = 6.4  # about the width of one, with which lines fit their boxes


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


def lines_of(wing: str, width: float) -> list[tuple[str, str]]:
    """Style and text of each line of a wing's box."""
    title = ('fill="#12294a" font-weight="bold"', f"{wing}/")
    texts = (
        ('fill="#333333" font-size="12"', subject(wing)),
        ('fill="#5b7aa8" font-size="11"', rooms(wing)),
    )
    letters = int((width - 2 * _MARGIN) / _LETTER)
    return [title, *((style, line) for style, text in texts for line in wrap(text, letters))]


def draw() -> str:
    """The picture: each wing may import the wings below it."""
    parts = []
    y = _MARGIN
    for row in layers("wings"):
        if row == ["__main__"]:
            continue
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)) / len(row)
        boxes = [lines_of(wing, width) for wing in row]
        height = _LINE * max(map(len, boxes)) + _GAP
        for place, lines in enumerate(boxes):
            x = _MARGIN + place * (width + _GAP)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="6" '
                'fill="#e8f0fb" stroke="#5b7aa8"/>'
            )
            parts.extend(
                f'<text x="{x + width / 2:.1f}" y="{y + _LINE * number}" text-anchor="middle" '
                f"{style}>{escape(text)}</text>"
                for number, (style, text) in enumerate(lines, 1)
            )
        y += height + _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y - _GAP + _MARGIN}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>Wings of m3net_tf: each imports only wings below it</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    )
    return "\n".join([*head, *parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw())
