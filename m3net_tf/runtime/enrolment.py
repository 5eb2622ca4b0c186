# SPDX-License-Identifier: Apache-2.0
"""Windows of a recording that are enrolled (:mod:`.prototypes`), on a board and in Python."""

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.loudness import active_part_s
from m3net_tf.audio.frontend.windows import TAIL_S, is_silent, level_of, windows_of_chunks
from m3net_tf.system.errors import DataError

Pcm = npt.NDArray[np.int16]
_AFTER_S = 0.2  # from a word's end to the end of its window, as in training (wake/sounds.py)


def enrolled_windows(
    pcm: Pcm, samples: int, rate_hz: int, name: str, *, whole: bool = False
) -> list[Pcm]:
    """The windows of a recording that are enrolled.

    Args:
        pcm: the recording, shape (samples,).
        samples: samples of a window.
        name: name of the recording in errors.
        whole: all :func:`sound_windows`, for sounds that last, instead of the :func:`word_window`.

    Raises:
        DataError: the whole recording is silent.
    """
    windows = [word_window(pcm, samples, rate_hz)]
    if whole:
        windows = sound_windows(pcm, samples, rate_hz)
    if not windows:
        raise DataError(f"{name}: is silent: record it again")
    return windows


def word_window(pcm: Pcm, samples: int, rate_hz: int) -> Pcm:
    """The window of a recording that ends shortly after the word, where live detection finds it.

    The word is the last loud part of the window with the most energy. Where the recording ends
    before the window does, or begins after it, there is silence.

    Args:
        pcm: the recording, shape (samples,).
    """
    around = np.pad(pcm, (samples, round(_AFTER_S * rate_hz)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(around, dtype=np.float64))])
    loudest = int((energy[samples:] - energy[:-samples]).argmax())
    sound = around[loudest : loudest + samples].astype(np.float32)
    _, end_s = active_part_s(sound, rate_hz)
    end = min(loudest + round((end_s + _AFTER_S) * rate_hz), len(around))
    return around[end - samples : end]


def sound_windows(pcm: Pcm, samples: int, rate_hz: int) -> list[Pcm]:
    """Half-overlapping windows of a recording of a sound that lasts, without silent ones.

    Args:
        pcm: the recording, shape (samples,); a shorter one than a window ends in silence.
    """
    windows = [part for _, part in windows_of_chunks([pcm], samples, round(TAIL_S * rate_hz))]
    silent = is_silent(np.array([level_of(part / 32768) for part in windows]))
    return [part for part, left_out in zip(windows, silent, strict=True) if not left_out]
