# SPDX-License-Identifier: Apache-2.0
"""The one-cycle schedule of the learning rate.

Smith, "A disciplined approach to neural network hyper-parameters: part 1", 2018, with the form and
the defaults of PyTorch's ``OneCycleLR`` (two phases, cosine), which the bilateral network's paper
uses (section 4.1.2). Momentum is constant.
"""

from __future__ import annotations

import math

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf


def one_cycle(
    step: tf.Tensor | float,
    steps: int,
    peak: float,
    *,
    warm_up: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> tf.Tensor:
    """Learning rate of a step: half a cosine up to the peak, then half a cosine down.

    Args:
        step: number of completed steps, a number or a scalar tensor; steps after the last one get
            its rate.
        steps: steps of the whole training.
        peak: highest rate.
        warm_up: share of the steps in which the rate rises.
        start_divisor: the first rate is the peak divided by this.
        end_divisor: the last rate is the first divided by this.

    Returns:
        The rate, a float32 scalar.

    Raises:
        ConfigError: an argument is out of range.
    """
    for name, value in (
        ("steps", steps),
        ("peak", peak),
        ("start_divisor", start_divisor),
        ("end_divisor", end_divisor),
    ):
        if not 0 < value < math.inf:
            raise ConfigError(f"one-cycle {name} is {value}: give more than 0")
    if not 0 <= warm_up < 1:
        raise ConfigError(f"one-cycle warm_up is {warm_up}: give at least 0, below 1")
    first = peak / start_divisor
    final = first / end_divisor
    top = max(warm_up * steps - 1.0, 0.0)  # step of the peak, possibly between two whole steps
    last = max(steps - 1.0, top)
    step = tf.minimum(tf.cast(step, tf.float32), last)
    up = _wave(first, peak, step / top) if top else peak
    down = _wave(peak, final, (step - top) / (last - top)) if last > top else final
    return tf.where(step < top, up, down)


def _wave(start: float, end: float, share: tf.Tensor) -> tf.Tensor:
    return end + 0.5 * (start - end) * (1.0 + tf.cos(math.pi * share))
