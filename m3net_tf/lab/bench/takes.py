# SPDX-License-Identifier: Apache-2.0
"""What is known of recorded words: which are copies of one take, their length and level."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse.csgraph
import soxr

from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.datasets.loudness import active_part_s, decibels, loud_power

_COPY = 0.9  # least correlation of two copies, which differ by their place and level
_RATE_HZ = 4_000  # of the sounds that are compared


def distinct_takes(sounds: Sequence[Audio], rate_hz: int) -> npt.NDArray[np.int64]:
    """Number the takes: recordings that are shifted or scaled copies have one number.

    Two recordings are copies if their correlation is at least 0.9 at some shift.

    Args:
        sounds: float32 samples of shape (samples,).

    Returns:
        Number of each recording's take, shape (sounds,).
    """
    small = [soxr.resample(sound, rate_hz, _RATE_HZ) for sound in sounds]
    size = scipy.fft.next_fast_len(2 * max(map(len, small)), real=True)
    spectra = np.empty((len(small), size // 2 + 1), np.complex64)
    for row, sound in zip(spectra, small, strict=True):
        norm = float(np.linalg.norm(sound))
        row[:] = scipy.fft.rfft(sound / norm if norm else sound, size)
    copies = np.eye(len(small), dtype=bool)
    for at in range(len(small)):
        products = scipy.fft.irfft(spectra[at:] * spectra[at].conj(), size)
        copies[at, at:] |= products.max(axis=1) >= _COPY
    _, takes = scipy.sparse.csgraph.connected_components(copies, directed=False)
    return np.asarray(takes, np.int64)


def length_s(sound: Audio, rate_hz: int) -> float:
    """Time from the first to the last loud part."""
    start_s, end_s = active_part_s(sound, rate_hz)
    return end_s - start_s


def level_db(sound: Audio, rate_hz: int) -> float:
    """Level of the loudest third, in dBFS."""
    return decibels(loud_power(sound, rate_hz))
