# SPDX-License-Identifier: Apache-2.0
"""Reads tables of annotations: Audacity's labels, Raven's selections, and CSV.

- **Audacity** (File > Export > Export Labels): ``start TAB end TAB label`` without a header. Lines
  that begin with a backslash give the frequencies of the label above, and are skipped.
- **Raven**: tabs, and a header with ``Begin Time (s)`` and ``End Time (s)``. ``File Offset (s)``
  counts, if it is there, because ``Begin Time`` then runs on over several files.
- **CSV**: commas, semicolons or tabs, and a header with one of :data:`COLUMNS` for each meaning.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_lines, read_text

SUFFIXES = (".txt", ".csv", ".tsv")
COLUMNS = {
    "start": ("start", "onset", "start time", "begin", "begin time", "event onset", "tmin"),
    "end": ("end", "offset", "end time", "stop", "stop time", "event offset", "tmax"),
    "label": (
        *("label", "event label", "class", "class name", "species", "annotation", "category"),
        *("event", "sound event", "tag", "name", "common name", "species code", "scientific name"),
    ),
    "recording": (
        *("file", "filename", "file name", "begin file", "recording", "audio file", "sound file"),
        *("audio filename", "audio", "wav", "path", "file path", "filepath", "begin path"),
    ),
    "offset": ("file offset",),
}
"""Columns by what they mean; the first that a table has counts. Capitals, ``_``, ``-`` and the unit
of seconds do not matter."""
_REMEDY = "save it as text in UTF-8"
_FREQUENCIES = "\\"
_UNIT = re.compile(r"\s*(\((s|sec|seconds)\)|\[(s|sec|seconds)\]|(?<=\s)(s|sec|seconds))$")
_DECIMAL_COMMA = re.compile(r"(-?\d+),(\d+)")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A line of a table.

    Attributes:
        recording: the recording that the line names; '' in a table without such a column.
    """

    line: int
    recording: str
    event: SoundEvent


def is_annotation_table(path: Path) -> bool:
    """Whether the first line of a file is a table's of annotations; not if it is not text."""
    try:
        text = read_text(path, _REMEDY)
    except DataError:
        return False
    first = _first_line(text)
    return _is_label_line(first) or _is_header(re.split("[,;\t]", first))


def read_annotations(path: Path) -> list[Annotation]:
    """The annotations of a table, each once; empty if it has a header or nothing at all.

    Raises:
        DataError: the file is not such a table, or a line has no label, no number, or an end before
            its start; the message names the line.
    """
    text = read_text(path, _REMEDY)
    first = _first_line(text)
    if not first:
        return []
    rows = _label_rows(path, text) if _is_label_line(first) else _table_rows(path)
    # Raven lists a selection once for each of its views.
    return list({(row.recording, row.event): row for row in rows}.values())


def _first_line(text: str) -> str:
    """The first line with something in it, after Excel's ``sep=;``; '' without one."""
    lines = (line for line in text.splitlines() if line.strip())
    return next((line for line in lines if not line.startswith("sep=")), "")


def _is_label_line(line: str) -> bool:
    """Whether a line is Audacity's: three cells, and a number in one of the first two."""
    cells = line.split("\t")
    return len(cells) > 1 and any(_number(cell) is not None for cell in cells[:2])


def _label_rows(path: Path, text: str) -> Iterable[Annotation]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith(_FREQUENCIES):
            continue
        cells = line.split("\t")
        if len(cells) < 3:
            raise DataError(
                f"{path}: line {number} has {len(cells)} cells: give start, end and label with "
                "tabs between them"
            )
        yield Annotation(number, "", _event(path, number, *cells[:3]))


def _plain(name: str) -> str:
    """A column's name in lower case, without its unit: ``Begin Time (s)`` is ``begin time``."""
    return _UNIT.sub("", re.sub(r"[\s_-]+", " ", name.strip().casefold()))


def _columns(header: Sequence[str]) -> dict[str, str]:
    """The column of a table for each key of :data:`COLUMNS` that it has."""
    found = {_plain(name): name for name in reversed(header)}
    return {
        meaning: found[next(name for name in names if name in found)]
        for meaning, names in COLUMNS.items()
        if any(name in found for name in names)
    }


def _is_header(header: Sequence[str]) -> bool:
    return {"start", "end"} <= _columns([cell.strip('"') for cell in header]).keys()


def names_recordings(header: Sequence[str]) -> bool:
    """Whether a header is a table's of annotations that says which recording each is in."""
    return {"start", "end", "recording"} <= _columns(header).keys()


def _table_rows(path: Path) -> Iterable[Annotation]:
    header, lines = read_lines(path, _REMEDY)
    names = _columns(header)
    for meaning in ("start", "end", "label"):
        if meaning not in names:
            raise DataError(
                f"{path}: has no column for the {meaning} but {', '.join(map(repr, header))}; "
                f"name it {meaning!r}"
            )
    for number, row in lines:
        cells = {meaning: row[name].strip() for meaning, name in names.items()}
        event = _event(path, number, cells["start"], cells["end"], cells["label"])
        yield Annotation(number, cells.get("recording", ""), _in_file(path, number, event, cells))


def _in_file(path: Path, line: int, event: SoundEvent, cells: Mapping[str, str]) -> SoundEvent:
    """The event at its file's offset, if the table has this column."""
    if not cells.get("offset"):
        return event
    start_s = _time_s(path, line, cells["offset"])
    return dataclasses.replace(event, start_s=start_s, end_s=start_s + event.end_s - event.start_s)


def _event(path: Path, line: int, start: str, end: str, label: str) -> SoundEvent:
    start_s, end_s = _time_s(path, line, start), _time_s(path, line, end)
    if end_s < start_s:
        raise DataError(
            f"{path}: line {line} ends at {end_s:g} s, before its start at {start_s:g} s; correct "
            "the times"
        )
    if not label.strip():
        raise DataError(f"{path}: line {line} has no label; give it one, or delete the line")
    return SoundEvent(start_s, end_s, label.strip())


def _time_s(path: Path, line: int, cell: str) -> float:
    time_s = _number(cell)
    if time_s is None:
        raise DataError(
            f"{path}: line {line} has {cell.strip()!r} where a time belongs; give seconds from the "
            "recording's start"
        )
    return time_s


def _number(cell: str) -> float | None:
    """A time in seconds; None for anything else. Some countries' programs write a comma."""
    text = cell.strip()
    if match := _DECIMAL_COMMA.fullmatch(text):
        text = f"{match[1]}.{match[2]}"
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
