# SPDX-License-Identifier: Apache-2.0
"""Where the windows of a longer sound begin: half a window apart, the last one at its end.

A data set and a classifier place windows by this rule, so that a test measures what the classifier
answers. Only NumPy is needed.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

TAIL_S = 0.01
"""Rest of a sound, after its regular windows, for which another window is worthwhile."""


def window_starts(samples: int, window: int, tail: int) -> list[int]:
    """First samples of half-overlapping windows of a sound that is at least one window long.

    A further window ends with the sound if at least ``tail`` samples follow the last one.
    """
    starts = list(range(0, samples - window + 1, _step(window)))
    last = samples - window
    return [*starts, last] if last - starts[-1] >= tail else starts


def windows_of_chunks(
    chunks: Iterable[npt.NDArray[np.int16]], window: int, tail: int
) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
    """The windows at :func:`window_starts` of a sound that comes in chunks.

    At most a window and a chunk are in memory.

    Args:
        chunks: int16 samples, each of shape (samples,).

    Yields:
        First sample of a window, and its samples, shape (window,). A sound that is shorter than a
        window gives one window, which ends in zeros.
    """
    buffer = np.zeros(0, np.int16)
    first = start = 0  # indices of the first buffered sample, and of the next window
    for chunk in chunks:
        buffer = np.concatenate([buffer, chunk])
        while start + window <= first + len(buffer):
            yield start, buffer[start - first : start - first + window]
            start += _step(window)
        # The window that ends with the sound may begin right after the start of the previous one.
        kept_from = max(start - _step(window), 0)
        buffer, first = buffer[kept_from - first :], kept_from
    if not start:
        yield 0, np.pad(buffer, (0, window - len(buffer)))
        return
    for last in window_starts(first + len(buffer), window, tail)[start // _step(window) :]:
        yield last, buffer[last - first :]


def _step(window: int) -> int:
    return max(1, window // 2)
