# SPDX-License-Identifier: Apache-2.0
"""Data sets by name: registration, descriptions and loading.

A data set is one module of this package: a docstring (classes, clips, rate, licence, citation,
size, protocols), a :class:`DatasetInfo` and a function that is decorated with :func:`register`
and returns an :class:`AudioDataset`. No other file needs a change. The function is called as
``build(info, root, seed, **options)``, where ``info`` has the protocol, fold and delivery in use.
Its keyword-only arguments are the data set's own options; only its signature defines their names
and defaults. If it reads sounds, it has a further argument ``log``, which receives the progress.
"""

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from m3net_tf.audio.datasets.clips import DELIVERY, DatasetInfo
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.subset_lists import with_subset
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.conversion import Seed, convert
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent


@dataclasses.dataclass(frozen=True)
class _Entry:
    info: DatasetInfo
    adjustable: tuple[str, ...]
    build: Callable[..., AudioDataset]

    @property
    def logs(self) -> bool:
        """Whether the builder reports progress."""
        return "log" in inspect.signature(self.build).parameters

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the data set's own options, then its options of delivery."""
        parameters = inspect.signature(self.build).parameters.values()
        own = (p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        return (*own, *self.adjustable)


_REGISTRY: dict[str, _Entry] = {}


def register(
    info: DatasetInfo, adjustable: tuple[str, ...] = ()
) -> Callable[[Callable[..., AudioDataset]], Any]:
    """Decorator: register a builder under ``info.name``.

    Args:
        info: description; its ``fit``, ``sample_rate_hz`` and ``clip_s`` are the defaults.
        adjustable: which of these three defaults a recipe may change by an option of the same
            name; see :data:`.clips.DELIVERY`.
    """

    def decorate(build: Callable[..., AudioDataset]) -> Callable[..., AudioDataset]:
        _REGISTRY[info.name] = _Entry(info, adjustable, build)
        return build

    return decorate


@functools.cache
def _import_all() -> None:
    """Import the modules that register themselves; others need packages for downloads."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "register(" in path.read_text(encoding="utf-8"):
            importlib.import_module(f"m3net_tf.audio.datasets.{path.stem}")


def _entries() -> dict[str, _Entry]:
    _import_all()
    return dict(sorted(_REGISTRY.items()))


def _entry(name: str) -> _Entry:
    entries = _entries()
    if name not in entries:
        hint = f", or folder with --data-dir {name}" if Path(name).is_dir() else ""
        raise ConfigError(f"data set {name!r} is unknown; choose from {', '.join(entries)}{hint}")
    return entries[name]


def dataset_names() -> tuple[str, ...]:
    """Names of all data sets."""
    return tuple(_entries())


def dataset_info(name: str) -> DatasetInfo:
    """Description of a data set under its default protocol, without touching any file."""
    info = _entry(name).info
    return dataclasses.replace(info, protocol=info.protocols[0])


def dataset_options(name: str) -> tuple[str, ...]:
    """Names of the options that :func:`load_dataset` accepts for a data set."""
    return _entry(name).options


def dataset_module(name: str) -> str:
    """The docstring of a data set's module."""
    return (inspect.getmodule(_entry(name).build).__doc__ or "").strip()


def data_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Folder of a data set, which may not exist.

    ``DATA_DIR`` may be the data set's own folder, or contain one folder per data set, as
    ``m3net data fetch`` creates them. Without it the folders are in the user's cache.
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
    log: Log = silent,
    **options: Any,
) -> AudioDataset:
    """List a data set's clips under a protocol.

    Args:
        data_dir: folder of the unpacked data, or its parent with a folder of the data set's name;
            None means the data fetched into the user's cache. ``synth`` needs none.
        protocol: one of the data set's protocols; None means its first.
        fold: test fold, counted from 1, of a protocol with folds; None means fold 1.
        skip_broken: decode every file now and omit broken ones, which ``info.notes`` lists. If
            False, a broken file is an error when it is read.
        options: the data set's own options; see its module.

    Raises:
        ConfigError: unknown name, protocol, fold or option.
        DataError: missing folder or file, empty class, a group in several splits, or the folder
            of a subset has other files than its list.
    """
    entry = _entry(name)
    info = entry.info
    convert(Seed, seed, "dataset.seed")
    for option in options:
        if option not in entry.options:
            raise ConfigError(
                f"data set {name} has no option {option!r}; "
                f"its options are {', '.join(entry.options) or '(none)'}"
            )
    protocol, fold = checked_protocol(info, protocol, fold)
    root = _existing_folder(info, data_dir) if info.needs_folder else None
    kinds = {**typing.get_type_hints(entry.build, include_extras=True), **DELIVERY}
    for option, value in options.items():
        options[option] = convert(kinds[option], value, f"dataset.options.{option}")
    delivery = {name: options.pop(name) for name in entry.adjustable if name in options}
    info = dataclasses.replace(info, **delivery, protocol=protocol, fold=fold)
    logs = (log,) if entry.logs else ()
    dataset = entry.build(info, root, seed, *logs, **options)
    if root:
        dataset = with_subset(dataset, root)
    if skip_broken:
        dataset = dataset.without_broken()
    dataset.check_classes(root)
    if info.multi_label:
        dataset = _name_untrained(dataset)
    if not dataset.info.leaking:
        dataset.check_disjoint()
    return dataset


def checked_protocol(
    info: DatasetInfo, protocol: str | None, fold: int | None
) -> tuple[str, int | None]:
    """Protocol and fold with defaults applied, after checking that they exist."""
    protocol = info.protocols[0] if protocol is None else protocol
    if protocol not in info.protocols:
        raise ConfigError(
            f"data set {info.name} has no protocol {protocol!r}; "
            f"choose from {', '.join(info.protocols)}"
        )
    folds = info.folds.get(protocol)
    if folds:
        fold = 1 if fold is None else fold
        convert(Annotated[int, Meta(ge=1, le=folds)], fold, "dataset.fold")
    elif fold is not None:
        raise ConfigError(
            f"protocol {protocol} of data set {info.name} has no folds; leave fold out"
        )
    return protocol, fold


def _existing_folder(info: DatasetInfo, data_dir: str | Path | None) -> Path:
    root = data_folder(info.name, data_dir)
    if root.is_dir():
        return root
    if data_dir is None:
        source = f", or run m3net data fetch {info.name}" if info.archives else ""
        raise DataError(
            f"data set {info.name} needs its folder: give --data-dir or DATA_DIR{source}"
        )
    source = f" or get the data from {info.url}" if info.url.startswith("http") else ""
    raise DataError(
        f"{root}: folder of data set {info.name} does not exist; correct DATA_DIR{source}"
    )


def _name_untrained(dataset: AudioDataset) -> AudioDataset:
    """Note how many classes of a multi-label data set have no training clip."""
    trained = {label for clip in dataset.split("train") for label in clip.all_labels}
    missing = len(set(dataset.info.labels) - trained)
    if not missing:
        return dataset
    note = f"{missing} of {len(dataset.info.labels)} classes have no training clip"
    info = dataclasses.replace(dataset.info, notes=(*dataset.info.notes, note))
    return dataclasses.replace(dataset, info=info)
