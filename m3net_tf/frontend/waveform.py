# SPDX-License-Identifier: Apache-2.0
"""Samples as features, as a device takes them: a hop of samples is a column, each sample a level.

The network's input is (1, samples, 1): one row whose frames are samples. A device hears it in
columns of ``hop_samples``, which follow one another without overlap, and turns each sample into
int8 by what :func:`waveform_levels` says of all of them: it never computes a logarithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ConfigError
from m3net_tf.frontend import reference
from m3net_tf.frontend.config import FrontendConfig

Int8 = npt.NDArray[np.int8]

_SAMPLES = np.arange(-32_768, 32_768)
_STEPS = 255  # between 256 levels


def column_bins(config: FrontendConfig) -> int:
    """Values of a column on the device: the bins, or of a waveform a hop of samples."""
    return config.hop_samples if config.kind == "waveform" else config.feature_bins


def column_count(config: FrontendConfig, frames: int) -> int:
    """Columns on the device for a network's input of this many frames.

    Raises:
        ConfigError: the hop of a waveform does not divide it.
    """
    if config.kind != "waveform":
        return frames
    hop = config.hop_samples
    if frames % hop:
        near = [n for n in range(1, config.frame_samples + 1) if frames % n == 0]
        best = min(near, key=lambda n: abs(n - hop))
        raise ConfigError(
            f"frontend.hop_samples is {hop}, which does not divide the {frames} samples of a clip: "
            f"a device hears hop by hop; train with hop_samples {best} or clips of another length"
        )
    return frames // hop


def waveform_levels(config: FrontendConfig) -> Int8:
    """int8 features of all int16 samples from -32768 to 32767, shape (65536,); they only rise.

    Raises:
        ConfigError: the front end needs the whole clip.
    """
    if config.level_db is not None:
        raise ConfigError(
            f"frontend.level_db is {config.level_db!r}: the firmware needs None, for it never "
            "hears a whole clip; train with a front end made for the device"
        )
    return reference.features_int8(config, _SAMPLES / 32_768.0)[0]


def is_rounded(levels: Int8) -> bool:
    """Whether each level is just the sample rounded to 8 bits."""
    return np.array_equal(levels, np.minimum((_SAMPLES + 128) >> 8, 127))


def waveform_steps(levels: Int8) -> npt.NDArray[np.int16]:
    """The last sample of each level, shape (255,), from ``levels[0]`` on.

    A sample's level is ``levels[0]`` and the number of steps that it is above.
    """
    upto = levels[0] + np.arange(_STEPS)
    return (np.searchsorted(levels.astype(int), upto, side="right") - 32_769).astype(np.int16)
