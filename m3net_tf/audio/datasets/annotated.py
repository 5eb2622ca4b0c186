# SPDX-License-Identifier: Apache-2.0
"""Long recordings with annotations: the marked segments, and what is between them, become clips.

A table without a column for the recording belongs to the recording beside it whose name without
its suffix, and a dot, begin the table's name: ``field1.txt`` and ``field1.Table.1.selections.txt``
belong to ``field1.wav``.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.annotations.reading import (
    SUFFIXES,
    Annotation,
    is_annotation_table,
    read_annotations,
)
from m3net_tf.audio.datasets.audio import check_file, header_of
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.files import SUFFIXES as SOUNDS
from m3net_tf.audio.datasets.files import files_below
from m3net_tf.audio.datasets.noise import NOISE_FOLDER
from m3net_tf.audio.datasets.protocols import rank
from m3net_tf.audio.frontend.windows import window_starts
from m3net_tf.system.errors import DataError
from m3net_tf.system.words import counted, in_words

BACKGROUND = "_background_"
"""Class of what is between the annotations; it triggers no events."""
MARGIN_S = 0.2
"""Distance of the background from annotations, which are seldom more exact."""
_LARGEST = 50_000_000  # bytes of a table
_LEAST_SEGMENTS = 8  # of a class
_ROUNDING_S = 0.05  # by which a table may exceed its recording


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording with its annotations.

    Attributes:
        name: its path in the folder.
        frames: length in samples of the file's rate.
        events: the annotated segments in order of time; none ends after the recording.
    """

    path: Path
    name: str
    frames: int
    rate_hz: int
    events: tuple[SoundEvent, ...]

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate_hz


@dataclasses.dataclass(frozen=True)
class AnnotatedFolder:
    """The annotated recordings below a folder.

    Attributes:
        tables: files that annotate them.
        without: recordings without annotations, sorted.
        remarks: sentences on tables that are not read.
    """

    recordings: tuple[Recording, ...]
    tables: tuple[Path, ...]
    without: tuple[Path, ...]
    remarks: tuple[str, ...]

    @property
    def rest_s(self) -> float:
        """Seconds of the annotated recordings that are away from every annotation."""
        return sum(part.frames / of.rate_hz for of in self.recordings for part in _rests(of))


class _Span(NamedTuple):
    """A part of a recording in samples of its file, the last one not included."""

    first: int
    last: int

    @property
    def frames(self) -> int:
        return self.last - self.first


def read_annotated(root: Path) -> AnnotatedFolder:
    """The recordings below a folder that tables annotate, sorted by name; maybe none.

    Background recordings in ``_background_noise_`` are not among them.

    Raises:
        DataError: a table is bad, exceeds its recording, names a recording that is missing, or
            could belong to several; or an annotated recording cannot be read.
    """
    inside = root / NOISE_FOLDER
    sounds = [path for path in files_below(root, SOUNDS) if not path.is_relative_to(inside)]
    places = _Places(root, sounds)
    rows: dict[Path, list[tuple[Path, Annotation]]] = {}
    tables, remarks = [], []
    for table in files_below(root, SUFFIXES):
        if table.stat().st_size > _LARGEST or not is_annotation_table(table):
            if not table.stat().st_size and places.beside(table):
                remarks.append(f"{_name(table, root)} is not read: it is empty")
            continue
        annotations = read_annotations(table)
        named = any(row.recording for row in annotations)
        own = None if named else places.beside(table)
        if not annotations:
            remarks.append(f"{_name(table, root)} is not read: it has no annotation")
        elif not named and own is None:
            remarks.append(
                f"{_name(table, root)} is not read: no recording beside it has its name; name it "
                "as its recording, with .txt or .csv instead of .wav"
            )
        else:
            tables.append(table)
            for row in annotations:
                rows.setdefault(own or places.of(table, row), []).append((table, row))
    recordings = tuple(_recording(path, root, of) for path, of in sorted(rows.items()))
    without = tuple(path for path in sounds if path not in rows)
    return AnnotatedFolder(recordings, tuple(tables), without, tuple(remarks))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


class _Places:
    """Finds the recordings that tables are beside, or name."""

    def __init__(self, root: Path, sounds: Sequence[Path]) -> None:
        self._root, self._sounds = root, frozenset(sounds)
        self._by_stem: dict[Path, list[Path]] = {}
        self._by_name: dict[str, list[Path]] = {}
        for path in sounds:
            self._by_stem.setdefault(path.with_suffix(""), []).append(path)
            for name in {path.name, path.stem}:
                self._by_name.setdefault(name, []).append(path)

    def beside(self, table: Path) -> Path | None:
        """The recording to whose name a table's name belongs; of several the longest name's."""
        stem = table
        while stem.suffix:
            stem = stem.with_suffix("")
            named = self._by_stem.get(stem, [])
            if len(named) > 1:
                raise DataError(
                    f"{table}: may belong to {in_words(path.name for path in named)}; keep one of "
                    "them, or name the recording in a column 'file'"
                )
            if named:
                return named[0]
        return None

    def of(self, table: Path, row: Annotation) -> Path:
        """The recording of a row, which gives a path or the end of one, maybe without suffix."""
        cell = row.recording.replace("\\", "/")
        for path in (table.parent / cell, self._root / cell):
            if path in self._sounds:
                return path
        found = self._by_name.get(cell.rpartition("/")[2], [])
        ends = [path for path in found if path.as_posix().endswith(f"/{cell}")] or found
        if len(ends) == 1:
            return ends[0]
        names = [_name(path, self._root) for path in ends[:3]]
        raise DataError(
            f"{table}: line {row.line} is for the recording {row.recording!r}, which "
            f"{f'fits {in_words(names)}' if names else 'is missing'}; correct the name, or put the "
            f"recording into {self._root}"
        )


def _recording(path: Path, root: Path, rows: Sequence[tuple[Path, Annotation]]) -> Recording:
    check_file(path)
    try:
        header = header_of(path)
    except (soundfile.LibsndfileError, RuntimeError):
        raise DataError(
            f"{path}: is not a readable sound file; replace it, or delete its annotations"
        ) from None
    length_s = header.frames / header.samplerate
    events = set()
    for table, row in rows:
        event = row.event
        if event.end_s > length_s + _ROUNDING_S or event.start_s > length_s:
            raise DataError(
                f"{table}: line {row.line} ends at {event.end_s:g} s, but {path.name} lasts "
                f"{length_s:g} s; correct the time"
            )
        events.add(dataclasses.replace(event, end_s=min(event.end_s, length_s)))
    name = _name(path, root)
    return Recording(path, name, header.frames, header.samplerate, tuple(sorted(events)))


def segments(
    recordings: Sequence[Recording], clip_s: float = 0.0, windows: bool = False
) -> list[Clip]:
    """A clip for each annotated segment; its group is its recording.

    A segment shorter than a clip gets what is around it, because that is what live detection gets.
    It is in the middle of a clip; with ``windows`` the clip is longer, so that its windows have the
    whole segment at their beginning, middle and end. Segments that overlap are clips of their own.

    Args:
        clip_s: length of a clip.
        windows: longer clips become half-overlapping windows.
    """
    clips = []
    for recording in recordings:
        window = round(clip_s * recording.rate_hz)
        for index, event in enumerate(recording.events):
            span = _around(event, recording, window)
            if windows and span.frames == window:
                span = _with_windows(recording, index, window) or span
            clips.append(_clip(recording, event.start_s, event.end_s, event.label, span))
    return clips


def annotated_clips(
    recordings: Sequence[Recording], clip_s: float, windows: bool = False
) -> list[Clip]:
    """:func:`segments`, and clips of the class for the rest.

    Those are :data:`MARGIN_S` away from every segment, and at most as many as the largest class
    has, by its windows if there are some.

    Args:
        clip_s: length of a clip.
        windows: as of :func:`segments`.
    """
    clips = segments(recordings, clip_s, windows)
    sizes = Counter[str]()
    for clip in clips:
        longer = windows and clip.duration_s and clip.duration_s > clip_s
        # In steps of a millisecond: recordings may have several rates.
        spans_ms = round(1000 * (clip.duration_s or 0.0)), round(1000 * clip_s)
        sizes[clip.label] += len(window_starts(*spans_ms, 1)) if longer else 1
    rest = [clip for recording in recordings for clip in _rest(recording, clip_s)]
    kept = sorted(rest, key=lambda clip: rank(clip.clip_id))[: max(sizes.values(), default=0)]
    return [*clips, *sorted(kept, key=lambda clip: (clip.group, clip.start_s))]


def _clip(recording: Recording, start_s: float, end_s: float, label: str, span: _Span) -> Clip:
    """A clip of whole samples, so that reading never exceeds the recording."""
    rate_hz = recording.rate_hz
    return Clip(
        clip_id=f"{recording.name}@{start_s:.3f}-{end_s:.3f}s {label}",
        label=label,
        split="",
        group=recording.name,
        path=recording.path,
        start_s=span.first / rate_hz,
        duration_s=span.frames / rate_hz,
    )


def _around(event: SoundEvent, recording: Recording, window: int) -> _Span:
    """A segment, or if it is shorter, the window around its middle."""
    first = int(event.start_s * recording.rate_hz)
    last = min(max(round(event.end_s * recording.rate_hz), first + 1), recording.frames)
    if last - first >= window:
        return _Span(first, last)
    start = max(0, min((first + last - window) // 2, recording.frames - window))
    return _Span(start, min(start + window, recording.frames))


def _with_windows(recording: Recording, index: int, window: int) -> _Span | None:
    """A short segment with so much around it that each window has the whole segment.

    It does not reach into the segment before or after of another label. None where less than a
    window is left.
    """
    event, rate_hz = recording.events[index], recording.rate_hz
    first, last = int(event.start_s * rate_hz), round(event.end_s * rate_hz)
    lower, upper = max(0, last - window), min(first + window, recording.frames)
    for other in recording.events[max(0, index - 1) : index + 2]:
        if other.label != event.label:
            if (end := round(other.end_s * rate_hz)) <= first:
                lower = max(lower, end)
            elif (start := int(other.start_s * rate_hz)) >= last:
                upper = min(upper, start)
    return _Span(lower, upper) if upper - lower >= window else None


def _rests(recording: Recording) -> Iterator[_Span]:
    """The parts of a recording that are away from every segment."""
    margin = round(MARGIN_S * recording.rate_hz)
    at = 0
    for event in recording.events:
        if (until := int(event.start_s * recording.rate_hz) - margin) > at:
            yield _Span(at, until)
        at = max(at, round(event.end_s * recording.rate_hz) + margin)
    if recording.frames > at:
        yield _Span(at, recording.frames)


def _rest(recording: Recording, clip_s: float) -> Iterator[Clip]:
    """Clips of the rest, one after the other."""
    window, rate_hz = round(clip_s * recording.rate_hz), recording.rate_hz
    for part in _rests(recording):
        for first in range(part.first, part.last - window + 1, window):
            span = _Span(first, first + window)
            yield _clip(recording, first / rate_hz, span.last / rate_hz, BACKGROUND, span)


def rare_labels(recordings: Sequence[Recording]) -> dict[str, str]:
    """Labels that are too rare to train, validate and test whole recordings, with their numbers."""
    needed = min(3, len(recordings))
    rare = {}
    for label in sorted({event.label for of in recordings for event in of.events}):
        counts = [sum(event.label == label for event in of.events) for of in recordings]
        with_it = sum(count > 0 for count in counts)
        if with_it < needed or sum(counts) < _LEAST_SEGMENTS:
            rare[label] = f"{counted(sum(counts), 'segment')} in {counted(with_it, 'recording')}"
    return rare


def annotation_lines(found: AnnotatedFolder) -> list[str]:
    """Sentences on the recordings, their annotations and what is between them."""
    recordings = found.recordings
    events = sum(len(recording.events) for recording in recordings)
    minutes = sum(recording.length_s for recording in recordings) / 60
    lines = [
        f"annotations: {counted(events, 'segment')} in {counted(len(recordings), 'recording')} of "
        f"{minutes:.1f} minutes, by {counted(len(found.tables), 'table')} such as "
        f"{found.tables[0].name}",
        f"rest: {found.rest_s / 60:.1f} minutes at least {MARGIN_S:g} s away from them become the "
        f"class {BACKGROUND}, at most as many clips as the largest class has",
    ]
    if overlaps := sum(map(_overlaps, recordings)):
        lines.append(
            f"overlap: {counted(overlaps, 'segment')} of another label than the one before begin "
            "before its end: each is a clip with its own label alone"
        )
    if found.without:
        lines.append(
            f"not annotated: {counted(len(found.without), 'recording')}, such as "
            f"{found.without[0].name}: left out"
        )
    return [*lines, *found.remarks]


def _overlaps(recording: Recording) -> int:
    """Segments that begin before another one of another label has ended."""
    ends_s: dict[str, float] = {}
    overlaps = 0
    for event in recording.events:
        others = (end_s for label, end_s in ends_s.items() if label != event.label)
        overlaps += max(others, default=0.0) > event.start_s
        ends_s[event.label] = max(event.end_s, ends_s.get(event.label, 0.0))
    return overlaps
