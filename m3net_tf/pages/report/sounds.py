# SPDX-License-Identifier: Apache-2.0
"""Sounds and pictures of clips as data URIs, which need no file beside the page."""

import base64
import io

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.audio.datasets.audio import Audio, resampled, wav_bytes
from m3net_tf.pages.plotting import COLOURS

_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_SALIENCY_RGB = (1.0, 0.45, 0.0)
_LEAST_SALIENCY = 0.05  # of a probability; smaller falls stay faint
_DIM = 0.75  # of the map below its saliency


def sound_uri(audio: Audio, rate_hz: int) -> str:
    """A sound as MP3, which every browser plays and which takes a fifth of the samples' bytes.

    Args:
        audio: float samples from -1 to 1, shape (samples,).
    """
    if rate_hz not in _MP3_RATES_HZ:
        best_hz = min((rate for rate in _MP3_RATES_HZ if rate > rate_hz), default=48_000)
        audio = resampled(audio, rate_hz, best_hz)
        rate_hz = best_hz
    data = io.BytesIO()
    soundfile.write(data, audio, rate_hz, format="MP3")
    return _uri("audio/mpeg", data.getvalue())


def wave_uri(pcm: npt.NDArray[np.int16], rate_hz: int) -> str:
    """Samples as WAV, which keeps every bit."""
    return _uri("audio/wav", wav_bytes(pcm, rate_hz))


def map_uri(values: npt.NDArray[np.floating]) -> str:
    """A feature map, shape (bins, frames), as a picture with the lowest bin at the bottom."""
    from matplotlib import colormaps

    return _png(colormaps[COLOURS](_stretched(values)))


def saliency_uri(values: npt.NDArray[np.floating], saliency: npt.NDArray[np.floating]) -> str:
    """A feature map in grey, with orange where the saliency is above 0.

    Args:
        values: the map, shape (bins, frames).
        saliency: falls of a probability, same shape; the largest is opaque.
    """
    grey = np.repeat(_DIM * _stretched(values)[..., None], 3, axis=2)
    opacity = np.clip(saliency / max(float(saliency.max()), _LEAST_SALIENCY), 0, 1)[..., None]
    return _png((1 - opacity) * grey + opacity * np.array(_SALIENCY_RGB))


def _stretched(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    low, high = float(np.min(values)), float(np.max(values))
    stretched: npt.NDArray[np.floating] = (values - low) / max(high - low, 1e-9)
    return stretched


def _png(picture: npt.NDArray[np.floating]) -> str:
    """Colours from 0 to 1, shape (bins, frames, 3 or 4), as a PNG with a pixel for each value."""
    from matplotlib import image

    data = io.BytesIO()
    image.imsave(data, picture[::-1], format="png")
    return _uri("image/png", data.getvalue())


def _uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
