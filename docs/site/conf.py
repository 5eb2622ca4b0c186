# SPDX-License-Identifier: Apache-2.0
"""Configuration of Sphinx for the documentation site, which ``docs/site/build.py`` builds."""

from __future__ import annotations

import m3net_tf

project = "m3net_tf"
version = release = m3net_tf.__version__
root_doc = "README"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]

# Plain Markdown as file browsers show it, with their anchors of headings.
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 6
smartquotes = False  # quotes are often those of code
# Code blocks without a language are output of commands.
highlight_language = "none"

autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes as one list
autodoc_default_options = {"imported-members": True}
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"m3net_tf {version}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_style = "default"
pygments_dark_style = "monokai"
