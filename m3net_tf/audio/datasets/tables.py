# SPDX-License-Identifier: Apache-2.0
"""Output of ``m3net data list | info | check | stats`` as plain tables and lines."""

import contextlib
import dataclasses
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.audio.datasets.checking import DatasetCheck
from m3net_tf.audio.datasets.clips import SPLITS
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.grouping import suggest_groups
from m3net_tf.audio.datasets.registry import (
    data_folder,
    dataset_info,
    dataset_module,
    dataset_names,
    dataset_options,
    load_dataset,
)
from m3net_tf.audio.datasets.statistics import Statistics
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.words import counted
from m3net_tf.system.yaml_files import parse_yaml

HASH_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Parse a data set's options from ``NAME=VALUE`` words; values are YAML, as in a recipe.

    Raises:
        ConfigError: a word without ``=`` or a value that is not YAML.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"option {word!r} is not NAME=VALUE; write it like clip_s=2.5")
        options[name.strip()] = parse_yaml(value, f"option {word!r}")
    return options


def typed_option(name: str, value: object) -> str:
    """The words of a command line that :func:`parse_options` reads as this option."""
    with contextlib.suppress(ConfigError):
        if parse_yaml(str(value), name) == value:
            return f"--option {shlex.quote(f'{name}={value}')}"
    return f"--option {shlex.quote(f'{name}={json.dumps(value, ensure_ascii=False)}')}"


_LISTED = (
    "name classes sample_rate_hz clip_s protocols licence clips multi_label needs_folder"
).split()
_DESCRIBED = (
    "name labels sample_rate_hz clip_s protocols licence citation url folds clips multi_label "
    "archives fetch_hint"
).split()


class Here(TypedDict, total=False):
    """The local copy: its protocol and test fold, clips per split, and notes; or only ``error``."""

    error: str
    protocol: str
    fold: int | None
    splits: dict[str, int]
    notes: tuple[str, ...]


def list_facts() -> list[dict[str, object]]:
    """All data sets as plain values: fields of :class:`.clips.DatasetInfo`."""
    infos = map(dataset_info, dataset_names())
    return [{key: getattr(info, key) for key in _LISTED} for info in infos]


def list_table() -> Table:
    """All data sets, one per row."""
    rows = [
        (
            info.name,
            f"{info.classes or 'yours'}{', multi' if info.multi_label else ''}",
            f"{info.sample_rate_hz / 1000:g} kHz",
            "\n".join(info.protocols),
            info.licence,
        )
        for info in map(dataset_info, dataset_names())
    ]
    return Table(("name", "classes", "rate", "protocols", "licence"), tuple(rows))


def info_facts(name: str, data_dir: str | Path | None = None) -> dict[str, object]:
    """A data set as plain values: fields of :class:`.clips.DatasetInfo`, and the local copy.

    Raises:
        DataError: ``data_dir`` does not exist.
        ConfigError: unknown name.
    """
    info = dataclasses.asdict(dataset_info(name))
    return {
        **{key: info[key] for key in _DESCRIBED},
        "description": dataset_module(name),
        "options": dataset_options(name),
        "here": _here(name, data_dir),
    }


def _here(name: str, data_dir: str | Path | None) -> Here | None:
    """The local copy; None without one."""
    folder = data_folder(name, data_dir)
    if dataset_info(name).needs_folder and not folder.is_dir():
        if data_dir is not None:
            raise DataError(f"{folder}: does not exist; correct DATA_DIR")
        return None
    try:
        dataset = load_dataset(name, data_dir)
    except DataError as error:
        return {"error": str(error)}
    return {
        "protocol": dataset.info.protocol,
        "fold": dataset.info.fold,
        "splits": {split: len(dataset.split(split)) for split in SPLITS},
        "notes": dataset.info.notes,
    }


def info_lines(name: str, data_dir: str | Path | None = None) -> list[str]:
    """A data set's docstring, options, download and the splits of the local copy.

    Raises:
        DataError: ``data_dir`` does not exist.
        ConfigError: unknown name.
    """
    info = dataset_info(name)
    here = _here(name, data_dir)
    lines = [*dataset_module(name).splitlines(), ""]
    lines.append(f"Options: {', '.join(dataset_options(name)) or 'none'}")
    for archive in info.archives:
        size = f"{archive.size_bytes / 1e6:.0f} MB, " if archive.size_bytes else ""
        checksum = archive.checksum or "no published checksum"
        lines.append(f"Archive: {archive.url} ({size}{checksum})")
    if not info.archives and info.fetch_hint:
        lines.append(f"By hand: {info.fetch_hint}")
    if here is None:
        return lines
    if "error" in here:
        return [*lines, f"Here: {here['error']}"]
    lines.append(f"Here: {here['protocol']}{_fold_words(here['fold'])}")
    lines += [f"  {split}: {counted(clips, 'clip')}" for split, clips in here["splits"].items()]
    return [*lines, *(f"  {note}" for note in here["notes"])]


def split_table(dataset: AudioDataset) -> Table:
    """Clips of each class in each split, and the groups; windows of a clip count as one.

    A clip with several labels counts in each of their classes.
    """
    whole = {clip.whole or clip.clip_id: clip for clip in dataset.clips}.values()
    counts = Counter((label, clip.split) for clip in whole for label in clip.all_labels)
    rows = [
        (label, *(str(counts[label, name]) for name in SPLITS)) for label in dataset.info.labels
    ]
    rows.append(("clips", *(str(sum(c.split == name for c in whole)) for name in SPLITS)))
    if dataset.info.groups_known:
        groups = [
            {c.group for c in whole if c.split == name and not c.synthetic} for name in SPLITS
        ]
        rows.append((f"groups ({dataset.info.group})", *(str(len(of)) for of in groups)))
    return Table(("class", *SPLITS), tuple(rows))


def check_table(checked: DatasetCheck) -> Table:
    """The protocols of a check, one per row."""
    rows = []
    for line in checked.protocols:
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
    columns = ("protocol", "fold", "train", "val", "test", checked.group, "leaked", "clip list")
    return Table(columns, tuple(rows))


def check_lines(checked: DatasetCheck) -> list[str]:
    """The lines of a check below its table."""
    lines = [*checked.remarks, *checked.errors, *checked.broken.values()]
    part = ", for this partial copy" if checked.partial else ""
    if any(line.leak is None for line in checked.protocols):
        part += "; groups are unknown, so no leak can be measured"
    return [*lines, f"{'passed' if checked.passed else 'NOT passed'}{part}"]


def suggestions(
    name: str, data_dir: str | Path | None = None, *, seed: int = 0, **options: Any
) -> tuple[Table, list[str]]:
    """Suggested groups of a folder's clips, and how to use the first suggestion.

    Raises:
        ConfigError: the data set has no option ``group_pattern``, or its groups are recordings.
    """
    if options.get("annotations"):
        raise ConfigError("annotated recordings are the groups: leave out --suggest")
    if "group_pattern" not in dataset_options(name):
        raise ConfigError(
            f"data set {name} defines its groups: --suggest is for data set folder only"
        )
    guesses = suggest_groups(load_dataset(name, data_dir, seed=seed, **options).clips)
    rows = [
        (
            guess.pattern,
            str(guess.groups),
            "-".join(map(str, dict.fromkeys(guess.clips))),
            f"{guess.classes:.1f}",
            " -> ".join(guess.example),
        )
        for guess in guesses
    ]
    columns = ("group_pattern", "groups", "clips each", "classes each", "example")
    if not guesses:
        return Table(columns, ()), [
            "no part of the file names identifies groups: give them in a table (table=clips.csv)"
        ]
    best = guesses[0]
    kind = "a guess" if best.likely else "a weak guess, which m3net init does not use"
    return Table(columns, tuple(rows)), [
        f"{kind}: check the example, then give {typed_option('group_pattern', best.pattern)}",
        "or, in a recipe:",
        *best.recipe.splitlines(),
    ]


def stats_table(facts: Statistics) -> Table:
    """Clips of each class and split, from :func:`stats`."""
    rows = [
        (label, *map(str, counts.values()), str(sum(counts.values())))
        for label, counts in facts["classes"].items()
    ]
    rows.append(("clips", *map(str, facts["clips"].values())))
    rows.append((f"groups ({facts['group']})", *map(str, facts["groups"].values())))
    return Table(("class", *SPLITS, "all"), tuple(rows))


def stats_lines(facts: Statistics) -> list[str]:
    """The lines of :func:`.statistics.stats` below its table."""
    lines = [f"{facts['name']}, {facts['protocol']}{_fold_words(facts['fold'])}", *facts["notes"]]
    files, delivered = facts["files"], facts["delivered"]
    if files is None:
        return [*lines, "files: none, the clips are generated by the program"]
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


def _shares(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(counts).most_common())
