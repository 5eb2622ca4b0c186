# SPDX-License-Identifier: Apache-2.0
"""When the sounds of a detector's events begin and end.

An event comes when its sound has been in the network's window for a while. The sound itself lasts,
as an estimate, while the smoothed score is above the threshold, by the time of the middle of the
windows that the score averages. Between two runs the score is taken as a straight line. A network
that needs only a little of a sound in its window makes sounds longer; ``inset_s`` of the detector,
which ``m3net evaluate --events --fit-edges`` finds, takes that off again.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.runtime.detector import Event, Tape, detect, due_columns, gate_open, smooth
from m3net_tf.runtime.detector_config import FULL_SCALE, ClassSettings, DetectorConfig
from m3net_tf.runtime.recognizer import event_time_s


def sound_events(
    frontend: FrontendConfig, config: DetectorConfig, tape: Tape, labels: Sequence[str]
) -> list[SoundEvent]:
    """The events of :func:`.detector.detect` with the start and end of their sounds.

    A sound that is there in the first run begins with the recording, and one in the last run ends
    with it, because no window has its middle nearer to them.

    Args:
        tape: of a whole recording.
        labels: class names in the order of the network's outputs.

    Returns:
        In order of their start.
    """
    columns = due_columns(config, len(tape.levels))
    ran = gate_open(config, tape.levels)[columns]
    length_s = event_time_s(frontend, len(tape.levels) - 1)
    of_class: dict[int, list[Event]] = {}
    for event in detect(config, tape):
        of_class.setdefault(event.label, []).append(event)
    found = []
    for label, events in of_class.items():
        settings = config.classes[label]
        smoothed = smooth(tape.scores[:, label], ran, settings.window_runs)
        averaged = config.window_columns + (settings.window_runs - 1) * config.run_columns
        first_s = event_time_s(frontend, int(columns[0])) - event_time_s(frontend, averaged - 1) / 2
        runs = np.searchsorted(columns, [event.column for event in events])
        for event, span in zip(events, _spans(settings, smoothed, runs), strict=True):
            start_s, end_s = (first_s + run * config.run_columns * frontend.hop_s for run in span)
            inset_s = min(config.inset_s, (end_s - start_s) / 2)
            start_s = max(start_s + inset_s, 0.0) if span[0] else 0.0
            end_s = max(end_s - inset_s, start_s) if span[1] < len(columns) - 1 else length_s
            found.append(SoundEvent(start_s, end_s, labels[label], event.score / FULL_SCALE))
    return sorted(found)


def _spans(
    settings: ClassSettings, smoothed: npt.NDArray[np.int64], runs: npt.NDArray[np.intp]
) -> Iterator[tuple[float, float]]:
    """Where the score of a class crosses its threshold around each run with an event, in runs."""
    threshold = settings.threshold_units
    hit = smoothed >= threshold
    misses, hits = np.flatnonzero(~hit), np.flatnonzero(hit)
    below = np.flatnonzero(smoothed < settings.release_units)

    def crossing(outside: int, inside: int) -> float:
        """Between a run below the threshold and its neighbour; the latter at an end of the tape."""
        if not 0 <= outside < len(smoothed):
            return float(inside)
        rise = (threshold - smoothed[outside]) / (smoothed[inside] - smoothed[outside])
        return float(outside + (inside - outside) * rise)

    for run in runs.tolist():
        before, after = np.searchsorted(misses, run), np.searchsorted(below, run)
        first = int(misses[before - 1]) + 1 if before else 0
        released = int(below[after]) if after < len(below) else len(smoothed)
        last = int(hits[np.searchsorted(hits, released) - 1])
        yield crossing(first - 1, first), crossing(last + 1, last)
