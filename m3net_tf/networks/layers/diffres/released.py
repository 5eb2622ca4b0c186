# SPDX-License-Identifier: Apache-2.0
"""Where the DiffRes authors' released code differs from the paper's text.

The code is https://github.com/haoheliu/diffres-python. ``reading: released`` of
:class:`~m3net_tf.networks.models.diffres.Design` selects these formulas; docs/design/decisions.md
compares both.
"""

import numpy as np

from m3net_tf.networks.layers.diffres.time_pooling import mean_over_frames
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf

READINGS = ("paper", "released")
_LOWEST, _HIGHEST = 1e-4, 1.0 - 1e-4  # of a score that is raised
_NEAR_MINIMUM = 1e-6  # mean mel power above the quietest frame's


def require_reading(reading: str) -> str:
    """Check the name of a reading.

    Raises:
        ConfigError: it is unknown.
    """
    if reading not in READINGS:
        raise ConfigError(f"reading is {reading!r}: choose one of {', '.join(READINGS)}")
    return reading


def fill_scores(scores: tf.Tensor, frames_out: int) -> tf.Tensor:
    """Raise rescaled scores until each clip's sum is t, so that no output row stays empty.

    Scores strictly between 0 and 1 are moved towards 1 by the same share of their distance to it.
    Clips that lack less than one frame stay as they are. Shape (batch, T) in and out.
    """
    inside = (scores > _LOWEST) & (scores < _HIGHEST)
    room = tf.where(inside, 1.0 - scores, 0.0)
    missing = float(frames_out) - tf.reduce_sum(scores, axis=1, keepdims=True)
    total = tf.reduce_sum(room, axis=1, keepdims=True)
    share = tf.minimum(tf.math.divide_no_nan(missing, total), 1.0)
    return scores + tf.where(missing >= 1.0, room * share, 0.0)


def quietest_frames(power: tf.Tensor) -> tf.Tensor:
    """Whether a frame's mean mel power is the quietest frame's of the batch.

    Powers (batch, F, T) to bool (batch, T).
    """
    energy = tf.reduce_mean(power, axis=1)
    return energy < tf.reduce_min(energy) + _NEAR_MINIMUM


def released_guide_loss(scores: tf.Tensor, empty: tf.Tensor, reduction: float) -> tf.Tensor:
    """Mean score of a clip's empty frames where it exceeds half the share of kept frames.

    Rescaled scores and bools ``empty``, both (batch, T), to (batch,); 0 for clips without empty
    frames. ``reduction`` is delta.
    """
    mean = mean_over_frames(scores, empty)
    return tf.where(mean > np.float32(0.5 * (1.0 - reduction)), mean, 0.0)
