# SPDX-License-Identifier: Apache-2.0
"""Compares events with the truth: false accepts per hour, misses, latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import scipy.stats

from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.training.scoring.metrics import wilson_interval


class Latency(TypedDict):
    """Latency in seconds; all None if nothing was detected."""

    median: float | None
    percentile_95: float | None
    largest: float | None


class TallyFigures(TypedDict):
    """A :class:`Tally` in JSON: counts, rates and latency.

    Attributes:
        miss_rate_95: its 95 % interval, low and high.
        false_accepts: number of events without a true one.
        false_accepts_per_hour_95: its 95 % interval, low and high.
        latency_s: time from a sound's end to its event.
    """

    true_events: int
    missed: int
    miss_rate: float
    miss_rate_95: list[float]
    false_accepts: int
    false_accepts_per_hour: float
    false_accepts_per_hour_95: list[float]
    latency_s: Latency


@dataclasses.dataclass(frozen=True)
class Tally:
    """Result of detection for some true events.

    Attributes:
        false_accepts: number of events without a true one, including repeated detections.
        latencies_s: time from the end of each detected sound to its event; negative if it was
            detected before its end.
    """

    true_events: int
    detected: int
    false_accepts: int
    latencies_s: tuple[float, ...]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.true_events + other.true_events,
            self.detected + other.detected,
            self.false_accepts + other.false_accepts,
            self.latencies_s + other.latencies_s,
        )

    @property
    def missed(self) -> int:
        """Number of true events that were not detected."""
        return self.true_events - self.detected

    @property
    def miss_rate(self) -> float:
        """Share of the true events that were not detected."""
        return self.missed / max(1, self.true_events)

    def to_dict(self, hours: float) -> TallyFigures:
        """Plain values for recordings of this length."""
        latency: Latency = {"median": None, "percentile_95": None, "largest": None}
        if self.detected:
            median, percentile_95, largest = np.percentile(self.latencies_s, [50, 95, 100]).tolist()
            latency = {"median": median, "percentile_95": percentile_95, "largest": largest}
        return {
            "true_events": self.true_events,
            "missed": self.missed,
            "miss_rate": self.miss_rate,
            "miss_rate_95": list(wilson_interval(self.missed, self.true_events)),
            "false_accepts": self.false_accepts,
            "false_accepts_per_hour": self.false_accepts / hours,
            "false_accepts_per_hour_95": [n / hours for n in poisson_interval(self.false_accepts)],
            "latency_s": latency,
        }


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of a Poisson mean for an observed ``count`` (Garwood, 1936)."""
    low = float(scipy.stats.chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low, float(scipy.stats.chi2.ppf(0.975, 2 * count + 2)) / 2


@dataclasses.dataclass(frozen=True)
class ClassTruth:
    """The true events of one class in order of time, shape (events,)."""

    starts_s: npt.NDArray[np.float64]
    ends_s: npt.NDArray[np.float64]

    @classmethod
    def of(cls, truth: Sequence[TrueEvent], label: int) -> ClassTruth:
        """Select the events of one class."""
        spans_s = sorted((event.start_s, event.end_s) for event in truth if event.label == label)
        starts_s, ends_s = np.array(spans_s, np.float64).reshape(-1, 2).T
        return cls(starts_s, ends_s)

    def tally(self, times_s: Sequence[float], tolerance_s: float) -> Tally:
        """Compare with the times of one class's events, in order.

        An event matches the first true event of its class that has begun, is not yet detected and
        ended at most ``tolerance_s`` before.
        """
        latencies = self.latencies_s(times_s, tolerance_s)
        found = latencies[~np.isnan(latencies)].tolist()
        return Tally(len(self.starts_s), len(found), len(times_s) - len(found), tuple(found))

    def latencies_s(self, times_s: Sequence[float], tolerance_s: float) -> npt.NDArray[np.float64]:
        """Time from the end of each true event to its detection; NaN if it was missed.

        Args:
            times_s: as for :meth:`tally`, and so is the tolerance.
        """
        last_s = self.ends_s + tolerance_s
        latencies = np.full(len(last_s), np.nan)
        at = 0  # first true event that may still be detected
        for time_s in times_s:
            while at < len(last_s) and last_s[at] < time_s:
                at += 1
            if at < len(last_s) and self.starts_s[at] <= time_s:
                latencies[at] = time_s - self.ends_s[at]
                at += 1
        return latencies
