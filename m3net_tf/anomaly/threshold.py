# SPDX-License-Identifier: Apache-2.0
"""The threshold of unusual sounds, for a number of false alarms a day.

It is the lowest at which held-out normal sound has no more alarms than that many a day. Little
sound allows none: then the threshold lies above all of its scores, and the interval, which is exact
for a Poisson process (Garwood, 1936), says how many a day are possible. A day without an alarm
shows at most 3.7 a day (95 %).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.evaluation.scoring import poisson_interval
from m3net_tf.runtime.detector import event_runs, smooth
from m3net_tf.runtime.detector_config import FULL_SCALE, ClassSettings, DetectorConfig

_HYSTERESIS = 1 / 64  # from the threshold to the score below which an event is over
Int8 = npt.NDArray[np.int8]


class NormalThreshold(TypedDict):
    """A threshold, and its false alarms in held-out normal sound.

    Attributes:
        threshold: smoothed score, 0 to 1, from which a sound is unusual.
        hours: hours of held-out normal sound.
        false_alarms: events in it.
        per_day: the same, a day.
        per_day_95: 95 % interval of the mean number a day.
        asked_per_day: number a day that was asked for.
    """

    threshold: float
    hours: float
    false_alarms: int
    per_day: float
    per_day_95: tuple[float, float]
    asked_per_day: float


def settings_at(settings: ClassSettings, threshold: float) -> ClassSettings:
    """The class with a threshold, and a release shortly below it."""
    release = max(threshold - _HYSTERESIS, 1 / FULL_SCALE)
    return dataclasses.replace(settings, threshold=threshold, release=release)


def find_threshold(
    config: DetectorConfig, tapes: Sequence[Int8], hours: float, per_day: float
) -> NormalThreshold:
    """The threshold for a number of false alarms a day.

    Args:
        config: settings of live detection; the first class is the one of unusual sounds.
        tapes: scores of held-out recordings in live detection, each of shape (runs,).
        hours: length of these recordings; short ones are repeated in their tapes.
    """
    settings = config.classes[0]
    smoothed = [smooth(tape, np.ones(len(tape), bool), settings.window_runs) for tape in tapes]
    allowed = math.floor(per_day * hours / 24)
    candidates = np.unique(np.concatenate(smoothed))[::-1] + 1
    chosen, alarms = FULL_SCALE, 0
    for units in candidates.tolist():
        count = _alarms(settings_at(settings, units / FULL_SCALE), config.run_columns, smoothed)
        if count > allowed:
            break
        chosen = units
        alarms = count
    days = hours / 24
    low, high = poisson_interval(alarms)
    return {
        "threshold": chosen / FULL_SCALE,
        "hours": hours,
        "false_alarms": alarms,
        "per_day": alarms / days,
        "per_day_95": (low / days, high / days),
        "asked_per_day": per_day,
    }


def _alarms(
    settings: ClassSettings, run_columns: int, smoothed: Sequence[npt.NDArray[np.int64]]
) -> int:
    return sum(
        len(event_runs(settings, run_columns, scores, np.ones(len(scores), bool)))
        for scores in smoothed
    )
