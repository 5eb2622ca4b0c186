# SPDX-License-Identifier: Apache-2.0
"""Templates of HTML pages, the hashes of their scripts and styles, and colours of features."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jinja2

DRAWING_AND_SOUND = ("drawing.js", "sound.js")
"""The shared scripts; others follow them in a page."""

_SHARED = Path(__file__).parent / "templates"
# Eighteen colours of Matplotlib's viridis at equal distances. Between them straight lines are
# within 5 of 255 of its curves.
_VIRIDIS = (
    "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e "
    "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)


@functools.cache  # it compiles each template once
def environment(templates: Path) -> jinja2.Environment:
    """Jinja2 for the templates of a folder: HTML is escaped, an unknown name is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def shared_file(name: str) -> str:
    """Text of the style ``page.css``, or of a script."""
    return (_SHARED / name).read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """Hash of a script or style as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def feature_colours() -> list[str]:
    """CSS colours (``#rrggbb``) of the int8 values from -128 to 127."""
    points = np.array([tuple(bytes.fromhex(colour)) for colour in _VIRIDIS.split()], float)
    at = np.linspace(0, 255, len(points))
    levels = [np.interp(np.arange(256), at, channel) for channel in points.T]
    return [f"#{bytes(colour).hex()}" for colour in np.rint(levels).astype(np.uint8).T]
