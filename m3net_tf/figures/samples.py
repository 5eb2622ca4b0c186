# SPDX-License-Identifier: Apache-2.0
"""Which clips stand for a split in a figure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread_over_classes(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` clips (all, where there are fewer), evenly over the sorted classes."""
    order = np.argsort(labels, kind="stable")
    return order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
