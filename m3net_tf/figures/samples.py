# SPDX-License-Identifier: Apache-2.0
"""Choice of the clips of a figure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread_over_classes(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Indices of at most ``count`` clips, spread evenly over the sorted classes."""
    order = np.argsort(labels, kind="stable")
    return order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
