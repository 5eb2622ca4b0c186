# SPDX-License-Identifier: Apache-2.0
"""Checks a data set under every protocol: leaks, folds and broken files."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from m3net_tf.audio.datasets.annotated import read_annotated
from m3net_tf.audio.datasets.audio import check_file, check_rate, header_of
from m3net_tf.audio.datasets.clips import SPLITS, Clip
from m3net_tf.audio.datasets.dataset import READERS, AudioDataset
from m3net_tf.audio.datasets.folder import listed_files, require_enough_training
from m3net_tf.audio.datasets.noise import NOISE_FOLDER, noise_files
from m3net_tf.audio.datasets.protocols import MissingFoldError, UnsuitedProtocolError
from m3net_tf.audio.datasets.registry import data_folder, dataset_info, load_dataset
from m3net_tf.audio.datasets.remarks import recording_lines
from m3net_tf.audio.datasets.statements import cut_statement, silence_statement
from m3net_tf.audio.datasets.unused import unused_lines
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import map_ahead


@dataclasses.dataclass(frozen=True)
class ProtocolCheck:
    """Result for one protocol and fold on the clips of this copy.

    Attributes:
        protocol: its name, with the missing part of a partial copy.
        shared_groups: number of groups that are in several splits but must not be.
        leak: share of the test clips whose group is in training; None if groups are unknown.
        allowed: whether the protocol leaks by construction and declares it.
        clip_list: SHA-256 of the three splits' clip lists.
    """

    protocol: str
    fold: int | None
    clips: tuple[int, int, int]
    shared_groups: int
    leak: float | None
    allowed: bool
    clip_list: str


@dataclasses.dataclass(frozen=True)
class DatasetCheck:
    """Result of :func:`check`.

    Attributes:
        remarks: missing parts of a partial copy, unusable folds and protocols, leaking protocols,
            truncated clips, files of a user's folder that are not used.
        broken: clip -> fault of its file.
        errors: protocols that cannot be used, with the reason.
    """

    group: str
    protocols: tuple[ProtocolCheck, ...]
    remarks: tuple[str, ...]
    broken: dict[str, str]
    errors: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether the copy is incomplete."""
        return any(remark.startswith("partial copy") for remark in self.remarks)

    @property
    def passed(self) -> bool:
        """Whether no file is broken and no group is shared, except under leaking protocols."""
        shared = any(line.shared_groups and not line.allowed for line in self.protocols)
        return not (self.broken or self.errors or shared)

    def to_dict(self) -> dict[str, object]:
        """All fields as plain values."""
        values = dataclasses.asdict(self)
        for line in values["protocols"]:
            line["clips"] = dict(zip(SPLITS, line["clips"], strict=True))
        return {**values, "passed": self.passed}


def check(
    name: str,
    data_dir: str | Path | None = None,
    *,
    decode: bool = False,
    seed: int = 0,
    log: Log = silent,
    **options: Any,
) -> DatasetCheck:
    """Load every protocol and fold, count shared groups and read every file.

    Args:
        decode: decode every file; otherwise read only the headers.

    Raises:
        DataError: the data set cannot be loaded under any protocol.
    """
    info = dataset_info(name)
    load = functools.partial(load_dataset, name, data_dir, seed=seed, log=log, **options)
    loaded: AudioDataset | None = None
    checks: dict[ProtocolCheck, None] = {}  # "auto" gives the same result as another protocol
    notes: dict[str, None] = {}
    skipped = list[str]()
    absent = list[str]()
    errors = list[str]()
    for protocol in info.protocols:
        no_fold = []
        for fold in range(1, info.folds.get(protocol, 0) + 1) or (None,):
            try:
                dataset = load(protocol=protocol, fold=fold)
            except MissingFoldError:
                no_fold.append(str(fold))
            except UnsuitedProtocolError as error:
                skipped.append(f"{protocol} skipped: {error}")
                break
            except DataError as error:
                where = protocol if fold is None else f"{protocol}, fold {fold}"
                errors.append(f"{where}: {error}")
            else:
                loaded = loaded or dataset
                notes |= dict.fromkeys(dataset.info.notes)
                checks[_protocol_check(dataset)] = None
        if no_fold:
            absent.append(f"{protocol}: no fold {', '.join(no_fold)}")
    if loaded is None:
        raise DataError(errors[0].split(": ", 1)[1])
    statements = filter(None, [silence_statement(loaded), cut_statement(loaded)])
    remarks = [*notes, *skipped, *absent, *statements, *recording_lines(loaded, log)]
    if name == "folder" and not options.get("classes"):  # files of other classes are no mistake
        remarks += _not_used(data_folder(name, data_dir), options)
    try:
        loaded.check_trainable()
        require_enough_training(loaded)
    except DataError as error:
        partial = any(note.startswith("partial copy") for note in notes)
        (remarks if partial else errors).append(str(error))
    broken = loaded.broken() if decode else read_headers(loaded.clips, log)[1]
    return DatasetCheck(info.group, tuple(checks), tuple(remarks), broken, tuple(errors))


def _not_used(root: Path, options: Mapping[str, Any]) -> list[str]:
    """One sentence for each reason why files in a folder of the user's own are not used."""
    table, several = options.get("table", ""), options.get("several_labels", False)
    used = {root / table, *noise_files(root / NOISE_FOLDER)}
    if options.get("annotations"):
        found = read_annotated(root)
        used |= {*found.tables, *found.without, *(recording.path for recording in found.recordings)}
    else:
        files = listed_files(root, table, several_labels=several)
        used |= {Path(str(clip.path)) for clip in files}
    return unused_lines(root, used)


def _protocol_check(dataset: AudioDataset) -> ProtocolCheck:
    train, validation, test = (len(dataset.split(split)) for split in SPLITS)
    return ProtocolCheck(
        protocol=dataset.info.protocol,
        fold=dataset.info.fold,
        clips=(train, validation, test),
        shared_groups=len(dataset.shared_groups()),
        leak=dataset.leak() if dataset.info.groups_known else None,
        allowed=dataset.info.leaking,
        clip_list=dataset.clip_list_digest(),
    )


def read_headers(clips: Sequence[Clip], log: Log = silent) -> tuple[dict[str, Any], dict[str, str]]:
    """Headers of the clips' files, each once, by the name of a clip.

    Returns:
        The readable headers (see :func:`.audio.header_of`); and why each other file cannot be used:
        a broken or implausible header, or less sound than it promises.
    """

    def read(path: Path) -> Any:
        try:
            check_file(path)
            header = header_of(path)
            check_rate(header.samplerate, str(path))
            if header.frames > 0:
                return header
            return f"{path}: contains no samples; delete or replace the file"
        except DataError as error:
            return str(error)
        except (soundfile.LibsndfileError, RuntimeError):
            return f"{path}: is not a readable sound file; delete it or fetch it again"

    clip_of = {clip.path: clip.clip_id for clip in clips if clip.path}
    headers: dict[str, Any] = {}
    bad: dict[str, str] = {}
    with track(log, "headers of sounds", len(clip_of), "files") as task:
        results = map_ahead(read, iter(clip_of), READERS)
        for clip_id, result in zip(clip_of.values(), results, strict=True):
            (bad if isinstance(result, str) else headers)[clip_id] = result
            task.advance()
    return headers, bad
