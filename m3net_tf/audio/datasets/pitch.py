# SPDX-License-Identifier: Apache-2.0
"""How high a voice is."""

import librosa
import numpy as np

from m3net_tf.audio.datasets.audio import Audio

HIGH_HZ = 150.0
"""A pitch between most men's voices and most women's."""
_FRAME = 1024
_PITCH_HZ = (60.0, 450.0)


def pitch_hz(sound: Audio, rate_hz: int) -> float:
    """Median fundamental frequency of the loudest fifth of the frames.

    The estimate of each frame is YIN's (de Cheveigné and Kawahara, 2002).
    """
    padded = np.pad(sound, (0, max(0, _FRAME - len(sound))))
    low_hz, high_hz = _PITCH_HZ
    hop = _FRAME // 4
    pitches = librosa.yin(
        padded, fmin=low_hz, fmax=high_hz, sr=rate_hz, frame_length=_FRAME, hop_length=hop
    )
    levels = librosa.feature.rms(y=padded, frame_length=_FRAME, hop_length=hop)[0]
    loud = np.argsort(levels)[-max(1, len(levels) // 5) :]
    return float(np.median(pitches[loud]))
