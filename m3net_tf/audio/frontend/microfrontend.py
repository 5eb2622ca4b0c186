# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's microfrontend, by the package pymicro-features: the front end of microWakeWord.

40 bands from 125 to 7,500 Hz of 30 ms every 10 ms, without steady noise, with automatic gain (PCAN)
and logarithm. The estimates of noise and gain depend on all sound before a frame.
"""

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.system.extras import require_modules

MICROFRONTEND = FrontendConfig(
    kind="microfrontend",
    frame_samples=480,
    hop_samples=160,
    mel_min_hz=125.0,
    mel_max_hz=7500.0,
    feature_min=0.0,
    feature_max=255 * 666 / 256,
)
"""Its features are whole numbers from 0; int8 as ESPHome's micro_wake_word rounds them."""

_STEPS = 25.6  # of a feature, in a unit of the package

INPUT_SCALE = MICROFRONTEND.feature_step / _STEPS
"""Scale of int8 features in the unit of the package, by which some runtimes round."""


class Microfrontend:
    """The front end on samples in pieces of any length.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self) -> None:
        require_modules("the front end microfrontend", "microwakeword", "pymicro_features")
        from pymicro_features import MicroFrontend

        self._frontend = MicroFrontend()
        self._waiting = b""

    def push(self, pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        """Add int16 samples; returns the columns that they complete, shape (bands, columns)."""
        samples = self._waiting + pcm.tobytes()
        hop_bytes = 2 * MICROFRONTEND.hop_samples
        whole = len(samples) - len(samples) % hop_bytes
        self._waiting = samples[whole:]
        columns = [
            output.features
            for start in range(0, whole, hop_bytes)
            if (
                output := self._frontend.process_samples(samples[start : start + hop_bytes])
            ).features
        ]
        return np.round(_STEPS * np.array(columns).reshape(-1, MICROFRONTEND.mel_bins).T)


def features(wave: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Features of a clip, as after silence: samples in [-1, 1) to shape (bands, frames)."""
    scaled = np.round(np.asarray(wave) * 32_768.0)
    return Microfrontend().push(np.clip(scaled, -32_768, 32_767).astype(np.int16))
