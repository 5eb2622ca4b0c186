# SPDX-License-Identifier: Apache-2.0
"""Clips captured from a board or a microphone: a ``folder`` data set that grows.

Layout: ``<label>/<time>_<hash>.wav``, which the data set ``folder`` reads as it is. A file's folder
is its label, also after it was moved. ``provenance.csv`` has one row per captured clip, and its
columns ``file`` and ``label`` follow the file.
"""

import contextlib
import csv
import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, to_pcm16, wav_bytes
from m3net_tf.audio.datasets.clips import is_label
from m3net_tf.audio.datasets.files import SUFFIXES, files_below
from m3net_tf.system.artifacts import csv_table, sha256_of, write_bytes, write_text
from m3net_tf.system.errors import ConfigError, DataError, require_known_keys
from m3net_tf.system.locks import LOCK_NAME, locked
from m3net_tf.system.progress import silent

TABLE = "provenance.csv"
PAUSE_S = 60.0
REASONS = ("near_miss", "false_alarm", "missed")
GIVEN = (
    *("time_utc", "source", "recording", "model_sha256"),
    *("detected", "score", "threshold", "reason"),
)
"""Keys of a clip's provenance; each may be absent:

time_utc: time of the clip's end, ISO 8601; default: now.
source: the board's port, ``browser`` or the name of a sound file.
recording: name of the continuous recording that the clip is from; training holds out whole ones.
model_sha256: hash of the network that listened.
detected: the class whose score follows.
score, threshold: the detector's score and threshold, from 0 to 1.
reason: one of ``REASONS``.
"""
COLUMNS = ("file", "label", *GIVEN, "sample_rate_hz")


@dataclasses.dataclass(frozen=True)
class CapturedClip:
    """One captured clip.

    Attributes:
        provenance: the values of ``COLUMNS`` after ``label``; empty for a file that was copied
            into the folder.
    """

    path: Path
    label: str
    provenance: Mapping[str, str]


class CapturedClips:
    """A folder of captured clips; iterating gives each :class:`CapturedClip`, sorted by path.

    Several threads and processes may add clips to one folder. Files are written atomically, and a
    row is written before its sound, so a killed process loses at most the clip that it was adding.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        samples: npt.NDArray[np.float32],
        sample_rate_hz: int,
        label: str,
        provenance: Mapping[str, str | float],
    ) -> Path:
        """Write a clip as a 16-bit WAV file.

        Args:
            samples: mono sound from -1 to 1, shape (samples,); louder sound is clipped.
            provenance: values by the keys of ``GIVEN``.

        Raises:
            ConfigError: the label, the rate, or a key or value of the provenance is not valid.
            DataError: there are no samples or not finite ones, or the table is damaged.
        """
        check_label(label)
        row = _checked_provenance(provenance)
        if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"sample rate {sample_rate_hz} Hz: give {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
            )
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise DataError(
                f"{self.folder}: a sound of shape {samples.shape} with NaN, infinite or no samples "
                "cannot be added: give finite mono samples"
            )
        sound = wav_bytes(to_pcm16(samples), sample_rate_hz)
        # With milliseconds, so that names sort by time.
        stamp = row["time_utc"].partition("+")[0].replace(".", "_")
        stem = f"{stamp.replace('-', '').replace(':', '')}_{sha256_of(sound)[:8]}"
        with self._locked():
            files = self._files()
            names = (other.name for other, _ in files)
            path = _unused(self.folder / label / f"{stem}.wav", names)
            rows = self._rows()
            rows[path.name] = {**row, "sample_rate_hz": str(sample_rate_hz)}
            self._write_rows(rows, (*files, (path, label)))
            write_bytes(path, sound)
        return path

    def remove(self, path: Path) -> None:
        """Delete a clip and its row.

        Raises:
            DataError: the file is not a clip of this folder, or the table is damaged.
        """
        with self._locked():
            if path.resolve() not in [clip.resolve() for clip, _ in self._files()]:
                raise DataError(
                    f"{path}: is not a clip of {self.folder}; name one that it contains"
                )
            path.unlink()
            self._write_rows(self._rows(), self._files())

    def __iter__(self) -> Iterator[CapturedClip]:
        rows = self._rows()
        for path, label in self._files():
            yield CapturedClip(path, label, rows.get(path.name, {}))

    def __len__(self) -> int:
        return len(self._files())

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return locked(self.folder / LOCK_NAME, str(self.folder), silent)

    def _files(self) -> list[tuple[Path, str]]:
        """Sound files with their labels, sorted by path."""
        files: list[tuple[Path, str]] = []
        for path in files_below(self.folder, SUFFIXES):
            *folders, _ = path.relative_to(self.folder).parts
            if folders:
                files.append((path, folders[0]))
        return files

    def _rows(self) -> dict[str, dict[str, str]]:
        """The table's values after ``label``, by the file's name, which is unique."""
        path = self.folder / TABLE
        if not path.is_file():
            return {}
        remedy = "restore it, or delete it: the clips remain"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                table = csv.DictReader(file, restval="")
                missing = set(COLUMNS) - set(table.fieldnames or ())
                if missing:
                    raise DataError(f"{path}: has no column {min(missing)!r}; {remedy}")
                return {
                    Path(row["file"]).name: {key: row[key] for key in COLUMNS[2:]} for row in table
                }
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is not a CSV table in UTF-8; {remedy}") from error

    def _write_rows(
        self, rows: Mapping[str, Mapping[str, str]], files: Iterable[tuple[Path, str]]
    ) -> None:
        """Write the rows of these files, with their present labels."""
        table = []
        for path, label in sorted(files, key=lambda file: file[0].name):
            if path.name in rows:
                values = [rows[path.name][column] for column in COLUMNS[2:]]
                table.append((path.relative_to(self.folder).as_posix(), label, *values))
        write_text(self.folder / TABLE, csv_table(COLUMNS, table))


def recordings(clips: Iterable[CapturedClip]) -> list[str]:
    """Name of the recording of each clip; clips of one recording belong to one split.

    It is the provenance's ``recording``, else a source that is a sound file. Of any other source,
    clips with less than ``PAUSE_S`` between them are one recording. Clips without provenance are
    of one recording if folders of the same name below their classes contain them.
    """
    clips = list(clips)
    names = dict[Path, str]()
    last: dict[str, tuple[datetime.datetime, str]] = {}
    for clip in sorted(clips, key=lambda clip: clip.provenance.get("time_utc", "")):
        source, recording = (clip.provenance.get(key, "") for key in ("source", "recording"))
        if recording or Path(source).suffix.lower() in SUFFIXES:
            names[clip.path] = recording or source
        elif clip.provenance:
            time = _utc(clip.provenance["time_utc"])
            before, name = last.get(source, (time, f"{source} {time.isoformat()}"))
            if (time - before).total_seconds() >= PAUSE_S:
                name = f"{source} {time.isoformat()}"
            last[source] = time, name
            names[clip.path] = name
        else:
            folder = clip.path.parent.name
            names[clip.path] = str(clip.path) if folder == clip.label else folder
    return [names[clip.path] for clip in clips]


def check_label(label: str) -> None:
    """Refuse a label that cannot name a class folder.

    Raises:
        ConfigError: it is empty, hidden, has a separator of paths, spaces around it or control
            characters.
    """
    path_like = any(separator in label for separator in "/\\") or label.startswith(".")
    if not is_label(label) or path_like or label != label.strip():
        raise ConfigError(f"label {label!r}: give a name that a folder can have")


def _checked_provenance(values: Mapping[str, str | float]) -> dict[str, str]:
    """The values as text, with a time; refuse unknown keys and reasons, and line breaks."""
    require_known_keys(values, GIVEN, "in the provenance of a clip")
    row = {key: _text(key, values.get(key, "")) for key in GIVEN}
    if row["reason"] not in ("", *REASONS):
        raise ConfigError(f"reason {row['reason']!r}: choose one of {', '.join(REASONS)}")
    time = _utc(row["time_utc"]) if row["time_utc"] else datetime.datetime.now(datetime.UTC)
    return {**row, "time_utc": time.isoformat(timespec="milliseconds")}


def _utc(text: str) -> datetime.datetime:
    """A time of ISO 8601 in UTC; without a zone it is UTC."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"time_utc {text!r}: give a time such as 2030-01-31T12:00:00+00:00"
        ) from None
    return time.astimezone(datetime.UTC) if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def _text(key: str, value: str | float) -> str:
    text = value if isinstance(value, str) else f"{value:.6g}"
    if text and not is_label(text):
        raise ConfigError(f"provenance {key} {text!r}: give one line of printable characters")
    return text


def _unused(path: Path, names: Iterable[str]) -> Path:
    """The path, with a number if its name is in use."""
    used = set(names)
    number = 1
    unused = path
    while unused.name in used:
        number += 1
        unused = path.with_stem(f"{path.stem}_{number}")
    return unused
