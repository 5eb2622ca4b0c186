# SPDX-License-Identifier: Apache-2.0
"""Configuration of Sphinx for the documentation site, which ``docs/site/build.py`` builds.

Sphinx with MyST and Furo, since MkDocs 1 has no maintainer, MkDocs 2 has no plug-ins, and Material
for MkDocs only receives security fixes, until November 2026.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import m3net_tf

# As autodoc writes it, with a tilde before each name that it shortens.
_ARRAY = re.compile(
    r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(~numpy\.\w+)\]\]"
)

project = "m3net_tf"
version = release = m3net_tf.__version__
root_doc = "index"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]

# Plain Markdown as file browsers show it, with their anchors of headings.
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 6
smartquotes = False  # quotes and dashes often belong to code, as in --streaming
# Code blocks without a language are output of commands.
highlight_language = "none"

autodoc_member_order = "bysource"
# Attributes as one list; their types are in the signature.
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_default_options = {"imported-members": True}
# Keras's docstrings of call and build are not written for Sphinx.
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"m3net_tf {version}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
pygments_style = "default"
pygments_dark_style = "monokai"


def setup(app: Any) -> None:
    """Connect what changes the text of docstrings' signatures."""
    app.connect("autodoc-process-signature", _short_types)


def _short_types(*event: Any) -> tuple[str | None, str | None]:
    """``ndarray[float32]`` for an array; docstrings give shapes."""
    signature, result = (part and _ARRAY.sub(r"~numpy.ndarray[\1]", part) for part in event[-2:])
    return signature, result
