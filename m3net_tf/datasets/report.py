# SPDX-License-Identifier: Apache-2.0
"""What ``m3net data list | info | check | stats`` say, as plain tables and lines."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from m3net_tf.datasets.audio import check_file, header_of
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
from m3net_tf.yaml_files import parse_yaml

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

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        values = dataclasses.asdict(self)
        for line in values["protocols"]:
            line["clips"] = dict(zip(SPLITS, line["clips"], strict=True))
        return {**values, "passed": self.passed}

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
        if not equals or not name.strip():
            raise ConfigError(f"option {word!r} is not NAME=VALUE; write it like clip_s=2.5")
        options[name.strip()] = parse_yaml(value, f"option {word!r}")
    return options


def list_facts() -> list[dict[str, Any]]:
    """All data sets as plain values; ``classes`` is 0 where only the data tell."""
    keys = ("sample_rate_hz", "clip_s", "protocols", "licence", "clips", "multi_label")
    return [
        {
            "name": name,
            "classes": info.classes,
            **{key: getattr(info, key) for key in (*keys, "needs_folder")},
        }
        for name, info in ((name, dataset_info(name)) for name in dataset_names())
    ]


def list_table() -> Table:
    """All data sets, one row each."""
    rows = [
        (
            facts["name"],
            f"{facts['classes'] or 'yours'}{', multi' if facts['multi_label'] else ''}",
            f"{facts['sample_rate_hz'] / 1000:g} kHz",
            "\n".join(facts["protocols"]),
            facts["licence"],
        )
        for facts in list_facts()
    ]
    return Table(("name", "classes", "rate", "protocols", "licence"), tuple(rows))


def info_facts(name: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """A data set as plain values: its description and, where it is there, its splits.

    Returns:
        Among others ``here``: None where there is no copy, else ``protocol``, ``fold``, the clips
        of each of the ``splits`` and ``notes``, or the ``error`` that keeps it from being used.

    Raises:
        DataError: ``data_dir`` does not exist.
        ConfigError: unknown name.
    """
    info = dataset_info(name)
    keys = ("labels", "sample_rate_hz", "clip_s", "protocols", "licence", "citation", "url")
    facts: dict[str, Any] = {
        "name": name,
        "description": dataset_module(name),
        **{key: getattr(info, key) for key in (*keys, "folds", "clips", "multi_label")},
        "options": dataset_options(name),
        "archives": [dataclasses.asdict(archive) for archive in info.archives],
        "fetch_hint": info.fetch_hint,
        "here": None,
    }
    folder = data_folder(name, data_dir)
    if info.needs_folder and not folder.is_dir():
        if data_dir is not None:
            raise DataError(f"{folder}: does not exist; correct DATA_DIR")
        return facts
    try:
        dataset = load_dataset(name, data_dir)
    except DataError as error:
        return {**facts, "here": {"error": str(error)}}
    facts["here"] = {
        "protocol": dataset.info.protocol,
        "fold": dataset.info.fold,
        "splits": {split: len(dataset.split(split)) for split in SPLITS},
        "notes": dataset.info.notes,
    }
    return facts


def info_lines(name: str, data_dir: str | Path | None = None) -> list[str]:
    """A data set's docstring, its options, its download and, where it is there, its splits.

    Raises:
        DataError: ``data_dir`` does not exist.
        ConfigError: unknown name.
    """
    facts = info_facts(name, data_dir)
    lines = [*facts["description"].splitlines(), ""]
    lines.append(f"Options: {', '.join(facts['options']) or 'none'}")
    for archive in facts["archives"]:
        size = f"{archive['size_bytes'] / 1e6:.0f} MB, " if archive["size_bytes"] else ""
        checksum = archive["checksum"] or "no published checksum"
        lines.append(f"Archive: {archive['url']} ({size}{checksum})")
    if not facts["archives"] and facts["fetch_hint"]:
        lines.append(f"By hand: {facts['fetch_hint']}")
    here = facts["here"]
    if here is None:
        return lines
    if "error" in here:
        return [*lines, f"Here: {here['error']}"]
    lines.append(f"Here: {here['protocol']}{_fold_words(here['fold'])}")
    lines += [f"  {split}: {clips} clips" for split, clips in here["splits"].items()]
    return [*lines, *(f"  {note}" for note in here["notes"])]


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
) -> dict[str, Any]:
    """Clips of each class and split, and the files' lengths, rates, channels and formats.

    Returns:
        ``protocol``, ``fold`` and ``notes``; ``classes`` (clips of each split, by class), ``clips``
        and ``groups`` (by split, and ``all``), ``group`` (what one is), ``delivered`` (what becomes
        of a file), and ``files``, None where the clips are made by the program.
    """
    dataset = load_dataset(name, data_dir, protocol=protocol, fold=fold, seed=seed, **options)
    info, counts = dataset.info, dataset.counts()
    splits = {split: dataset.split(split) for split in SPLITS} | {"all": dataset.clips}
    return {
        "name": name,
        "protocol": info.protocol,
        "fold": info.fold,
        "notes": info.notes,
        "classes": {label: {s: counts[s][label] for s in SPLITS} for label in info.labels},
        "clips": {split: len(clips) for split, clips in splits.items()},
        "group": info.group,
        "groups": {split: len({clip.group for clip in clips}) for split, clips in splits.items()},
        "delivered": {
            "clip_s": info.clip_s,
            "fit": info.fit,
            "sample_rate_hz": info.sample_rate_hz,
        },
        "files": _file_facts(dataset),
    }


def stats_table(facts: dict[str, Any]) -> Table:
    """Clips of each class and split, from :func:`stats`."""
    rows = [
        (label, *map(str, counts.values()), str(sum(counts.values())))
        for label, counts in facts["classes"].items()
    ]
    rows.append(("clips", *map(str, facts["clips"].values())))
    rows.append((f"groups ({facts['group']})", *map(str, facts["groups"].values())))
    return Table(("class", *SPLITS, "all"), tuple(rows))


def stats_lines(facts: dict[str, Any]) -> list[str]:
    """What the table of :func:`stats` does not say."""
    lines = [f"{facts['name']}, {facts['protocol']}{_fold_words(facts['fold'])}", *facts["notes"]]
    files, delivered = facts["files"], facts["delivered"]
    if files is None:
        return [*lines, "files: none, the clips are made by the program"]
    length = files["length_s"]
    rates = {f"{rate} Hz": count for rate, count in files["rates_hz"].items()}
    return [
        *lines,
        f"files: {files['count']}, {files['bytes'] / 1e6:.1f} MB, {files['hours']:.2f} h",
        f"length: {length['min']:.3f} to {length['max']:.3f} s, median {length['median']:.3f} s; "
        f"delivered {delivered['clip_s']:g} s ({delivered['fit']})",
        f"rates: {_shares(rates)}; delivered {delivered['sample_rate_hz']} Hz",
        f"channels: {_shares(files['channels'])}",
        f"formats: {_shares(files['formats'])}",
        *(f"broken: {reason}" for reason in files["broken"]),
    ]


def _fold_words(fold: int | None) -> str:
    return "" if fold is None else f", fold {fold} tests"


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
            if header_of(path).frames > 0:
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


def _file_facts(dataset: AudioDataset) -> dict[str, Any] | None:
    """Lengths, rates, channels and formats of the clips' files, from their headers."""
    paths = sorted({clip.path for clip in dataset.clips if clip.path})
    if not paths:
        return None
    bad = _bad_headers(dataset)
    with ThreadPoolExecutor(READERS) as pool:
        good = [path for path in paths if not any(str(path) in reason for reason in bad.values())]
        headers = list(pool.map(header_of, good))
    lengths_s = np.array([header.duration for header in headers] or [0.0])
    return {
        "count": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "hours": float(lengths_s.sum() / 3600),
        "length_s": {
            "min": float(lengths_s.min()),
            "median": float(np.median(lengths_s)),
            "max": float(lengths_s.max()),
        },
        "rates_hz": Counter(header.samplerate for header in headers),
        "channels": Counter(header.channels for header in headers),
        "formats": Counter(f"{header.format} {header.subtype}" for header in headers),
        "broken": list(bad.values()),
    }


def _shares(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(counts).most_common())
