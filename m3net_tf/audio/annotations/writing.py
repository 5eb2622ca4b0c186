# SPDX-License-Identifier: Apache-2.0
"""Writes events as tables that :mod:`.reading` reads, and Audacity, Raven and DCASE's tools, too.

A time has six decimals, as in Audacity's labels.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.system.artifacts import csv_table
from m3net_tf.system.errors import ConfigError

EventFormat = Literal["audacity", "raven", "csv"]
_CSV = ("filename", "onset", "offset", "event_label", "score")
_RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"),
    *("Low Freq (Hz)", "High Freq (Hz)", "Begin File", "Annotation", "Score"),
)


def require_fitting(form: EventFormat, recordings: int) -> None:
    """Refuse a format that is for one recording alone.

    Raises:
        ConfigError: there are several.
    """
    if form != "csv" and recordings > 1:
        raise ConfigError(
            f"--events {form} is for one recording, and there are {recordings}: name one of them, "
            "or take --events csv"
        )


def event_table(
    events: Sequence[tuple[str, Sequence[SoundEvent]]], form: EventFormat, rate_hz: int
) -> str:
    """Events of recordings as the text of a table.

    Args:
        events: the name of each recording with its events; see :func:`require_fitting`.
        rate_hz: rate of the detector's sound; Raven's selections extend to half of it.
    """
    if form == "csv":
        return csv_table(_CSV, (row for name, of in events for row in _csv_rows(name, of)))
    if form == "audacity":
        return "".join(
            f"{event.start_s:.6f}\t{event.end_s:.6f}\t{event.label}\n"
            for _, of in events
            for event in of
        )
    lines = ["\t".join(_RAVEN)]
    for name, of in events:
        lines += _raven_lines(name, of, rate_hz)
    return "".join(f"{line}\n" for line in lines)


def _csv_rows(name: str, events: Iterable[SoundEvent]) -> Iterable[tuple[str, ...]]:
    for event in events:
        yield name, f"{event.start_s:.6f}", f"{event.end_s:.6f}", event.label, _score_cell(event)


def _raven_lines(name: str, events: Iterable[SoundEvent], rate_hz: int) -> Iterable[str]:
    for number, event in enumerate(events, start=1):
        yield (
            f"{number}\tSpectrogram 1\t1\t{event.start_s:.6f}\t{event.end_s:.6f}\t0.0\t"
            f"{rate_hz / 2:.1f}\t{name}\t{event.label}\t{_score_cell(event)}"
        )


def _score_cell(event: SoundEvent) -> str:
    return "" if event.score is None else f"{event.score:.4f}"
