# SPDX-License-Identifier: Apache-2.0
"""The shared look of HTML pages, and their scripts for features, scores and sound.

- ``rendering.py``: templates, the hashes that let a page's policy run only its own scripts, and
  colours of a map of int8 features;
- ``plotting.py``: figures, and files of a picture with its numbers;
- ``templates/``: the style ``page.css``, and the scripts ``drawing.js`` (features and scores) and
  ``sound.js`` (the microphone).
"""

from m3net_tf.pages.rendering import (
    DRAWING_AND_SOUND,
    environment,
    feature_colours,
    shared_file,
    source_hash,
)

__all__ = ["DRAWING_AND_SOUND", "environment", "feature_colours", "shared_file", "source_hash"]
