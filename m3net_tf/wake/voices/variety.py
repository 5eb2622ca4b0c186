# SPDX-License-Identifier: Apache-2.0
"""How many voices are heard in recordings of one phrase, and which of them sound the same."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.reference import features

Float = npt.NDArray[np.float64]

RATE_HZ = 16_000
_MFCC = FrontendConfig(
    sample_rate_hz=RATE_HZ,
    frame_samples=400,
    hop_samples=160,
    mel_bins=40,
    mfcc_coefficients=20,
    level_db=-26.0,
)
_AUDIBLE_DB = 30.0  # frames further below the loudest are pauses
# In RAVDESS a speaker's repetitions of a sentence are 1.1 to 2.5 apart, and two speakers of it 3.5
# to 8.3 (actors 1 to 8, neutral and calm, 5th to 95th percentile).
_SAME = _SCALE = 2.5


def timbre(audio: Audio) -> Float:
    """Mean and standard deviation of the mel-frequency cepstrum over the audible frames.

    Args:
        audio: samples at :data:`RATE_HZ`, shape (samples,), with at least one frame.

    Returns:
        Shape (38,); the level is left out.
    """
    cepstrum = features(_MFCC, audio)
    # The first coefficient is the mean log power times the square root of the number of bins.
    level_db = cepstrum[0] * 10 / np.log(10) / np.sqrt(_MFCC.mel_bins)
    heard = cepstrum[1:, level_db > level_db.max() - _AUDIBLE_DB]
    return np.concatenate([heard.mean(axis=1), heard.std(axis=1)])


def distinct(timbres: Sequence[Float]) -> list[int]:
    """Indices of the voices that sound unlike each voice before them."""
    kept: list[int] = []
    for index, one in enumerate(timbres):
        if all(np.linalg.norm(one - timbres[other]) > _SAME for other in kept):
            kept.append(index)
    return kept


def variety(timbres: Sequence[Float]) -> float:
    """The effective number of voices: n for n that have nothing in common, 1 for n equal ones.

    Friedman and Dieng, "The Vendi score", TMLR 2023, equation 1: the exponential of the entropy of
    the similarities' eigenvalues. The similarity of two voices falls with the distance of their
    timbres as a Gaussian. It says how far the voices are apart, not how natural they are.
    """
    points = np.array(timbres)
    squares = np.sum((points[:, None] - points[None]) ** 2, axis=-1)
    values = np.linalg.eigvalsh(np.exp(-squares / (2 * _SCALE**2)) / len(points))
    values = values[values > 1e-12]
    return float(np.exp(-np.sum(values * np.log(values))))
