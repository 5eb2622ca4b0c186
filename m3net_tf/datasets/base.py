# SPDX-License-Identifier: Apache-2.0
"""What every data set is made of, and the registry that finds them by name.

A data set is one module of this package: a docstring (classes, clips, rate, licence, citation,
size, protocols), a :class:`DatasetInfo` and a function that is decorated with :func:`register`
and returns an :class:`AudioDataset`. Nothing else has to be edited. The function is called as
``build(root, *, protocol, fold, seed, **options)``; its further keyword arguments are the data
set's options, so their names and defaults stand in its signature alone.
"""

import csv
import dataclasses
import hashlib
import importlib
import inspect
import os
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import cache_folder
from m3net_tf.datasets.audio import (
    FIT_RULES,
    Audio,
    FitRule,
    fit_length,
    from_pcm16,
    read_audio,
    to_pcm16,
)
from m3net_tf.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")
_NO_LABEL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, line breaks
READERS = 4  # threads that decode files side by side; libsndfile works outside Python's lock


class MissingFoldError(DataError):
    """A partial copy lacks the fold that was asked for."""


class UnsuitedProtocolError(ConfigError):
    """The clips lack what a protocol splits by, as groups or a listed split."""


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """One file of a data set's download.

    Attributes:
        url: where its publisher keeps it.
        checksum: ``md5:...`` or ``sha256:...`` as published; empty where none is, so that the
            first download is trusted and its SHA-256 recorded.
        size_bytes: published size, 0 where unknown.
        unpack: false for the further volumes (``.z01`` ...) of a split zip, which are read
            together with their ``.zip``.
    """

    url: str
    checksum: str = ""
    size_bytes: int = 0
    unpack: bool = True

    @property
    def file_name(self) -> str:
        """Name of the file on disk: the last part of the URL without its query."""
        return self.url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One labelled piece of sound.

    Attributes:
        clip_id: name that is unique in the data set and the same on every machine.
        label: class name, one of ``DatasetInfo.labels``; of several the first.
        split: ``train``, ``validation`` or ``test``.
        group: what must not stand on two sides of a split (speaker, recording ...).
        path: sound file, or None where the data set synthesises the clip.
        start_s: start of the piece inside the file.
        duration_s: length of the piece; None means to the end of the file.
        gain: factor on the samples.
        synthetic: made by us (for example silence cut out of noise), not listed by the publisher.
        labels: all class names of a multi-label clip; empty where ``label`` is the only one.
    """

    clip_id: str
    label: str
    split: str
    group: str
    path: Path | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    gain: float = 1.0
    synthetic: bool = False
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Escape in the name what is not UTF-8: it is printed, hashed and stored."""
        if not self.clip_id.isascii():
            name = self.clip_id.encode("utf-8", "surrogateescape")
            object.__setattr__(self, "clip_id", name.decode("utf-8", "backslashreplace"))

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The clip's class names, one or more."""
        return self.labels or (self.label,)


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What to know, and to print beside a result, about a data set.

    Attributes:
        name: registry name.
        labels: class names; their order is the order of the network's outputs. Empty in the
            registry where they come with the data.
        sample_rate_hz: rate at which clips are delivered.
        clip_s: length at which clips are delivered.
        protocols: names that ``load_dataset(protocol=...)`` takes, the default first.
        licence, citation, url: of the data, as their publisher states them.
        clips: number of clips of the complete set, 0 where there is no such number.
        protocol: the protocol in use; it names the missing part of a partial copy.
        fold: the test fold, where the protocol has folds.
        folds: number of folds of each folded protocol, the protocols that take a fold.
        leaking_protocols: protocols that put a group on both sides by construction.
        fit: how a clip is brought to ``clip_s``, see :func:`m3net_tf.datasets.audio.fit_length`.
        resample: whether files of another rate or with several channels are converted (otherwise
            they are errors).
        needs_folder: whether ``data_dir`` must be given.
        notes: remarks that belong beside every figure.
        group: what ``Clip.group`` is, in words.
        groups_known: whether ``Clip.group`` tells what belongs together; where it does not, each
            clip is a group, and no leak can be measured.
        multi_label: whether a clip may have several labels (scored by mean average precision).
        held_out_may_share: whether validation and test may share groups, as the publisher has it;
            training never shares one with either.
        class_count: number of classes of the complete set where ``labels`` come with the data.
        archives: what ``m3net data fetch`` downloads; empty where that has to be done by hand.
        fetch_hint: how to get the data by hand.
        folder: folder that ``fetch`` makes; the name unless several data sets share one.
    """

    name: str
    labels: tuple[str, ...]
    sample_rate_hz: int
    clip_s: float
    protocols: tuple[str, ...]
    licence: str
    citation: str
    url: str
    clips: int = 0
    protocol: str = ""
    fold: int | None = None
    folds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    leaking_protocols: tuple[str, ...] = ()
    fit: FitRule = "pad"
    resample: bool = True
    needs_folder: bool = True
    notes: tuple[str, ...] = ()
    group: str = "clip"
    groups_known: bool = True
    multi_label: bool = False
    held_out_may_share: bool = False
    class_count: int = 0
    archives: tuple[Archive, ...] = ()
    fetch_hint: str = ""
    folder: str = ""

    @property
    def classes(self) -> int:
        """Number of classes, 0 where only the data tell."""
        return len(self.labels) or self.class_count

    @property
    def clip_samples(self) -> int:
        """Samples of a delivered clip."""
        return round(self.clip_s * self.sample_rate_hz)

    @property
    def leaking(self) -> bool:
        """Whether the protocol in use puts a group on both sides by construction."""
        return self.protocol.split(" (")[0] in self.leaking_protocols


@dataclasses.dataclass(frozen=True)
class AudioDataset:
    """Clips with their splits; sound is read or made only when asked for.

    Attributes:
        info: description, with the protocol in use.
        clips: all clips of all splits.
        synthesise: makes the float samples of a clip that has no file.
        noise: pieces of background noise that training may mix in (never the test's).
    """

    info: DatasetInfo
    clips: tuple[Clip, ...]
    synthesise: Callable[[Clip], Audio] | None = None
    noise: tuple[Clip, ...] = ()

    def __post_init__(self) -> None:
        """Refuse repeated clips and strange labels or splits."""
        name, labels = self.info.name, set(self.info.labels)
        for label in self.info.labels:
            if not is_label(label):
                raise DataError(
                    f"{name}: class {label!r} has a line break or control character, or is not "
                    "UTF-8; rename its folder, or correct the table"
                )
        repeated = [
            clip_id for clip_id, n in Counter(c.clip_id for c in self.clips).items() if n > 1
        ]
        if repeated:
            raise DataError(f"{name}: clip {repeated[0]} is listed twice; correct the clip list")
        for clip in self.clips:
            strange = [label for label in clip.all_labels if label not in labels]
            if strange or clip.split not in SPLITS:
                raise DataError(
                    f"{name}: clip {clip.clip_id} has the unknown label or split "
                    f"{(strange or [clip.label])[0]!r}/{clip.split!r}; correct the clip list"
                )

    def split(self, name: str) -> tuple[Clip, ...]:
        """The clips of ``train``, ``validation`` or ``test``."""
        if name not in SPLITS:
            raise ConfigError(f"split {name!r} is unknown; choose from {', '.join(SPLITS)}")
        return tuple(clip for clip in self.clips if clip.split == name)

    def label_ids(self, clips: Iterable[Clip]) -> npt.NDArray[np.int32]:
        """Class indices of clips, shape (clips,).

        Raises:
            ConfigError: the clips have several labels each; take :meth:`label_matrix`.
        """
        if self.info.multi_label:
            raise ConfigError(
                f"data set {self.info.name} has several labels a clip, so there is no one class "
                "index; choose a single-label data set or use label_matrix"
            )
        index = {label: i for i, label in enumerate(self.info.labels)}
        return np.array([index[clip.label] for clip in clips], np.int32)

    def label_matrix(self, clips: Iterable[Clip]) -> npt.NDArray[np.float32]:
        """1 where a clip has a class, else 0, shape (clips, classes); for any data set."""
        clips = tuple(clips)
        index = {label: i for i, label in enumerate(self.info.labels)}
        matrix = np.zeros((len(clips), len(index)), np.float32)
        for row, clip in zip(matrix, clips, strict=True):
            row[[index[label] for label in clip.all_labels]] = 1.0
        return matrix

    def read(self, clip: Clip) -> Audio:
        """Samples of a clip at ``info.sample_rate_hz``, in the length they have, (samples,)."""
        if clip.path is None:
            if self.synthesise is None:
                raise DataError(f"{self.info.name}: clip {clip.clip_id} has no file; fetch it")
            audio = self.synthesise(clip)
        else:
            try:
                audio = read_audio(
                    clip.path,
                    sample_rate_hz=self.info.sample_rate_hz,
                    resample=self.info.resample,
                    mix=self.info.resample,
                    start_s=clip.start_s,
                    duration_s=clip.duration_s,
                )
            except DataError as error:
                again = ", or fetch the data again" if self.info.archives else ""
                raise DataError(f"{error}{again}") from error
        return audio if clip.gain == 1.0 else from_pcm16(to_pcm16(audio * clip.gain))

    def load(self, clip: Clip) -> Audio:
        """Samples of a clip, float32 of shape (info.clip_samples,)."""
        return fit_length(self.read(clip), self.info.clip_samples, self.info.fit)

    def noise_clips(self) -> tuple[Clip, ...]:
        """Background noise for augmentation, to be read with :meth:`read` (may be empty)."""
        return self.noise

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips per split and class; a clip counts in each of its classes."""
        found = Counter((clip.split, label) for clip in self.clips for label in clip.all_labels)
        return {s: {label: found[s, label] for label in self.info.labels} for s in SPLITS}

    def clip_list_hash(self) -> dict[str, str]:
        """SHA-256 of each split's sorted ``clip_id TAB labels`` lines: same hash, same clips."""
        return {
            name: hashlib.sha256(
                "".join(
                    sorted(f"{c.clip_id}\t{','.join(c.all_labels)}\n" for c in self.split(name))
                ).encode()
            ).hexdigest()
            for name in SPLITS
        }

    def clip_list_digest(self) -> str:
        """One SHA-256 over the three splits' clip lists."""
        lists = "".join(f"{name} {value}\n" for name, value in self.clip_list_hash().items())
        return hashlib.sha256(lists.encode()).hexdigest()

    def shared_groups(self) -> dict[str, tuple[str, ...]]:
        """Groups that occur in more splits than they may, with those splits."""
        where: dict[str, set[str]] = {}
        for clip in self.clips:
            where.setdefault(clip.group, set()).add(clip.split)
        allowed = {"validation", "test"} if self.info.held_out_may_share else set()
        return {
            g: tuple(s for s in SPLITS if s in w)
            for g, w in where.items()
            if len(w) > 1 and w != allowed
        }

    def leak(self) -> float:
        """Share of the test clips whose group is also trained on (0 under an honest protocol)."""
        trained = {clip.group for clip in self.clips if clip.split == "train"}
        test = self.split("test")
        return sum(clip.group in trained for clip in test) / max(1, len(test))

    def check_classes(self, folder: Path | None = None) -> None:
        """Prove that there is something to train on, and every class of a single-label set in it.

        Raises:
            DataError: naming a class that has no training clip, and the folder.
        """
        trained = {
            label for clip in self.clips if clip.split == "train" for label in clip.all_labels
        }
        if not trained:
            raise DataError(
                f"{folder or self.info.name}: there is no training clip; "
                "add files, fetch the data again or choose another protocol or fold"
            )
        for label in self.info.labels:
            if label not in trained and not self.info.multi_label:
                raise DataError(
                    f"{folder or self.info.name}: class {label!r} has no training clip; "
                    "add its files, fetch the data again or choose another protocol or fold"
                )

    def check_trainable(self) -> None:
        """Prove that there are classes to tell apart, and clips in each split.

        Raises:
            DataError: one class, or a split without clips, with the counts and what to do.
        """
        name, labels = self.info.name, self.info.labels
        if len(labels) < 2:
            raise DataError(
                f"{name}: there is one class only, {labels[0]!r} ({len(self.clips)} clips): add a "
                "folder of other sounds, such as 'other', to tell it from"
            )
        counts = {split: len(self.split(split)) for split in SPLITS}
        for split, count in counts.items():
            if not count:
                numbers = ", ".join(f"{n} {part}" for part, n in counts.items())
                raise DataError(
                    f"{name} has no {split} clips under protocol {self.info.protocol} ({numbers}): "
                    "choose another protocol or fold, or add clips"
                )

    def broken(self) -> dict[str, str]:
        """Clips that cannot be read, with the reason; decodes every file."""

        def reason(clip: Clip) -> str:
            try:
                self.read(clip)
            except DataError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(READERS) as pool:
            reasons = pool.map(reason, self.clips)
            return {c.clip_id: r for c, r in zip(self.clips, reasons, strict=True) if r}

    def without_broken(self) -> "AudioDataset":
        """The same data set less what cannot be read; its protocol and notes say what is gone."""
        broken = self.broken()
        if not broken:
            return self
        info = dataclasses.replace(
            self.info,
            protocol=f"{self.info.protocol} (without {len(broken)} broken clips)",
            notes=(*self.info.notes, *(f"skipped: {reason}" for reason in broken.values())),
        )
        clips = tuple(clip for clip in self.clips if clip.clip_id not in broken)
        return dataclasses.replace(self, info=info, clips=clips)

    def check_disjoint(self) -> None:
        """Prove that no group is on two sides.

        Raises:
            DataError: naming a group that is, and the splits it is in.
        """
        for group, splits in self.shared_groups().items():
            raise DataError(
                f"{self.info.name}: group {group} is in {' and '.join(splits)} under protocol "
                f"{self.info.protocol}; correct the split lists or choose another protocol"
            )


@dataclasses.dataclass(frozen=True)
class _Entry:
    info: DatasetInfo
    build: Callable[..., AudioDataset]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the data set's own options."""
        names = inspect.signature(self.build).parameters
        return tuple(n for n in names if n not in ("root", "protocol", "fold", "seed"))


_REGISTRY: dict[str, _Entry] = {}


def register(info: DatasetInfo) -> Callable[[Callable[..., AudioDataset]], Any]:
    """Decorator: make a builder known under ``info.name``."""

    def decorate(build: Callable[..., AudioDataset]) -> Callable[..., AudioDataset]:
        _REGISTRY[info.name] = _Entry(info, build)
        return build

    return decorate


def _entries() -> dict[str, _Entry]:
    """Import every module of the package once, so that each can register itself."""
    package = importlib.import_module("m3net_tf.datasets")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"m3net_tf.datasets.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def _entry(name: str) -> _Entry:
    entries = _entries()
    if name not in entries:
        raise ConfigError(f"data set {name!r} is unknown; choose from {', '.join(entries)}")
    return entries[name]


def dataset_names() -> tuple[str, ...]:
    """Names of all data sets."""
    return tuple(_entries())


def dataset_info(name: str) -> DatasetInfo:
    """Description of a data set under its default protocol, without touching any file."""
    info = _entry(name).info
    return dataclasses.replace(info, protocol=info.protocols[0])


def dataset_options(name: str) -> tuple[str, ...]:
    """Names of the options that :func:`load_dataset` takes for a data set."""
    return _entry(name).options


def dataset_module(name: str) -> str:
    """The docstring of a data set's module."""
    return (inspect.getmodule(_entry(name).build).__doc__ or "").strip()


def data_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Folder of a data set, whether or not it exists.

    ``DATA_DIR`` may be the data set's own folder or hold one folder for each data set, as
    ``m3net data fetch`` makes them; without it those lie in the user's cache.
    """
    info = _entry(name).info
    parent = cache_folder() / "datasets" if data_dir is None else Path(data_dir).expanduser()
    for folder in (name, info.folder):
        if folder and any((parent / folder).glob("[!.]*")):
            return parent / folder
    return parent / (info.folder or name) if data_dir is None else parent


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    protocol: str | None = None,
    fold: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
    **options: Any,
) -> AudioDataset:
    """List a data set's clips under a protocol.

    Args:
        name: one of :func:`dataset_names`.
        data_dir: folder of the unpacked data, or one that holds a folder of the data set's name;
            None takes what was fetched into the user's cache. ``synth`` needs none.
        protocol: one of the data set's protocols; None takes its first.
        fold: test fold, counted from 1, of a protocol that has folds; None takes fold 1.
        seed: of whatever the protocol draws at random.
        skip_broken: decode every file now and leave out those that cannot be; ``info.notes``
            lists them. Otherwise a broken file is an error when it is read.
        options: the data set's own, see its module.

    Raises:
        ConfigError: unknown name, protocol, fold or option.
        DataError: missing folder or file, empty class, a group on both sides.
    """
    entry = _entry(name)
    info = entry.info
    check_number(name, "seed", seed, 0, 2**32 - 1)
    for option in options:
        if option not in entry.options:
            raise ConfigError(
                f"data set {name} has no option {option!r}; "
                f"its options are {', '.join(entry.options) or '(none)'}"
            )
    protocol = info.protocols[0] if protocol is None else protocol
    if protocol not in info.protocols:
        raise ConfigError(
            f"data set {name} has no protocol {protocol!r}; choose from {', '.join(info.protocols)}"
        )
    folds = info.folds.get(protocol)
    if fold is not None and not folds:
        raise ConfigError(f"protocol {protocol} of data set {name} has no folds; leave fold out")
    if folds:
        fold = 1 if fold is None else fold
        check_number(name, "fold", fold, 1, folds)
    root = None
    if info.needs_folder:
        root = data_folder(name, data_dir)
        if data_dir is None and not root.is_dir():
            how = f" or run m3net data fetch {name}" if info.archives else ""
            raise DataError(f"data set {name} needs its folder; give DATA_DIR=<folder>{how}")
        if not root.is_dir():
            how = f" or get the data from {info.url}" if info.url.startswith("http") else ""
            raise DataError(
                f"{root}: folder of data set {name} does not exist; correct DATA_DIR{how}"
            )
    dataset = entry.build(root, protocol=protocol, fold=fold, seed=seed, **options)
    if skip_broken:
        dataset = dataset.without_broken()
    dataset.check_classes(root)
    if info.multi_label:
        dataset = _name_untrained(dataset)
    if not dataset.info.leaking:
        dataset.check_disjoint()
    return dataset


def _name_untrained(dataset: AudioDataset) -> AudioDataset:
    """Note how many classes of a multi-label data set have no training clip."""
    trained = {label for clip in dataset.split("train") for label in clip.all_labels}
    missing = len(set(dataset.info.labels) - trained)
    if not missing:
        return dataset
    note = f"{missing} of {len(dataset.info.labels)} classes have no training clip"
    info = dataclasses.replace(dataset.info, notes=(*dataset.info.notes, note))
    return dataclasses.replace(dataset, info=info)


def check_number(
    owner: str, name: str, value: object, low: float, high: float, *, whole: bool = True
) -> None:
    """Refuse an option that is not a (whole) number from ``low`` to ``high``.

    Raises:
        ConfigError: naming the data set, the option and the range.
    """
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise ConfigError(
            f"data set {owner}: {name} is {value!r}; "
            f"give a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        )


def delivered(
    info: DatasetInfo,
    *,
    fit: FitRule | None = None,
    sample_rate_hz: int | None = None,
    clip_s: float | None = None,
) -> DatasetInfo:
    """The description with another length rule, rate or clip length, each checked.

    Raises:
        ConfigError: unknown rule, or a number outside its range.
    """
    if fit is not None:
        if fit not in FIT_RULES:
            raise ConfigError(
                f"{info.name}: fit {fit!r} is unknown; choose from {', '.join(FIT_RULES)}"
            )
        info = dataclasses.replace(info, fit=fit)
    if sample_rate_hz is not None:
        check_number(info.name, "sample_rate_hz", sample_rate_hz, 4_000, 192_000)
        info = dataclasses.replace(info, sample_rate_hz=sample_rate_hz)
    if clip_s is not None:
        check_number(info.name, "clip_s", clip_s, 0.01, 3600, whole=False)
        info = dataclasses.replace(info, clip_s=clip_s)
    return info


def partial_copy(info: DatasetInfo, part: str, clips: int, total: int) -> DatasetInfo:
    """The description of a copy that lacks something: its protocol's name says so."""
    note = f"partial copy: {part}, {clips} of {total} clips"
    return dataclasses.replace(
        info, protocol=f"{info.protocol} ({part})", notes=(*info.notes, note)
    )


def find_root(folder: Path, marker: str) -> Path:
    """The folder itself if the glob ``marker`` matches in it, else its only subfolder with one."""
    if any(folder.glob(marker)):
        return folder
    folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    inside = [path for path in folders if any(path.glob(marker))]
    return inside[0] if len(inside) == 1 else folder


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files with one of these endings, in small letters, anywhere in a folder, sorted.

    However deep folders lie in one another; links to folders are not followed.
    """
    found: list[Path] = []
    folders = [str(folder)] if folder.is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif Path(entry.name).suffix.lower() in suffixes:
                    found.append(Path(entry.path))
    return sorted(found)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV table with a header; missing cells are empty.

    Raises:
        DataError: the table is missing, unreadable or lacks one of ``columns``.
    """
    if not path.is_file():
        raise DataError(f"{path}: metadata is missing; fetch the data again")
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            table = csv.DictReader(file, restval="")
            found, rows = table.fieldnames or (), list(table)
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV table; fetch the data again") from error
    for column in columns:
        if column not in found:
            raise DataError(f"{path}: has no column {column!r}; fetch the data again")
    return rows


def is_label(text: str) -> bool:
    """Whether a text can name a class on a line of its own: in a list, a protocol, a terminal."""
    return bool(text) and not any(unicodedata.category(mark) in _NO_LABEL for mark in text)


def rank(key: Hashable) -> str:
    """A reproducible random order: sort by this hash of a name (and a seed) instead of drawing."""
    return hashlib.sha256(str(key).encode()).hexdigest()


def held_out_groups(
    groups: Sequence[str], labels: Sequence[str], share: float, seed: int
) -> set[str]:
    """Choose whole groups that together hold about ``share`` of each class's clips.

    Groups are taken in a seeded random order, class by class, while they fit into the share;
    the first always does unless it is the class's only one, so that each class with two groups
    or more is on both sides.
    """
    sizes: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        sizes.setdefault(group, Counter())[label] += 1
    by_label: dict[str, list[str]] = {}
    for group, count in sizes.items():
        by_label.setdefault(min(count, key=lambda n: (-count[n], n)), []).append(group)
    chosen: set[str] = set()
    for members in by_label.values():
        total = sum(sizes[group].total() for group in members)
        taken = 0
        for group in sorted(members, key=lambda g: rank((seed, g)))[: len(members) - 1]:
            size = sizes[group].total()
            if taken == 0 or taken + size <= share * total:
                chosen.add(group)
                taken += size
    return chosen
