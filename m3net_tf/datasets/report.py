# SPDX-License-Identifier: Apache-2.0
"""What ``m3net data list | info | check | stats`` say, as plain tables and lines."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from m3net_tf.datasets.audio import check_file
from m3net_tf.datasets.base import (
    READERS,
    SPLITS,
    AudioDataset,
    MissingFoldError,
    UnsuitedProtocolError,
    data_folder,
    dataset_info,
    dataset_module,
    dataset_names,
    dataset_options,
    load_dataset,
)
from m3net_tf.datasets.grouping import suggest_groups
from m3net_tf.datasets.statements import cut_statement
from m3net_tf.errors import ConfigError, DataError

HASH_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class ProtocolCheck:
    """What a protocol, with one fold, does with the clips that are there.

    Attributes:
        protocol: its name, with the missing part of a partial copy.
        fold: test fold, None where the protocol has none.
        clips: clips in train, validation and test.
        shared_groups: groups on two sides that must not be.
        leak: share of the test clips whose group is trained on; None where groups are unknown.
        allowed: whether the protocol leaks by construction and says so.
        clip_list: SHA-256 over the three splits' clip lists.
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
    """Outcome of :func:`check`.

    Attributes:
        group: what a group is.
        protocols: one line for each protocol and fold that is there.
        remarks: what a partial copy lacks, which folds or protocols cannot be used, which protocols
            leak, which clips are cut.
        broken: clip -> what is wrong with its file.
        errors: protocols that cannot be used, with the reason.
    """

    group: str
    protocols: tuple[ProtocolCheck, ...]
    remarks: tuple[str, ...]
    broken: dict[str, str]
    errors: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether the copy lacks something."""
        return any(remark.startswith("partial copy") for remark in self.remarks)

    @property
    def passed(self) -> bool:
        """No broken file, no group on both sides but where the protocol says so."""
        shared = any(line.shared_groups and not line.allowed for line in self.protocols)
        return not (self.broken or self.errors or shared)

    def table(self) -> Table:
        """The protocols, one row each."""
        rows = []
        for line in self.protocols:
            verdict = "disjoint" if not line.shared_groups else f"{line.shared_groups} shared"
            if line.leak is None:
                verdict = "unknown"
            name = line.protocol.replace(" (", "\n(")
            rows.append(
                (
                    f"{name}\nLEAKS" if line.allowed and line.leak is not None else name,
                    "" if line.fold is None else str(line.fold),
                    *map(str, line.clips),
                    verdict,
                    "unknown" if line.leak is None else f"{100 * line.leak:.1f} %",
                    line.clip_list[:HASH_SHOWN],
                )
            )
        columns = ("protocol", "fold", "train", "val", "test", self.group, "leaked", "clip list")
        return Table(columns, tuple(rows))

    def lines(self) -> list[str]:
        """What the table does not say."""
        lines = [*self.remarks, *self.errors, *self.broken.values()]
        part = ", for the part that is there" if self.partial else ""
        if any(line.leak is None for line in self.protocols):
            part += "; groups are unknown, so no leak can be measured"
        return [*lines, f"{'passed' if self.passed else 'NOT passed'}{part}"]


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """A data set's options out of ``NAME=VALUE`` words; values are read as in a recipe (YAML).

    Raises:
        ConfigError: a word without ``=`` or a value that is not YAML.
    """
    options = {}
    for word in given:
        name, equals, value = word.partition("=")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not name.strip():
            raise ConfigError(f"option {word!r} is not NAME=VALUE; write it like clip_s=2.5")
    return options


def list_table() -> Table:
    """All data sets, one row each."""
    rows = []
    for name in dataset_names():
        info = dataset_info(name)
        rows.append(
            (
                name,
                f"{info.classes or 'yours'}{', multi' if info.multi_label else ''}",
                f"{info.sample_rate_hz / 1000:g} kHz",
                "\n".join(info.protocols),
                info.licence,
            )
        )
    return Table(("name", "classes", "rate", "protocols", "licence"), tuple(rows))


def info_lines(name: str, data_dir: str | Path | None = None) -> list[str]:
    """A data set's docstring, its options, its download and, where it is there, its splits.

    Raises:
        DataError: ``data_dir`` does not exist.
        ConfigError: unknown name.
    """
    info = dataset_info(name)
    lines = [*dataset_module(name).splitlines(), ""]
    lines.append(f"Options: {', '.join(dataset_options(name)) or 'none'}")
    for archive in info.archives:
        size = f"{archive.size_bytes / 1e6:.0f} MB, " if archive.size_bytes else ""
        checksum = archive.checksum or "no published checksum"
        lines.append(f"Archive: {archive.url} ({size}{checksum})")
    if not info.archives and info.fetch_hint:
        lines.append(f"By hand: {info.fetch_hint}")
    folder = data_folder(name, data_dir)
    if info.needs_folder and not folder.is_dir():
        if data_dir is not None:
            raise DataError(f"{folder}: does not exist; correct DATA_DIR")
        return lines
    try:
        dataset = load_dataset(name, data_dir)
    except DataError as error:
        return [*lines, f"Here: {error}"]
    lines.append(f"Here: {dataset.info.protocol}" + _fold_words(dataset))
    lines += [f"  {split}: {len(dataset.split(split))} clips" for split in SPLITS]
    return [*lines, *(f"  {note}" for note in dataset.info.notes)]


def check(
    name: str,
    data_dir: str | Path | None = None,
    *,
    decode: bool = False,
    seed: int = 0,
    **options: Any,
) -> DatasetCheck:
    """Try every protocol and fold, count the groups on both sides, look at every file.

    Args:
        name: data set.
        data_dir: its folder.
        decode: decode every file; otherwise only their headers are read.
        seed: of whatever the protocols draw at random.
        options: the data set's own.

    Raises:
        DataError: the data set cannot be loaded under any protocol.
    """
    info = dataset_info(name)
    lines: list[ProtocolCheck] = []
    notes: dict[str, None] = {}
    missing: dict[str, list[str]] = {}
    errors: list[str] = []
    skipped: list[str] = []
    loaded: AudioDataset | None = None
    for protocol in info.protocols:
        folds: list[int | None] = [*range(1, info.folds.get(protocol, 0) + 1)] or [None]
        for fold in folds:
            try:
                dataset = load_dataset(
                    name, data_dir, protocol=protocol, fold=fold, seed=seed, **options
                )
            except MissingFoldError:
                missing.setdefault(protocol, []).append(str(fold))
                continue
            except UnsuitedProtocolError as error:
                skipped.append(f"{protocol} skipped: {error}")
                break
            except DataError as error:
                errors.append(f"{protocol}{'' if fold is None else f', fold {fold}'}: {error}")
                continue
            loaded = loaded or dataset
            notes |= dict.fromkeys(dataset.info.notes)
            line = _protocol_check(dataset)
            if line not in lines:  # a default such as "auto" is one of the others
                lines.append(line)
    if loaded is None:
        raise DataError(errors[0].split(": ", 1)[1])
    broken = loaded.broken() if decode else _bad_headers(loaded)
    absent = [f"{protocol}: no fold {', '.join(folds)}" for protocol, folds in missing.items()]
    remarks = [*notes, *skipped, *absent, *filter(None, [cut_statement(loaded)])]
    try:
        loaded.check_trainable()
    except DataError as error:
        partial = any(note.startswith("partial copy") for note in notes)
        (remarks if partial else errors).append(str(error))
    return DatasetCheck(info.group, tuple(lines), tuple(remarks), broken, tuple(errors))


def suggestions(
    name: str, data_dir: str | Path | None = None, *, seed: int = 0, **options: Any
) -> tuple[Table, list[str]]:
    """What may name the groups of a folder's clips, and the lines that make use of the first.

    Raises:
        ConfigError: the data set takes no ``group_pattern``.
    """
    if "group_pattern" not in dataset_options(name):
        raise ConfigError(f"data set {name} knows its groups: --suggest is for the data set folder")
    found = suggest_groups(load_dataset(name, data_dir, seed=seed, **options).clips)
    rows = [
        (
            one.pattern,
            str(one.groups),
            "-".join(map(str, dict.fromkeys(one.clips))),
            f"{one.classes:.1f}",
            " -> ".join(one.example),
        )
        for one in found
    ]
    columns = ("group_pattern", "groups", "clips each", "classes each", "example")
    if not found:
        return Table(columns, ()), [
            "no part of the file names tells groups apart: name them in a table (table=clips.csv)"
        ]
    best = found[0]
    return Table(columns, tuple(rows)), [
        "a guess: look at the example, then give " + best.option,
        "or, in a recipe:",
        *best.recipe.splitlines(),
    ]


def stats(
    name: str,
    data_dir: str | Path | None = None,
    *,
    protocol: str | None = None,
    fold: int | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Table, list[str]]:
    """Clips of each class and split, and the files' lengths, rates, channels and formats."""
    dataset = load_dataset(name, data_dir, protocol=protocol, fold=fold, seed=seed, **options)
    info, counts = dataset.info, dataset.counts()
    rows = [
        (label, *(str(counts[split][label]) for split in SPLITS), str(_total(counts, label)))
        for label in info.labels
    ]
    sums = [len(dataset.split(split)) for split in SPLITS]
    rows.append(("clips", *map(str, sums), str(sum(sums))))
    groups = [len({clip.group for clip in dataset.split(split)}) for split in SPLITS]
    rows.append((f"groups ({info.group})", *map(str, groups), str(_groups(dataset))))
    lines = [f"{name}, {info.protocol}{_fold_words(dataset)}", *info.notes]
    lines += _file_facts(dataset)
    return Table(("class", *SPLITS, "all"), tuple(rows)), lines


def _total(counts: dict[str, dict[str, int]], label: str) -> int:
    return sum(counts[split][label] for split in SPLITS)


def _groups(dataset: AudioDataset) -> int:
    return len({clip.group for clip in dataset.clips})


def _fold_words(dataset: AudioDataset) -> str:
    return "" if dataset.info.fold is None else f", fold {dataset.info.fold} tests"


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


def _bad_headers(dataset: AudioDataset) -> dict[str, str]:
    """Files whose header is broken or promises more than there is; clip -> reason."""

    def reason(path: Path) -> str:
        try:
            check_file(path)
            if soundfile.info(path).frames > 0:
                return ""
            return f"{path}: holds no samples; delete or replace the file"
        except DataError as error:
            return str(error)
        except (soundfile.LibsndfileError, RuntimeError):
            return f"{path}: is not a readable sound file; delete it or fetch it again"

    clip_of = {clip.path: clip.clip_id for clip in dataset.clips if clip.path}
    with ThreadPoolExecutor(READERS) as pool:
        reasons = pool.map(reason, clip_of)
        return {c: r for c, r in zip(clip_of.values(), reasons, strict=True) if r}


def _file_facts(dataset: AudioDataset) -> list[str]:
    """Lengths, rates, channels and formats of the clips' files, from their headers."""
    paths = sorted({clip.path for clip in dataset.clips if clip.path})
    if not paths:
        return ["files: none, the clips are made by the program"]
    bad = _bad_headers(dataset)
    with ThreadPoolExecutor(READERS) as pool:
        good = [path for path in paths if not any(str(path) in reason for reason in bad.values())]
        facts = list(pool.map(soundfile.info, good))
    lengths_s = np.array([fact.duration for fact in facts] or [0.0])
    size = sum(path.stat().st_size for path in paths)
    return [
        f"files: {len(paths)}, {size / 1e6:.1f} MB, {lengths_s.sum() / 3600:.2f} h",
        f"length: {lengths_s.min():.3f} to {lengths_s.max():.3f} s, "
        f"median {np.median(lengths_s):.3f} s; delivered {dataset.info.clip_s:g} s "
        f"({dataset.info.fit})",
        f"rates: {_shares(f'{fact.samplerate} Hz' for fact in facts)}; "
        f"delivered {dataset.info.sample_rate_hz} Hz",
        f"channels: {_shares(str(fact.channels) for fact in facts)}",
        f"formats: {_shares(f'{fact.format} {fact.subtype}' for fact in facts)}",
        *(f"broken: {reason}" for reason in bad.values()),
    ]


def _shares(values: Any) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common())
