# SPDX-License-Identifier: Apache-2.0
"""Sounds that were nearly an event, and why they were none."""

import dataclasses
import enum

from m3net_tf.runtime.detector import Detector, Event, Refusal
from m3net_tf.runtime.detector_config import FULL_SCALE, ClassSettings

_SHARE = 0.5  # of the threshold: from there on a score is nearly an event


class Reason(enum.Enum):
    """Why a sound above half of its threshold was no event."""

    THRESHOLD = "threshold"  #: The score stayed below the threshold.
    SMOOTHING = "smoothing"  #: A single run reached the threshold, the mean over runs did not.
    HITS = "hits"  #: The score was at the threshold for too few runs in a row.
    ACTIVE = "active"  #: The event before was not over.
    SUPPRESSED = "suppressed"  #: Too soon after the event before.
    OUTRANKED = "outranked"  #: Another class had the event.


_OF_REFUSAL = {
    Refusal.THRESHOLD: Reason.THRESHOLD,
    Refusal.HITS: Reason.HITS,
    Refusal.ACTIVE: Reason.ACTIVE,
    Refusal.SUPPRESSED: Reason.SUPPRESSED,
    None: Reason.OUTRANKED,
}


@dataclasses.dataclass(frozen=True, slots=True)
class NearMiss:
    """A sound that was nearly an event.

    Attributes:
        column: the column of the run with the highest smoothed score.
        score: the score, in 65536ths of full scale.
        newest_score: highest score of a single run, in the same unit.
        threshold: the class's threshold then, in the same unit.
    """

    column: int
    label: int
    score: int
    newest_score: int
    threshold: int
    reason: Reason


def explain(miss: NearMiss, settings: ClassSettings, column_s: float) -> str:
    """The reason of a near miss in words.

    Args:
        settings: how its class is detected.
        column_s: seconds from one column to the next.
    """
    score, newest, threshold, release = (
        f"{100 * units / FULL_SCALE:.1f} %"
        for units in (miss.score, miss.newest_score, miss.threshold, settings.release_units)
    )
    apart_s = settings.suppression_columns * column_s
    return {
        Reason.THRESHOLD: f"below the threshold: {score} of {threshold}",
        Reason.SMOOTHING: (
            f"one run reached {newest}, but the mean over {settings.window_runs} only {score} "
            f"of {threshold}"
        ),
        Reason.HITS: f"at the threshold for fewer than {settings.hits} runs in a row",
        Reason.ACTIVE: f"the event before was not over: the score had not fallen below {release}",
        Reason.SUPPRESSED: f"suppressed: less than {apart_s:.1f} s after the event before",
        Reason.OUTRANKED: "another class with a higher score had the event",
    }[miss.reason]


@dataclasses.dataclass(slots=True)
class _Rise:
    """The time for which a score stays above half of its threshold."""

    start: int  # column
    best: NearMiss
    ended: bool = False  # by an event, or by a near miss that is reported already


class NearMisses:
    """Follows a detector and reports near misses.

    Each time that a class's smoothed score rises above half of its threshold and falls again
    without an event there is one near miss, at the run with the highest score. If the score
    stays up for longer than the model's window, the near miss is reported then. What follows an
    event until the score has fallen belongs to the event.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._rises: dict[int, _Rise] = {}

    def after_run(self, event: Event | None) -> list[NearMiss]:
        """Near misses that end with the detector's last run, or with one that the gate skipped."""
        config = self._detector.config
        column = self._detector.columns - 1
        over = []
        for label, settings in enumerate(config.classes):
            if not settings.event:
                continue
            score = self._detector.score(label)
            rise = self._rises.get(label)
            if score < _SHARE * settings.threshold_units:
                if rise and not rise.ended and not (event and event.label == label):
                    over.append(rise.best)
                self._rises.pop(label, None)
                continue
            here = self._at(label, column)
            if rise is None:
                rise = self._rises[label] = _Rise(column, here)
            elif not rise.ended:
                rise.best = _higher(rise.best, here)
            if event and event.label == label:
                rise.ended = True
            elif not rise.ended and column - rise.start >= config.window_columns:
                rise.ended = True
                over.append(rise.best)
        return over

    def _at(self, label: int, column: int) -> NearMiss:
        detector = self._detector
        threshold = detector.config.classes[label].threshold_units
        newest = detector.newest_score(label)
        reason = _OF_REFUSAL[detector.refusal(label)]
        if reason is Reason.THRESHOLD and newest >= threshold:
            reason = Reason.SMOOTHING
        return NearMiss(column, label, detector.score(label), newest, threshold, reason)


def _higher(best: NearMiss, here: NearMiss) -> NearMiss:
    """The one with the higher smoothed score, with the highest score of a single run of both."""
    chosen = here if here.score > best.score else best
    newest = max(best.newest_score, here.newest_score)
    reason = chosen.reason
    if reason is Reason.THRESHOLD and newest >= chosen.threshold:
        reason = Reason.SMOOTHING
    return dataclasses.replace(chosen, newest_score=newest, reason=reason)
