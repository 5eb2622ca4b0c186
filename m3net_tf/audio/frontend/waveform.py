# SPDX-License-Identifier: Apache-2.0
"""Raw samples as features on a device: a column is one hop of samples, each mapped to a level.

The network's input is (1, samples, 1): one row whose frames are samples. A device processes it in
columns of ``hop_samples`` without overlap. It converts each sample to int8 with the table of
:func:`waveform_levels`, so it never computes a logarithm.
"""

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import reference
from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.system.errors import ConfigError

Int8 = npt.NDArray[np.int8]

_SAMPLES = np.arange(-32_768, 32_768)
_STEPS = 255  # between 256 levels


def column_bins(config: FrontendConfig) -> int:
    """Values per column on the device: the bins, or for a waveform one hop of samples."""
    return config.hop_samples if config.kind == "waveform" else config.feature_bins


def column_count(config: FrontendConfig, frames: int) -> int:
    """Number of columns on the device for a network input of this many frames.

    Raises:
        ConfigError: a waveform's hop does not divide the input.
    """
    if config.kind != "waveform":
        return frames
    hop = config.hop_samples
    if frames % hop:
        divisors = [n for n in range(1, config.frame_samples + 1) if frames % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - hop))
        raise ConfigError(
            f"frontend.hop_samples is {hop}, which does not divide the {frames} samples of a clip: "
            f"a device processes whole hops; train with hop_samples {nearest} or clips of another "
            "length"
        )
    return frames // hop


def waveform_levels(config: FrontendConfig) -> Int8:
    """int8 features of all int16 samples from -32768 to 32767, shape (65536,), non-decreasing.

    Raises:
        ConfigError: the front end needs the whole clip.
    """
    if config.level_db is not None:
        raise ConfigError(
            f"frontend.level_db is {config.level_db!r}: the firmware needs None because it never "
            "has a whole clip; train with a front end made for the device"
        )
    levels: Int8 = reference.features_int8(config, _SAMPLES / 32_768.0)[0]
    return levels


def is_rounded(levels: Int8) -> bool:
    """Whether each level is the sample rounded to 8 bits."""
    return np.array_equal(levels, np.minimum((_SAMPLES + 128) >> 8, 127))


def waveform_steps(levels: Int8) -> npt.NDArray[np.int16]:
    """The last sample of each level, shape (255,), from ``levels[0]`` on.

    A sample's level is ``levels[0]`` plus the number of steps below the sample.
    """
    all_levels = levels[0] + np.arange(_STEPS)
    steps = np.searchsorted(levels.astype(int), all_levels, side="right") - 32_769
    return np.asarray(steps, np.int16)
