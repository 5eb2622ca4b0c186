# SPDX-License-Identifier: Apache-2.0
"""The shared look of HTML pages, and their script that draws features and scores.

- ``rendering.py``: templates, and the hashes that let a page's policy run only its own scripts;
- ``colours.py``: colours of a map of int8 features;
- ``templates/page.css`` and ``templates/drawing.js``: style, and drawing of features and scores.
"""

from m3net_tf.pages.colours import feature_colours
from m3net_tf.pages.rendering import environment, shared_file, source_hash

__all__ = ["environment", "feature_colours", "shared_file", "source_hash"]
