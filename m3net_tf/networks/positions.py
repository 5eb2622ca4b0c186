# SPDX-License-Identifier: Apache-2.0
"""Positional encoding, used by the networks and by the integer warp."""

import numpy as np
import numpy.typing as npt


def positional_encoding(frames: int, bins: int) -> npt.NDArray[np.float32]:
    """Sinusoidal encoding of Vaswani et al. (2017), section 3.5, shape (frames, bins)."""
    even = np.arange(bins) // 2 * 2
    angle = np.arange(frames)[:, None] / 10_000.0 ** (even / bins)
    return np.where(np.arange(bins) % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)
