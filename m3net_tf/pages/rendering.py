# SPDX-License-Identifier: Apache-2.0
"""Templates of HTML pages, and the hashes of their scripts and styles."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

DRAWING_AND_SOUND = ("drawing.js", "sound.js")
"""The shared scripts; others follow them in a page."""

_SHARED = Path(__file__).parent / "templates"


@functools.cache  # it compiles each template once
def environment(templates: Path) -> jinja2.Environment:
    """Jinja2 for the templates of a folder: all text is escaped, an unknown name is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
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
