# SPDX-License-Identifier: Apache-2.0
"""When the sounds of a detector's events begin and end.

An event comes when its sound has been in the network's window for a while. The sound itself lasts,
as an estimate, as long as the middle of the averaged windows is in it: from the first of the hits
in a row that trigger the event to the last run before the score falls below release, each run for
the time between two runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.runtime.detector import Event, Tape, detect, due_columns, gate_open, smooth
from m3net_tf.runtime.detector_config import FULL_SCALE, DetectorConfig
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
    times_s = [event_time_s(frontend, column) for column in columns.tolist()]
    length_s = event_time_s(frontend, len(tape.levels) - 1)
    half_s = config.run_columns * frontend.hop_s / 2
    of_class: dict[int, list[Event]] = {}
    for event in detect(config, tape):
        of_class.setdefault(event.label, []).append(event)
    found = []
    for label, events in of_class.items():
        settings = config.classes[label]
        averaged = config.window_columns + (settings.window_runs - 1) * config.run_columns
        middle_s = event_time_s(frontend, averaged - 1) / 2
        runs = np.searchsorted(columns, [event.column for event in events])
        for event, (first, last) in zip(events, _runs(config, tape, label, runs), strict=True):
            start_s = times_s[first] - middle_s - half_s if first else 0.0
            end_s = times_s[last] - middle_s + half_s if last + 1 < len(columns) else length_s
            score = event.score / FULL_SCALE
            found.append(SoundEvent(max(start_s, 0.0), end_s, labels[label], score))
    return sorted(found)


def _runs(
    config: DetectorConfig, tape: Tape, label: int, runs: npt.NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """First and last run of a class's sound for each run that triggers an event."""
    settings = config.classes[label]
    ran = gate_open(config, tape.levels)[due_columns(config, len(tape.levels))]
    smoothed = smooth(tape.scores[:, label], ran, settings.window_runs)
    missed = np.flatnonzero(~ran | (smoothed < settings.threshold_units))
    below = np.flatnonzero(smoothed < settings.release_units)
    for run in runs.tolist():
        before, after = np.searchsorted(missed, run), np.searchsorted(below, run)
        first = int(missed[before - 1]) + 1 if before else 0
        last = int(below[after]) if after < len(below) else len(smoothed)
        yield first, last - 1
