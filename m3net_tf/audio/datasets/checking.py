# SPDX-License-Identifier: Apache-2.0
"""Checks a data set under every protocol: leaks, folds and broken files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

from m3net_tf.audio.datasets.audio import check_file, check_rate, header_of
from m3net_tf.audio.datasets.clips import SPLITS, Clip
from m3net_tf.audio.datasets.dataset import READERS, AudioDataset
from m3net_tf.audio.datasets.protocols import MissingFoldError, UnsuitedProtocolError
from m3net_tf.audio.datasets.registry import dataset_info, load_dataset
from m3net_tf.audio.datasets.statements import cut_statement, silence_statement
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import map_ahead


@dataclasses.dataclass(frozen=True)
class ProtocolCheck:
    """Result for one protocol and fold on the clips of this copy.

    Attributes:
        protocol: its name, with the missing part of a partial copy.
        fold: test fold; None if the protocol has none.
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
        group: meaning of a group, such as ``actor``.
        protocols: one result per available protocol and fold.
        remarks: missing parts of a partial copy, unusable folds and protocols, leaking protocols,
            truncated clips.
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
        seed: seed of the protocols' random draws.

    Raises:
        DataError: the data set cannot be loaded under any protocol.
    """
    attempts = _Attempts()
    for protocol in dataset_info(name).protocols:
        _try_protocol(attempts, name, data_dir, protocol, seed, {**options, "log": log})
    loaded = attempts.loaded
    if loaded is None:
        raise DataError(attempts.errors[0].split(": ", 1)[1])
    absent = [
        f"{protocol}: no fold {', '.join(folds)}" for protocol, folds in attempts.no_fold.items()
    ]
    remarks = [
        *attempts.notes,
        *attempts.skipped,
        *absent,
        *filter(None, [silence_statement(loaded), cut_statement(loaded)]),
    ]
    errors = attempts.errors
    try:
        loaded.check_trainable()
    except DataError as error:
        partial = any(note.startswith("partial copy") for note in attempts.notes)
        (remarks if partial else errors).append(str(error))
    broken = loaded.broken() if decode else bad_headers(loaded.clips, log)
    return DatasetCheck(
        dataset_info(name).group, tuple(attempts.checks), tuple(remarks), broken, tuple(errors)
    )


@dataclasses.dataclass
class _Attempts:
    """Results of loading a data set under each protocol and fold.

    Attributes:
        loaded: the first data set that could be loaded.
        checks: results, as keys because ``auto`` gives the same result as another protocol.
        notes: the data sets' notes, as keys.
        no_fold: missing folds of each protocol.
        skipped: protocols that do not suit the clips, with the reason.
        errors: protocols that cannot be used, with the reason.
    """

    loaded: AudioDataset | None = None
    checks: dict[ProtocolCheck, None] = dataclasses.field(default_factory=dict)
    notes: dict[str, None] = dataclasses.field(default_factory=dict)
    no_fold: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    skipped: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


def _try_protocol(
    attempts: _Attempts,
    name: str,
    data_dir: str | Path | None,
    protocol: str,
    seed: int,
    options: dict[str, Any],
) -> None:
    folds = dataset_info(name).folds.get(protocol, 0)
    for fold in range(1, folds + 1) or (None,):
        try:
            dataset = load_dataset(
                name, data_dir, protocol=protocol, fold=fold, seed=seed, **options
            )
        except MissingFoldError:
            attempts.no_fold.setdefault(protocol, []).append(str(fold))
        except UnsuitedProtocolError as error:
            attempts.skipped.append(f"{protocol} skipped: {error}")
            return
        except DataError as error:
            where = protocol if fold is None else f"{protocol}, fold {fold}"
            attempts.errors.append(f"{where}: {error}")
        else:
            attempts.loaded = attempts.loaded or dataset
            attempts.notes |= dict.fromkeys(dataset.info.notes)
            attempts.checks[_protocol_check(dataset)] = None


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


def bad_headers(clips: Sequence[Clip], log: Log = silent) -> dict[str, str]:
    """Files with a broken or implausible header, or shorter than it promises; clip -> reason."""

    def reason(path: Path) -> str:
        try:
            check_file(path)
            header = header_of(path)
            check_rate(header.samplerate, str(path))
            if header.frames > 0:
                return ""
            return f"{path}: contains no samples; delete or replace the file"
        except DataError as error:
            return str(error)
        except (soundfile.LibsndfileError, RuntimeError):
            return f"{path}: is not a readable sound file; delete it or fetch it again"

    clip_of = {clip.path: clip.clip_id for clip in clips if clip.path}
    bad = {}
    with track(log, "headers of sounds", len(clip_of), "files") as task:
        reasons = map_ahead(reason, iter(clip_of), READERS)
        for clip_id, why in zip(clip_of.values(), reasons, strict=True):
            if why:
                bad[clip_id] = why
            task.advance()
    return bad
