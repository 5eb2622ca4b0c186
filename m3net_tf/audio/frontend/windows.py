# SPDX-License-Identifier: Apache-2.0
"""The windows of a longer sound: where they begin, and which have sound.

They are half a window apart, and the last one ends with the sound.

A data set and a classifier place and omit windows by these rules, so that a test measures what the
classifier answers. Only NumPy is needed.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

TAIL_S = 0.01
"""Rest of a sound, after its regular windows, for which another window is worthwhile."""
SILENCE_BELOW_DB = -40.0
"""Level below which a part of a sound is silence, relative to the sound's loudest window."""
SILENCE_RMS = 1 / 32768
"""The smallest step of 16 bits, full scale 1: nothing but digital silence is below it."""


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


def is_silent(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which windows of a sound have no sound in them.

    Args:
        levels: root mean square of each window, full scale 1, shape (windows,).
    """
    floor = levels.max() * 10 ** (SILENCE_BELOW_DB / 20)
    return np.asarray(levels < max(floor, SILENCE_RMS))


def counting(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which windows of a sound count: those with sound, or all if none has any.

    Args:
        levels: as of :func:`is_silent`.
    """
    silent = is_silent(levels)
    return np.asarray(~silent | silent.all())


def level_of(window: npt.NDArray[np.floating]) -> float:
    """Root mean square of a window, shape (samples,)."""
    return float(np.sqrt(np.square(window, dtype=np.float64).mean()))


def _step(window: int) -> int:
    return max(1, window // 2)
