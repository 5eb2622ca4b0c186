# SPDX-License-Identifier: Apache-2.0
"""Colours of a map of int8 features, without a plotting library."""

from __future__ import annotations

import numpy as np

# Eighteen colours of Matplotlib's viridis at equal distances. Between them straight lines are
# within 5 of 255 of its curves.
_VIRIDIS = (
    "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e "
    "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)


def feature_colours() -> list[str]:
    """CSS colours (``#rrggbb``) of the int8 values from -128 to 127."""
    points = np.array([tuple(bytes.fromhex(colour)) for colour in _VIRIDIS.split()], float)
    at = np.linspace(0, 255, len(points))
    levels = [np.interp(np.arange(256), at, channel) for channel in points.T]
    return [f"#{bytes(colour).hex()}" for colour in np.rint(levels).astype(np.uint8).T]
