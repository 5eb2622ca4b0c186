# SPDX-License-Identifier: Apache-2.0
"""Labelled clips that a fine-tuning adds to the clips of the run that it starts from.

The new run keeps a copy of them in its folder ``added``, at the data set's rate, so the run stays
valid when clips are captured, relabelled or deleted later. ``clips.csv`` there lists them.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from m3net_tf.audio.datasets import AudioDataset, Clip, read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import wav_bytes
from m3net_tf.audio.datasets.captured import CapturedClip, CapturedClips, recordings
from m3net_tf.audio.datasets.dataset import LONGEST_S, READERS
from m3net_tf.audio.datasets.protocols import held_out_groups
from m3net_tf.audio.datasets.windows import in_windows, silent_files
from m3net_tf.audio.frontend.store import content_hashes
from m3net_tf.audio.labels import OTHER_LABELS, SILENCE_LABELS, is_silence, label_word
from m3net_tf.system.artifacts import csv_table, sha256_of, write_bytes, write_text
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import complete_folder
from m3net_tf.system.progress import Log
from m3net_tf.system.text_tables import read_table
from m3net_tf.system.words import counted

HELD_OUT_SHARE = 0.25
_FOLDER, _TABLE = "added", "clips.csv"
_SHA256 = re.compile("[0-9a-f]{64}")
FALSE_ALARM = "false_alarm"
"""Label of added clips that are not events; also of the live page's."""


@dataclasses.dataclass(frozen=True)
class AddedClip:
    """An added clip.

    Attributes:
        split: ``train`` or ``test``.
        group: its recording; whole recordings are held out.
        reason: why it was captured; '' if unknown.
    """

    source: str
    label: str
    split: str
    group: str
    sha256: str
    reason: str

    @property
    def path(self) -> str:
        """Name of the run's copy."""
        return f"{self.sha256[:16]}.wav"


def read_added(run: Path) -> tuple[AddedClip, ...]:
    """The added clips of a run; empty for a run without.

    Raises:
        DataError: the list is damaged.
    """
    table = run / _FOLDER / _TABLE
    if not table.is_file():
        return ()
    names = _fields()
    remedy = "restore it, or train the run again"
    rows = read_table(table, names, remedy)
    for row in rows:
        if not _SHA256.fullmatch(row["sha256"]):  # a clip's file is named after it
            raise DataError(f"{table}: {row['sha256']!r} is not a SHA-256 in hex; {remedy}")
    return tuple(AddedClip(**{name: row[name] for name in names}) for row in rows)


def with_added(
    dataset: AudioDataset, run: Path, *, windows: bool = False, times: int = 1
) -> AudioDataset:
    """A run's data set with its added training clips; validation and test are unchanged.

    Args:
        windows: use longer clips window by window, as the data set does.
        times: how often each added clip occurs, under names of its own.
    """
    added = _clips(run, "train", dataset.info.clip_s if windows else None)
    if not added:
        return dataset
    clips = len({clip.whole or clip.clip_id for clip in added})
    protocol = f"{dataset.info.protocol} (with {clips} added training clips)"
    info = dataclasses.replace(dataset.info, protocol=protocol)
    again = [
        dataclasses.replace(clip, clip_id=f"{clip.clip_id}#{time}")
        for time in range(2, times + 1)
        for clip in added
    ]
    return dataclasses.replace(dataset, info=info, clips=(*dataset.clips, *added, *again))


def held_out_added(
    dataset: AudioDataset, run: Path, *, windows: bool = False
) -> AudioDataset | None:
    """The added clips that a run holds out, as test clips of its data set; None without any."""
    held_out = _clips(run, "test", dataset.info.clip_s if windows else None)
    return dataclasses.replace(dataset, clips=held_out) if held_out else None


def list_sha256(clips: Iterable[AddedClip]) -> str:
    """Hash of the files, their classes and their splits, which identifies the added clips."""
    lines = sorted(f"{clip.sha256}\t{clip.label}\t{clip.split}\n" for clip in clips)
    return sha256_of("".join(lines).encode())


def find_added(
    folders: Sequence[str], former: Path, labels: Sequence[str], group_pattern: str, log: Log
) -> list[AddedClip]:
    """List the clips that a fine-tuning adds, with the added clips of the run it starts from.

    Args:
        group_pattern: option of the run's data set, which names the groups of files without
            provenance; '' for none.

    Returns:
        The clips; clips that the former run lacks are in no split yet.

    Raises:
        ConfigError: a label is not a class of the run.
        DataError: a folder is missing, has no labelled clip, or has a sound with two labels.
    """
    present: dict[str, AddedClip] = {}
    listed = [
        clip for folder in folders for clip in _labelled(Path(folder), labels, group_pattern, log)
    ]
    for clip in listed:
        twin = present.setdefault(clip.sha256, clip)
        if twin.label != clip.label:
            raise DataError(
                f"{clip.source}: is the same sound as {twin.source} with another label: "
                "delete one of them"
            )
    if len(present) < len(listed):
        log(f"{len(listed) - len(present)} added clips repeat the sound of others: left out")
    known = {clip.sha256: clip for clip in read_added(former)}
    absent = [clip for sha256, clip in known.items() if sha256 not in present]
    return absent + [
        dataclasses.replace(clip, split=known[sha256].split if sha256 in known else "")
        for sha256, clip in present.items()
    ]


def _placed(
    clips: Sequence[AddedClip], dataset: AudioDataset, *, hold_out: bool
) -> list[AddedClip]:
    """The clips in their splits: with ``hold_out`` a quarter of the new recordings is held out.

    So is at least one recording of each class with several. A recording of the data set or of the
    former run stays on its side.
    """
    split_of = {clip.group: "train" if clip.split == "train" else "test" for clip in dataset.clips}
    for clip in clips:
        if clip.split and split_of.get(clip.group) != "test":
            split_of[clip.group] = clip.split
    new = [clip for clip in clips if clip.group not in split_of]
    held_out: set[str] = set()
    if hold_out:
        groups, labels = [clip.group for clip in new], [clip.label for clip in new]
        held_out = held_out_groups(groups, labels, HELD_OUT_SHARE, seed=0)
    split_of |= {clip.group: "test" if clip.group in held_out else "train" for clip in new}
    return [dataclasses.replace(clip, split=clip.split or split_of[clip.group]) for clip in clips]


def _labelled(folder: Path, labels: Sequence[str], group_pattern: str, log: Log) -> list[AddedClip]:
    """The labelled clips of a folder; their splits are not chosen yet."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; name one that has a folder for each class")
    clips = list(CapturedClips(folder))
    if not clips:
        raise DataError(
            f"{folder}: has no labelled clip; put sounds into one folder for each class"
        )
    silent = silent_files([clip.path for clip in clips if not is_silence(clip.label)])
    if silent:
        log(
            f"{folder}: leaves out {counted(len(silent), 'clip')} of digital zero, which is not an "
            f"example of a class, such as {min(silent).name}"
        )
        clips = [clip for clip in clips if clip.path not in silent]
    return [
        AddedClip(
            source=str(clip.path),
            label=_class_of(clip.label, labels, clip.path),
            split="",
            group=_group(clip, folder, recording, group_pattern),
            sha256=sha256_of(clip.path.read_bytes()),
            reason=clip.provenance.get("reason", ""),
        )
        for clip, recording in zip(clips, recordings(clips), strict=True)
    ]


def _group(clip: CapturedClip, folder: Path, recording: str, group_pattern: str) -> str:
    """The group of a clip: as in the data set if its name tells it, else its recording."""
    match = None
    if group_pattern and not clip.provenance:
        match = re.search(group_pattern, clip.path.relative_to(folder).as_posix())
    return match[1] if match and match[1] else f"added: {recording}"


def _class_of(label: str, labels: Sequence[str], path: Path) -> str:
    """The run's class for a label; sounds that are not events go to a class for such sounds."""
    if label in labels:
        return label
    word = label_word(label)
    kinds = [SILENCE_LABELS, OTHER_LABELS]
    if word == FALSE_ALARM or word in OTHER_LABELS:
        kinds.reverse()
    if word == FALSE_ALARM or any(word in kind for kind in kinds):
        for kind in kinds:
            for name in labels:
                if label_word(name) in kind:
                    return name
    raise ConfigError(
        f"{path}: label {label!r} is not a class of the run: choose one of {', '.join(labels)}, or "
        "train a new run with this class"
    )


def copy_added(
    clips: Sequence[AddedClip],
    dataset: AudioDataset,
    run: Path,
    former: Path,
    log: Log,
    *,
    windows: bool = False,
    hold_out: bool = True,
) -> None:
    """Copy added clips into a run, at the data set's rate; a run that has them keeps them.

    Args:
        clips: result of :func:`find_added`.
        dataset: data set of the run, without them.
        former: the run that it starts from, which has the clips that were added before.

    Raises:
        ConfigError: clips of the data set may have several labels.
        DataError: a clip cannot be read, or is one of the held-out clips.
    """
    if dataset.info.multi_label:
        raise ConfigError(
            f"fine_tuning.add: clips of {dataset.info.name} have several labels, added ones have "
            "one: name a run whose clips have one label"
        )
    if (run / _FOLDER).is_dir():
        return
    clips = _placed(clips, dataset, hold_out=hold_out)
    _require_new(clips, dataset)
    rate_hz, cut = dataset.info.sample_rate_hz, 0
    with complete_folder(run / _FOLDER) as scratch:
        for clip in clips:
            source = Path(clip.source)
            if not source.is_file() or sha256_of(source.read_bytes()) != clip.sha256:
                source = former / _FOLDER / clip.path
            most = round(LONGEST_S * rate_hz)
            samples = read_audio(source, sample_rate_hz=rate_hz, most=most + 1)
            if len(samples) > most:
                raise DataError(
                    f"{clip.source}: is longer than {LONGEST_S / 60:g} minutes, the most of an "
                    "added clip: cut it into clips"
                )
            cut += len(samples) > dataset.info.clip_samples
            write_bytes(scratch / clip.path, wav_bytes(to_pcm16(samples), rate_hz))
        columns = ("path", *_fields())
        rows = [[getattr(clip, column) for column in columns] for clip in clips]
        write_text(scratch / _TABLE, csv_table(columns, rows))
    if cut and not windows:
        log(
            f"the window of {dataset.info.clip_s:g} s is shorter than {cut} of "
            f"{counted(len(clips), 'added clip')}, so only a part of them is used"
        )


def require_unchanged(clips: Sequence[AddedClip], run: Path) -> None:
    """Refuse a run that was started with other added clips.

    Raises:
        ConfigError: it was; the message names the run.
    """
    lists = [{(clip.sha256, clip.label) for clip in of} for of in (clips, read_added(run))]
    if (run / _FOLDER).is_dir() and lists[0] != lists[1]:
        raise ConfigError(
            f"{run} was started with other added clips: choose another name by --run, or delete it"
        )


def _require_new(clips: Sequence[AddedClip], dataset: AudioDataset) -> None:
    """Refuse to train on clips by which the run is measured."""
    source_of = {clip.sha256: clip.source for clip in clips if clip.split == "train"}
    held_out = {
        clip.path: clip
        for clip in dataset.clips
        if clip.split != "train" and clip.path is not None and not clip.synthetic
    }
    for path, sha256 in content_hashes(held_out, READERS).items():
        if sha256 in source_of:
            clip = held_out[path]
            raise DataError(
                f"{source_of[sha256]}: is the {clip.split} clip {clip.clip_id}, by which the run "
                "is measured: delete this copy"
            )


def _clips(run: Path, split: str, window_s: float | None) -> tuple[Clip, ...]:
    clips = [
        Clip(f"{_FOLDER}/{clip.path}", clip.label, split, clip.group, run / _FOLDER / clip.path)
        for clip in read_added(run)
        if clip.split == split
    ]
    return tuple(in_windows(clips, window_s) if window_s else clips)


def _fields() -> list[str]:
    return [field.name for field in dataclasses.fields(AddedClip)]
